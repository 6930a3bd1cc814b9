// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of memory that can be protected: by what their page tables hold.

use super::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use super::need::{offers, Need};
use super::{scan, skip};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use uffd::abi::*;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous memory, in single pages.
    Anon,
    /// The same in huge pages that are mapped as one.
    Thp,
    /// A file in memory, mapped shared.
    Shared,
    /// The same, mapped private.
    Private,
    /// A file of huge pages, mapped shared.
    SharedHuge,
    /// The same, mapped private.
    PrivateHuge,
}
use Kind::{Anon, Private, PrivateHuge, Shared, SharedHuge, Thp};

/// What the first byte of each unit of [`Kind::populated`] is.
pub const FILL: u8 = 0x5c;

impl Kind {
    /// The kinds that this kernel has and can protect; prints them.
    pub fn all() -> Vec<Kind> {
        let mut all = vec![Anon];
        if Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            all.push(Thp);
        }
        if offers(UFFD_FEATURE_WP_HUGETLBFS_SHMEM) {
            all.extend([Shared, Private]);
            if Path::new("/sys/kernel/mm/hugepages").exists() {
                all.extend([SharedHuge, PrivateHuge]);
            }
        }
        println!("kinds: {all:?}");
        all
    }

    /// Those of them that are files.
    pub fn files() -> Vec<Kind> {
        Kind::all()
            .into_iter()
            .filter(|kind| !kind.is_anon())
            .collect()
    }

    /// Whether there is no file.
    pub fn is_anon(self) -> bool {
        matches!(self, Anon | Thp)
    }

    /// Whether it is hugetlbfs.
    pub fn is_hugetlb(self) -> bool {
        matches!(self, SharedHuge | PrivateHuge)
    }

    /// Bytes of what is mapped by one entry of a page table.
    pub fn unit(self) -> u64 {
        match self {
            Anon | Shared | Private => PAGE,
            Thp | SharedHuge | PrivateHuge => HUGE_PAGE,
        }
    }

    /// Bytes of what a message tells and what is resolved at once.
    pub fn grain(self) -> u64 {
        if self.is_hugetlb() {
            HUGE_PAGE
        } else {
            PAGE
        }
    }

    /// A mapping of so many units, with nothing in it, and its file if there is one.
    #[track_caller]
    pub fn map(self, units: u64) -> (Mapping, Option<OwnedFd>) {
        let len = units * self.unit();
        let flags = match self {
            Anon => return (Mapping::lone(units), None),
            Thp => return (Mapping::aligned(units), None),
            Shared | SharedHuge => libc::MAP_SHARED,
            Private | PrivateHuge => libc::MAP_PRIVATE,
        };
        let file = if self.is_hugetlb() {
            // Private pages are copies of pages of the file.
            if let Some(reason) = Need::Hugetlb(3 * units).missing() {
                skip(&reason);
            }
            memfd_with(c"huge", libc::MFD_HUGETLB, len)
        } else {
            memfd(units)
        };
        let mapping = Mapping::new(len, RW, flags, Some(file.as_fd()), 0).expect("mmap");
        (mapping, Some(file))
    }

    /// The same with every unit there, written, and starting with [`FILL`].
    #[track_caller]
    pub fn populated(self, units: u64) -> Mapping {
        let (mapping, _) = self.map(units);
        self.populate(&mapping);
        mapping
    }

    /// Writes [`FILL`] to the first byte of each unit.
    #[track_caller]
    pub fn populate(self, mapping: &Mapping) {
        for offset in (0..mapping.len()).step_by(self.unit() as usize) {
            mapping.write(offset, FILL);
            if self == Thp && !scan::is_huge(mapping, offset) {
                skip("the kernel gave no huge page");
            }
        }
    }

    /// The pages of some units, counted from the start of the mapping.
    pub fn pages(self, units: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let each = self.unit() / PAGE;
        let pages = units.into_iter().map(|unit| unit * each..(unit + 1) * each);
        pages.flatten().collect()
    }
}
