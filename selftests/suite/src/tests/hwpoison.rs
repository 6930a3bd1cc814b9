// SPDX-License-Identifier: GPL-2.0-only

//! Pages on memory that has failed (`MADV_HWPOISON`). Each test costs the machine a few pages.

use super::fill::{failed, partly};
use super::moving::MOVE;
use super::write_protect::WP;
use crate::harness::kind::{stamp, stamped, Kind};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::pagemap::entry;
use crate::harness::pool::empty_pool;
use crate::harness::process::Child;
use crate::harness::protect::{expect_silence, Against};
use crate::harness::{tests, uffd_with, Need};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use uffd::abi::*;
use uffd::Errno;

tests! {
    continue_of_a_broken_page [BROKEN, Need::Root, MINOR];
    continue_of_a_broken_huge_page [
        BROKEN,
        Need::Root,
        Need::Feature(UFFD_FEATURE_MINOR_HUGETLBFS),
        Need::Hugetlb(3),
    ];
    copy_where_the_file_has_a_broken_page [BROKEN, Need::Root, MINOR];
    fills_onto_a_broken_page [BROKEN, Need::Root, Need::Feature(UFFD_FEATURE_POISON)];
    move_of_a_broken_page [BROKEN, Need::Root, MOVE];
    protecting_a_broken_page [BROKEN, Need::Root, WP];
}

const BROKEN: Need = Need::Path("/proc/sys/vm/memory_failure_recovery");
const MINOR: Need = Need::Feature(UFFD_FEATURE_MINOR_SHMEM);
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

/// Makes the memory under a page fail. A child does it: the process that does is sent a signal.
#[track_caller]
fn break_page(memory: &Mapping, offset: u64) {
    let child = Child::spawn(|| {
        // Whatever comes first is the answer.
        let done = memory.advise(offset, PAGE, libc::MADV_HWPOISON);
        assert_eq!(done, Ok(()));
    });
    let status = child.wait();
    let killed = matches!(status, WaitStatus::Signaled(_, Signal::SIGBUS, _));
    let ended = matches!(status, WaitStatus::Exited(_, 0));
    assert!(killed || ended, "{status:?}");
}

fn continue_of_a_broken_page() {
    for kind in [Kind::SharedAnon, Kind::Memfd, Kind::Tmpfs] {
        let (uffd, memory) = (uffd_with(0), kind.map(4));
        stamp(memory.twin(), 0, memory.len(), 1);
        memory.register(&uffd, UFFDIO_REGISTER_MODE_MINOR);
        break_page(memory.twin(), 2 * PAGE);
        let refused = uffd.continue_pages(memory.at(2), PAGE, 0);
        assert_eq!(refused, Err(failed(Errno::EIO)), "{kind:?}");
        let mapped = uffd.continue_pages(memory.at(0), 4 * PAGE, 0);
        assert_eq!(mapped, Err(partly(2 * PAGE)), "{kind:?}");
        let mapped = uffd.continue_pages(memory.at(3), PAGE, 0);
        assert_eq!(mapped, Ok(PAGE), "{kind:?}");
        assert_eq!([0, 1, 3].map(|page| memory.read(page * PAGE)), [1, 2, 4]);
        assert!(entry(memory.at(2)).is_hole());
        expect_silence(&uffd);
    }
}

fn continue_of_a_broken_huge_page() {
    let kind = Kind::HugeMemfd;
    let (uffd, memory, unit) = (uffd_with(0), kind.map(3), kind.unit());
    for page in 0..3 {
        stamp(memory.twin(), page * unit, PAGE, page as u8 + 1);
    }
    memory.register(&uffd, UFFDIO_REGISTER_MODE_MINOR);
    break_page(memory.twin(), unit + 5 * PAGE);
    let refused = uffd.continue_pages(memory.at(1), unit, 0);
    assert_eq!(refused, Err(failed(Errno::EIO)));
    let mapped = uffd.continue_pages(memory.at(0), 3 * unit, 0);
    assert_eq!(mapped, Err(partly(unit)));
    assert_eq!(uffd.continue_pages(memory.at(2), unit, 0), Ok(unit));
    assert_eq!([0, 2].map(|page| memory.read(page * unit)), [1, 3]);
    expect_silence(&uffd);
    drop(memory);
    // The broken one must not be left there for others.
    empty_pool();
}

fn copy_where_the_file_has_a_broken_page() {
    let (uffd, memory) = (uffd_with(0), Kind::Memfd.map(2));
    let source = stamped(PAGE, 9);
    stamp(memory.twin(), 0, memory.len(), 1);
    memory.register(&uffd, MISSING);
    break_page(memory.twin(), PAGE);
    let there = Err(failed(Errno::EEXIST));
    assert_eq!(uffd.copy(memory.at(1), source.start(), PAGE, 0), there);
    assert_eq!(uffd.zeropage(memory.at(1), PAGE, 0), there);
    assert!(entry(memory.at(1)).is_hole());
}

fn fills_onto_a_broken_page() {
    for kind in [Kind::Anon, Kind::Memfd] {
        let (uffd, memory, source) = (uffd_with(0), kind.map(3), stamped(PAGE, 9));
        stamp(&memory, 0, memory.len(), 1);
        memory.register(&uffd, MISSING);
        break_page(&memory, PAGE);
        assert!(!entry(memory.at(1)).present());
        // It is no poison of ours, so that nothing heals it.
        let there = Err(failed(Errno::EEXIST));
        assert_eq!(uffd.copy(memory.at(1), source.start(), PAGE, 0), there);
        assert_eq!(uffd.zeropage(memory.at(1), PAGE, 0), there);
        assert_eq!(uffd.poison(memory.at(1), PAGE, 0), there, "{kind:?}");
        if kind == Kind::Anon {
            // Given back, it is missing as any other.
            memory.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
            let copied = uffd.copy(memory.at(1), source.start(), PAGE, 0);
            assert_eq!(copied, Ok(PAGE));
            assert_eq!(memory.read(PAGE), 9);
        }
        assert_eq!([0, 2].map(|page| memory.read(page * PAGE)), [1, 3]);
        expect_silence(&uffd);
    }
}

fn move_of_a_broken_page() {
    let (uffd, src, dst) = (uffd_with(0), Mapping::lone(3), Mapping::lone(3));
    stamp(&src, 0, src.len(), 1);
    uffd.register(dst.start(), dst.len(), MISSING).unwrap();
    break_page(&src, PAGE);
    let before = entry(src.page(1));
    assert!(!before.present() && !before.is_hole());
    for mode in [0, UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES] {
        let refused = uffd.move_pages(dst.page(1), src.page(1), PAGE, mode);
        assert_eq!(refused, Err(failed(Errno::EFAULT)));
    }
    assert_eq!(entry(src.page(1)), before);
    assert!(entry(dst.page(1)).is_hole());
    // A page that was shared with the child is ours again once it is written to.
    for page in [0, 2] {
        stamp(&src, page * PAGE, PAGE, page as u8 + 1);
    }
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * PAGE, 0);
    assert_eq!(moved, Err(partly(PAGE)));
    let moved = uffd.move_pages(dst.page(2), src.page(2), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert_eq!([0, 2].map(|page| dst.read(page * PAGE)), [1, 3]);
}

fn protecting_a_broken_page() {
    let (uffd, memory) = (Against::Write.uffd(0), Kind::Anon.map(3));
    stamp(&memory, 0, memory.len(), 1);
    memory.register(&uffd, UFFDIO_REGISTER_MODE_WP);
    break_page(&memory, PAGE);
    let before = entry(memory.at(1));
    for _ in 0..2 {
        Against::Write.on(&uffd, &memory);
        let found = [0, 1, 2].map(|page| entry(memory.at(page)).protected());
        assert_eq!(found, [true; 3]);
        Against::Write.off(&uffd, &memory, 0, memory.len());
        assert_eq!(entry(memory.at(1)), before);
    }
}
