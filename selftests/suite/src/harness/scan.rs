// SPDX-License-Identifier: GPL-2.0-only

//! `PAGEMAP_SCAN`: which pages were written or accessed since they were protected.

use super::mem::{Mapping, HUGE_PAGE, PAGE};
use super::user;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Written since it was protected, or never protected.
pub const PAGE_IS_WRITTEN: u64 = 1 << 1;
/// Part of a huge page that is mapped as one.
pub const PAGE_IS_HUGE: u64 = 1 << 6;
/// Accessed since it was protected against that.
pub const PAGE_IS_ACCESSED: u64 = 1 << 9;
/// Protect what was found.
pub const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
/// Fail where writes do not resolve themselves.
pub const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;

const SCAN_ARGUMENT: u64 = 96;
const PAGEMAP_SCAN: u64 = 3 << 30 | SCAN_ARGUMENT << 16 | (b'f' as u64) << 8 | 16;
const REGIONS: usize = 1024;

/// A range that a scan has found: pages from the mapping's start, and what they are.
pub type Region = (u64, u64, u64);

/// Finds the pages of a mapping that are all of `categories`.
pub fn scan(mapping: &Mapping, flags: u64, categories: u64) -> Result<Vec<Region>, Errno> {
    let (start, end) = (mapping.start(), mapping.end());
    let mut found = [[0u64; 3]; REGIONS];
    let vec = user::address_of(found.as_mut_ptr());
    let len = REGIONS as u64;
    let argument: [u64; 12] = [
        SCAN_ARGUMENT,
        flags,
        start,
        end,
        0,
        vec,
        len,
        0,
        0,
        categories,
        0,
        categories,
    ];
    let at = user::address_of(argument.as_ptr());
    let file = File::open("/proc/self/pagemap").expect("pagemap");
    let args = [file.as_raw_fd() as u64, PAGEMAP_SCAN, at, 0, 0, 0];
    // SAFETY: the argument has the size it says, and there is room for as many regions.
    let count = unsafe { user::syscall(libc::SYS_ioctl, args) }?;
    let page = |address: u64| (address - start) / PAGE;
    Ok(found[..count as usize]
        .iter()
        .map(|&[from, to, what]| (page(from), page(to), what))
        .collect())
}

/// Whether a whole huge page at this offset is mapped as one.
pub fn is_huge(mapping: &Mapping, offset: u64) -> bool {
    let first = offset / PAGE;
    let wanted = first..first + HUGE_PAGE / PAGE;
    let regions = scan(mapping, 0, PAGE_IS_HUGE).expect("PAGEMAP_SCAN");
    regions
        .iter()
        .any(|&(from, to, _)| from <= wanted.start && wanted.end <= to)
}
