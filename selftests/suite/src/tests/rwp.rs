// SPDX-License-Identifier: GPL-2.0-only

//! Protection against any access.

use super::protect_lasting::{RWP, SWAP};
use super::write_protect as shared;
use crate::harness::env;
use crate::harness::kind::{Kind, FILL};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::protect::{expect_message, expect_silence, protected, Against, ON};
use crate::harness::scan::{scan, PAGE_IS_ACCESSED};
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, sigbus, tests, user, Need};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Against::Access;

tests! {
    accesses_are_reported [RWP];
    parts_can_be_protected [RWP];
    part_of_a_huge_page_splits_it [RWP];
    range_may_span_mappings_and_holes [RWP];
    all_is_protected_or_nothing [RWP];
    unprotecting_wakes_its_range_only [RWP];
    dontwake_leaves_the_sleepers [RWP];
    protecting_wakes_nobody [RWP];
    protection_outlasts_mprotect [RWP];
    memory_that_cannot_be_written [RWP];
    calls_that_read_are_reported [RWP];
    sigbus_instead_of_a_message [RWP];
    missing_pages_are_reported_as_such [RWP];
    page_of_zeroes_is_protected [RWP];
    async_never_sends_a_message [ASYNC];
    async_takes_accesses_by_calls [ASYNC];
    scan_tells_what_was_accessed [ASYNC];
    scan_tells_it_of_pages_in_swap [ASYNC, MARKERS, Need::Root, SWAP];
}

const ASYNC: Need = Need::Feature(UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC);
/// Only with PTE markers does PAGEMAP_SCAN look at what is protected in swap.
const MARKERS: Need = shared::FILES;
const NOTHING: [u64; 0] = [];

fn accesses_are_reported() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.guarded(&uffd, kind, 3);
        assert_eq!(protected(&target), kind.pages(0..3));
        let (unit, offset) = (kind.unit(), kind.unit() / 2);
        let reader = Access.reader(&uffd, kind, &target, unit);
        let writer = Access.writer(&uffd, kind, &target, (2 * unit + offset, 9));
        Access.off(&uffd, &target, unit, unit);
        assert_eq!(reader.join(), FILL);
        assert_eq!(protected(&target), kind.pages([0, 2]));
        Access.off(&uffd, &target, 2 * unit, unit);
        assert_eq!(writer.join(), 9);
        target.write(unit, 1);
        assert_eq!(target.read(2 * unit), FILL);
        expect_silence(&uffd);
    }
}

fn parts_can_be_protected() {
    shared::parts(Access);
}

fn part_of_a_huge_page_splits_it() {
    shared::part_of_a_huge_page(Access);
}

fn range_may_span_mappings_and_holes() {
    shared::spanning(Access);
}

fn all_is_protected_or_nothing() {
    let uffd = Access.uffd(0);
    let target = Kind::Anon.populated(5);
    let (start, mode) = (target.start(), Access.mode());
    uffd.register(start, 2 * PAGE, mode).unwrap();
    uffd.register(start + 3 * PAGE, PAGE, mode).unwrap();
    uffd.register(start + 4 * PAGE, PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    for range in [
        (0, 4 * PAGE),
        (2 * PAGE, 2 * PAGE),
        (3 * PAGE, 2 * PAGE),
        (2 * PAGE, PAGE),
    ] {
        expect_errno(Access.set(&uffd, &target, range, ON), Errno::ENOENT);
        assert_eq!(protected(&target), NOTHING);
    }
    Access.set(&uffd, &target, (0, 2 * PAGE), ON).unwrap();
    expect_errno(Access.set(&uffd, &target, (0, 5 * PAGE), 0), Errno::ENOENT);
    assert_eq!(protected(&target), [0, 1]);
    let _ = Kind::protectable()
        .into_iter()
        .find(|kind| kind.is_huge())
        .map(|kind| {
            let target = Access.registered(&uffd, kind.populated(2));
            for range in [(PAGE, kind.unit()), (0, PAGE), (0, kind.unit() + PAGE)] {
                expect_errno(Access.set(&uffd, &target, range, ON), Errno::EINVAL);
                assert_eq!(protected(&target), NOTHING);
            }
        });
}

fn unprotecting_wakes_its_range_only() {
    shared::wakes_its_range(Access);
}

fn dontwake_leaves_the_sleepers() {
    shared::dontwake(Access);
}

fn protecting_wakes_nobody() {
    shared::wakes_nobody(Access);
}

fn protection_outlasts_mprotect() {
    shared::outlasts_mprotect(Access);
}

fn memory_that_cannot_be_written() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = kind.populated(1);
        target.protect(0, target.len(), libc::PROT_READ).unwrap();
        let target = Access.registered(&uffd, target);
        Access.on(&uffd, &target);
        let reader = Access.reader(&uffd, kind, &target, 0);
        Access.off(&uffd, &target, 0, target.len());
        assert_eq!(reader.join(), FILL);
        // It has not become writable.
        let (pipe, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&writer, &[1]).unwrap();
        let put = user::read(pipe.as_fd(), target.start(), 1);
        expect_errno(put, Errno::EFAULT);
        expect_silence(&uffd);
    }
}

fn calls_that_read_are_reported() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.guarded(&uffd, kind, 1);
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        let (local, start) = (Mapping::anon(1), target.start());
        local.write(0, 1);
        let to = local.start();
        let pid = std::process::id() as i32;
        let plain = Faulter::spawn(move || user::write(writer.as_fd(), start, 1));
        env::wait_queued(&uffd, 1);
        let pinning = Faulter::spawn(move || user::read_process(pid, start, 1, to));
        env::wait_queued(&uffd, 2);
        for _ in 0..2 {
            expect_message(&uffd, (start, kind.grain()), UFFD_PAGEFAULT_FLAG_RWP);
        }
        Access.off(&uffd, &target, 0, target.len());
        assert_eq!((plain.join(), pinning.join()), (Ok(1), Ok(1)));
        assert_eq!(local.read(0), FILL);
    }
}

fn sigbus_instead_of_a_message() {
    let uffd = Access.uffd(UFFD_FEATURE_SIGBUS);
    let target = Access.guarded(&uffd, Kind::Anon, 2);
    sigbus::catch();
    target.read(5);
    target.write(PAGE + 6, 1);
    let seen = sigbus::caught();
    assert_eq!((seen.count, seen.address), (2, target.page(1) + 6));
    expect_silence(&uffd);
}

fn missing_pages_are_reported_as_such() {
    let uffd = Access.uffd(0);
    let target = Mapping::lone(2);
    target.write(0, FILL);
    let mode = UFFDIO_REGISTER_MODE_MISSING | Access.mode();
    uffd.register(target.start(), target.len(), mode).unwrap();
    let target = Arc::new(target);
    Access.on(&uffd, &target);
    let missing = Faulter::read(&target, PAGE);
    env::wait_queued(&uffd, 1);
    expect_message(&uffd, (target.page(1), PAGE), 0);
    let reader = Access.reader(&uffd, Kind::Anon, &target, 0);
    uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    assert_eq!(missing.join(), 0);
    Access.off(&uffd, &target, 0, PAGE);
    assert_eq!(reader.join(), FILL);
    // A page that was filled is not protected before the next request.
    assert_eq!(protected(&target), NOTHING);
    Access.on(&uffd, &target);
    assert_eq!(protected(&target), [0, 1]);
}

fn page_of_zeroes_is_protected() {
    let uffd = Access.uffd(0);
    let target = Access.registered(&uffd, Mapping::lone(2));
    assert_eq!((target.read(0), target.read(PAGE)), (0, 0));
    Access.on(&uffd, &target);
    assert_eq!(protected(&target), [0, 1]);
    let reader = Access.reader(&uffd, Kind::Anon, &target, 0);
    let writer = Access.writer(&uffd, Kind::Anon, &target, (PAGE, 3));
    Access.off(&uffd, &target, 0, 2 * PAGE);
    assert_eq!((reader.join(), writer.join()), (0, 3));
}

fn async_uffd() -> Uffd {
    Access.uffd(UFFD_FEATURE_RWP_ASYNC)
}

/// The pages that a scan finds to have been accessed.
#[track_caller]
fn accessed(target: &Mapping) -> Vec<u64> {
    let regions = scan(target, 0, PAGE_IS_ACCESSED).unwrap();
    regions.iter().flat_map(|&(from, to, _)| from..to).collect()
}

fn async_never_sends_a_message() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = async_uffd();
        let target = Access.guarded(&uffd, kind, 3);
        for _ in 0..2 {
            let all = kind.pages(0..3);
            Access.on(&uffd, &target);
            assert_eq!(protected(&target), all);
            assert_eq!(target.read(0), FILL);
            target.write(2 * kind.unit(), 4);
            assert_eq!(protected(&target), kind.pages([1]));
        }
        expect_silence(&uffd);
    }
}

fn async_takes_accesses_by_calls() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = async_uffd();
        let target = Access.guarded(&uffd, kind, 2);
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        assert_eq!(user::write(writer.as_fd(), target.start(), 1), Ok(1));
        assert_eq!(accessed(&target), kind.pages([0]));
        let local = Mapping::anon(1);
        let pid = std::process::id() as i32;
        let second = target.start() + kind.unit();
        assert_eq!(user::read_process(pid, second, 1, local.start()), Ok(1));
        assert_eq!((local.read(0), target.read(0)), (FILL, FILL));
        assert_eq!(protected(&target), NOTHING);
    }
}

fn scan_tells_what_was_accessed() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = async_uffd();
        let (target, _file) = kind.alone(4);
        let target = Access.registered(&uffd, target);
        assert_eq!(accessed(&target), NOTHING, "nothing is there");
        kind.populate(&target);
        assert_eq!(accessed(&target), kind.pages(0..4));
        Access.on(&uffd, &target);
        assert_eq!(accessed(&target), NOTHING);
        target.read(kind.unit());
        target.write(3 * kind.unit(), 1);
        assert_eq!(accessed(&target), kind.pages([1, 3]));
        Access.on(&uffd, &target);
        assert_eq!(accessed(&target), NOTHING);
    }
}

fn scan_tells_it_of_pages_in_swap() {
    let _swap = SwapArea::new();
    let uffd = async_uffd();
    let target = Access.guarded(&uffd, Kind::Anon, 3);
    target.read(PAGE);
    page_out(&target, 0, target.len());
    assert_eq!(accessed(&target), [1]);
    assert_eq!(target.read(0), FILL);
    assert_eq!(accessed(&target), [0, 1]);
    expect_silence(&uffd);
}
