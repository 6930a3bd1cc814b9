// SPDX-License-Identifier: GPL-2.0-only

//! What the page tables of this process hold, and how much memory it has.

use super::mem::PAGE;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const WORD: u64 = 8;
const PFN_MASK: u64 = (1 << 55) - 1;

/// An entry of /proc/self/pagemap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u64);

impl Entry {
    /// Nothing at all: no page, no swap, no mark. The mapping itself may count as written to.
    pub fn is_hole(self) -> bool {
        self.0 & !(1 << 55) == 0
    }

    /// A page is there.
    pub fn present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }

    /// A page is in swap, or a mark is there.
    pub fn swapped(self) -> bool {
        self.0 >> 62 & 1 == 1
    }

    /// Only this process has the page.
    pub fn exclusive(self) -> bool {
        self.0 >> 56 & 1 == 1
    }

    /// Written to since the bits were cleared.
    pub fn soft_dirty(self) -> bool {
        self.0 >> 55 & 1 == 1
    }

    /// Protected by a userfaultfd.
    pub fn protected(self) -> bool {
        self.0 >> 57 & 1 == 1
    }

    /// Which page of the machine's memory, or which place in swap. Only root is told.
    pub fn frame(self) -> u64 {
        let frame = self.0 & PFN_MASK;
        assert_ne!(frame, 0, "no frame number: {self:?}");
        frame
    }
}

/// The entries of pages, from the one at this address on.
#[track_caller]
pub fn entries(address: u64, pages: u64) -> Vec<Entry> {
    let mut bytes = vec![0; (pages * WORD) as usize];
    let file = File::open("/proc/self/pagemap").expect("pagemap");
    file.read_exact_at(&mut bytes, address / PAGE * WORD)
        .expect("pagemap");
    let words = bytes.chunks_exact(WORD as usize);
    words
        .map(|word| Entry(u64::from_le_bytes(word.try_into().expect("a word"))))
        .collect()
}

/// The entry of a page.
#[track_caller]
pub fn entry(address: u64) -> Entry {
    entries(address, 1)[0]
}

/// The frame of each page.
#[track_caller]
pub fn frames(address: u64, pages: u64) -> Vec<u64> {
    let entries = entries(address, pages);
    entries.into_iter().map(Entry::frame).collect()
}

/// From now on writes set the entries' bits anew.
pub fn clear_soft_dirty() {
    fs::write("/proc/self/clear_refs", "4").expect("clear_refs");
}

/// A size of /proc/self/status, such as RssAnon and VmSwap, in bytes.
#[track_caller]
pub fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("status");
    let size = text.lines().find_map(|line| size(line, key));
    size.unwrap_or_else(|| panic!("no {key}"))
}

/// The size in a line such as `Key:   12 kB`, in bytes.
pub(crate) fn size(line: &str, key: &str) -> Option<u64> {
    let text = line.strip_prefix(key)?.strip_prefix(':')?;
    let number: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}
