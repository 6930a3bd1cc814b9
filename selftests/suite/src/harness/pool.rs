// SPDX-License-Identifier: GPL-2.0-only

//! The pool of huge pages of hugetlbfs.

use super::mem::HUGE_PAGE;
use std::fs;

/// Counts of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Pages that nobody has, those that are promised included.
    pub free: u64,
    /// Pages that are promised to mappings.
    pub reserved: u64,
    /// Pages beyond the pool's own size.
    pub surplus: u64,
}

/// Gives all pages back to the kernel that nobody has. Tests that need some ask for them.
pub fn empty_pool() {
    fs::write(format!("{}/nr_hugepages", folder()), "0").expect("nr_hugepages");
}

/// Where the kernel tells of it.
pub fn folder() -> String {
    format!("/sys/kernel/mm/hugepages/hugepages-{}kB", HUGE_PAGE >> 10)
}

impl Pool {
    /// The counts now.
    #[track_caller]
    pub fn now() -> Pool {
        let read = |file: &str| -> u64 {
            let text = fs::read_to_string(format!("{}/{file}", folder())).expect(file);
            text.trim().parse().expect("a number")
        };
        Pool {
            free: read("free_hugepages"),
            reserved: read("resv_hugepages"),
            surplus: read("surplus_hugepages"),
        }
    }

    /// The counts after this many pages went to mappings that they had been promised to.
    pub fn less(self, pages: u64) -> Pool {
        Pool {
            free: self.free - pages,
            reserved: self.reserved - pages,
            ..self
        }
    }
}
