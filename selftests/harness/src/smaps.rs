// SPDX-License-Identifier: GPL-2.0-only

//! What /proc/self/smaps says about mappings.

use super::pagemap::size;
use std::fs;

/// One mapping as smaps describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// The two-letter flags.
    pub flags: Vec<String>,
}

impl Vma {
    /// Whether a flag is set: `um` missing, `uw` write-protect, `ui` minor, `gu` guard pages.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }
}

/// The mappings of this process that overlap a range.
#[track_caller]
pub fn vmas(start: u64, end: u64) -> Vec<Vma> {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut found = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let (vma_start, vma_end) = range.take().expect("a range before its flags");
            if vma_start < end && start < vma_end {
                found.push(Vma {
                    start: vma_start,
                    end: vma_end,
                    flags: flags.split_whitespace().map(str::to_owned).collect(),
                });
            }
        } else if let Some(parsed) = parse_range(line) {
            range = Some(parsed);
        }
    }
    found
}

/// A size of the mapping that an address lies in, such as `Swap` or `Rss`, in bytes.
#[track_caller]
pub fn bytes(address: u64, key: &str) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((start, end)) = parse_range(line) {
            inside = (start..end).contains(&address);
        } else if let Some(size) = size(line, key).filter(|_| inside) {
            return size;
        }
    }
    panic!("no {key} for {address:#x}");
}

fn parse_range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}
