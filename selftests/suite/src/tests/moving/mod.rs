// SPDX-License-Identifier: GPL-2.0-only

//! Moving pages: UFFDIO_MOVE.

pub mod huge;
pub mod invalid;
pub mod pages;
pub mod races;
pub mod swap;

use crate::harness::mem::{Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::{uffd_with, Need};
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

pub(super) const MOVE: Need = Need::Feature(UFFD_FEATURE_MOVE);
pub(super) const HOLES: u64 = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES;
const DONTWAKE: u64 = UFFDIO_MOVE_MODE_DONTWAKE;
pub(super) const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
/// Pages of a page table.
const TABLE: u64 = HUGE_PAGE / PAGE;

/// A byte of a page, and one at its other end, by which it is known.
pub(super) fn stamp(memory: &Mapping, offset: u64, value: u8) {
    memory.write(offset, value);
    memory.write(offset + PAGE - 1, !value);
}

/// Stamps pages one after the other, beginning with a value.
pub(super) fn stamp_all(memory: &Mapping, offset: u64, pages: u64, first: u8) {
    for page in 0..pages {
        stamp(memory, offset + page * PAGE, first.wrapping_add(page as u8));
    }
}

/// Fails unless the page is the one stamped with this value.
#[track_caller]
pub(super) fn expect_stamp(memory: &Mapping, offset: u64, value: u8) {
    let found = (memory.read(offset), memory.read(offset + PAGE - 1));
    assert_eq!(found, (value, !value), "at offset {offset:#x}");
}

/// The same for pages one after the other.
#[track_caller]
pub(super) fn expect_stamps(memory: &Mapping, offset: u64, pages: u64, first: u8) {
    for page in 0..pages {
        let value = first.wrapping_add(page as u8);
        expect_stamp(memory, offset + page * PAGE, value);
    }
}

/// A descriptor, pages with stamps from 1 on, and as many registered ones that are missing.
fn scene(pages: u64) -> (Uffd, Mapping, Mapping) {
    let (src, dst) = (Mapping::lone(pages), Mapping::lone(pages));
    stamp_all(&src, 0, pages, 1);
    let uffd = uffd_with(0);
    register(&uffd, &dst);
    (uffd, src, dst)
}

/// Registers memory for missing faults.
#[track_caller]
fn register(uffd: &Uffd, memory: &Mapping) {
    uffd.register(memory.start(), memory.len(), MISSING)
        .expect("UFFDIO_REGISTER");
}

/// Private anonymous memory of this many huge pages that starts with a whole one.
#[track_caller]
fn aligned(huge_pages: u64) -> Mapping {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let len = huge_pages * HUGE_PAGE;
    let all = Mapping::new(len + HUGE_PAGE, RW, flags, None, 0).expect("mmap");
    let head = all.start().next_multiple_of(HUGE_PAGE) - all.start();
    if head > 0 {
        all.unmap(0, head);
    }
    // Inaccessible, so that it is one mapping whatever follows.
    all.protect(head + len, HUGE_PAGE - head, libc::PROT_NONE)
        .expect("mprotect");
    all.cut(head, len)
}

/// A request that did a part.
fn partly(pages: u64) -> Result<u64, Partial> {
    Err(Partial {
        errno: Errno::EAGAIN,
        result: (pages * PAGE) as i64,
    })
}

/// A request that did nothing.
fn failed(errno: Errno) -> Result<u64, Partial> {
    Err(Partial {
        errno,
        result: -(errno as i64),
    })
}
