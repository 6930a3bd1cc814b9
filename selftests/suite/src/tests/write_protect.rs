// SPDX-License-Identifier: GPL-2.0-only

//! Protection against writes on every kind of memory: what it covers, who is woken.
//!
//! Bodies that hold for protection against any access as well take [`Against`].

use crate::harness::env;
use crate::harness::kind::{Kind, FILL};
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::protect::{expect_message, expect_silence, protected, Against, DONTWAKE, ON};
use crate::harness::scan::is_huge;
use crate::harness::task::{until, Faulter};
use crate::harness::{expect_errno, sigbus, tests, uffd_with, user, Need};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::Errno;
use Against::Write;

tests! {
    writes_are_reported [WP];
    dirty_shared_pages_are_reported_again [WP];
    parts_can_be_protected [WP];
    part_of_a_huge_page_splits_it [WP];
    range_may_span_mappings_and_holes [WP];
    range_stops_at_what_is_not_registered [WP];
    unprotecting_wakes_its_range_only [WP];
    dontwake_leaves_the_sleepers [WP];
    protecting_wakes_nobody [WP];
    page_of_zeroes_is_protected [WP];
    page_of_a_private_file_is_copied_when_resolved [WP, FILES];
    protection_outlasts_mprotect [WP];
    calls_that_write_are_reported [WP];
    sigbus_instead_of_a_message [WP];
    missing_and_write_protection_go_together [WP];
    copy_maps_protected [WP];
    continue_maps_protected [WP, FILES, Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
}

/// What every test of this module needs.
pub(super) const WP: Need = Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
/// What tests of files need besides.
pub(super) const FILES: Need =
    Need::Feature(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_MISSING_SHMEM);
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const NOTHING: [u64; 0] = [];

fn writes_are_reported() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let target = Write.guarded(&uffd, kind, 3);
        assert_eq!(protected(&target), kind.pages(0..3));
        let middle = kind.unit();
        assert_eq!((target.read(middle), target.read(middle + 1)), (FILL, 0));
        expect_silence(&uffd);
        // Somewhere within the unit.
        let offset = middle + kind.unit() / 2 + 77;
        let writer = Write.writer(&uffd, kind, &target, (offset, 9));
        assert_eq!(target.read(offset), 0, "not before it is resolved");
        Write.off(&uffd, &target, middle, kind.unit());
        assert_eq!(writer.join(), 9);
        assert_eq!(protected(&target), kind.pages([0, 2]));
        // From now on it is memory as any.
        target.write(middle, 1);
        expect_silence(&uffd);
    }
}

fn dirty_shared_pages_are_reported_again() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, file) = kind.alone(2);
        kind.populate(&target);
        let target = Write.registered(&uffd, target);
        for round in 1..4 {
            target.write(0, round);
            target.write(kind.unit(), round);
            Write.on(&uffd, &target);
            let writer = Write.writer(&uffd, kind, &target, (0, round + 10));
            Write.off(&uffd, &target, 0, target.len());
            assert_eq!(writer.join(), round + 10);
            assert_eq!(protected(&target), NOTHING);
        }
        // Another mapping of the file goes its own way.
        if let (Kind::Memfd, Some(file)) = (kind, file) {
            let other = Mapping::file(file.as_fd(), 2);
            Write.on(&uffd, &target);
            other.write(0, 99);
            assert_eq!(target.read(0), 99);
            assert_eq!(protected(&target), [0, 1]);
            expect_silence(&uffd);
        }
    }
}

fn parts_can_be_protected() {
    parts(Write);
}

/// Protects and unprotects parts of what is registered.
pub(super) fn parts(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.registered(&uffd, kind.populated(5));
        let unit = kind.unit();
        let steps: [(u64, u64, u64, &[u64]); 7] = [
            (1, 3, ON, &[1, 2, 3]),
            (2, 1, 0, &[1, 3]),
            (0, 5, ON, &[0, 1, 2, 3, 4]),
            (4, 1, 0, &[0, 1, 2, 3]),
            (0, 1, DONTWAKE, &[1, 2, 3]),
            (3, 2, ON, &[1, 2, 3, 4]),
            (0, 5, 0, &[]),
        ];
        for (first, count, mode, left) in steps {
            against
                .set(&uffd, &target, (first * unit, count * unit), mode)
                .unwrap();
            assert_eq!(protected(&target), kind.pages(left.iter().copied()));
        }
        (0..5).for_each(|page| target.write(page * unit, 1));
        expect_silence(&uffd);
    }
}

fn part_of_a_huge_page_splits_it() {
    part_of_a_huge_page(Write);
}

/// Protects a page of a huge page.
pub(super) fn part_of_a_huge_page(against: Against) {
    let uffd = against.uffd(0);
    let Some(&kind) = Kind::protectable().iter().find(|&&kind| kind == Kind::Thp) else {
        return;
    };
    let target = against.registered(&uffd, kind.populated(1));
    against.on(&uffd, &target);
    assert!(is_huge(&target, 0), "as a whole it stays whole");
    against.off(&uffd, &target, 3 * PAGE, PAGE);
    assert!(!is_huge(&target, 0));
    let others: Vec<u64> = (0..512).filter(|&page| page != 3).collect();
    assert_eq!(protected(&target), others);
    target.write(3 * PAGE, 1);
    expect_silence(&uffd);
    let writer = against.writer(&uffd, Kind::Anon, &target, (4 * PAGE, 2));
    against.off(&uffd, &target, 4 * PAGE, PAGE);
    assert_eq!(writer.join(), 2);
    assert_eq!(target.read_bytes(3 * PAGE, 1), [1]);
}

fn range_may_span_mappings_and_holes() {
    spanning(Write);
}

/// Protects a range of several mappings with holes between.
pub(super) fn spanning(against: Against) {
    let uffd = against.uffd(0);
    let target = against.registered(&uffd, Kind::Anon.populated(6));
    target.protect(2 * PAGE, PAGE, libc::PROT_READ).unwrap();
    target.unmap(3 * PAGE, PAGE);
    target.unmap(5 * PAGE, PAGE);
    // It may end in a hole as well, and begin in one.
    against.set(&uffd, &target, (0, 6 * PAGE), ON).unwrap();
    assert_eq!(protected(&target), [0, 1, 2, 4]);
    against.off(&uffd, &target, 3 * PAGE, 3 * PAGE);
    assert_eq!(protected(&target), [0, 1, 2]);
    against.off(&uffd, &target, 0, 6 * PAGE);
    assert_eq!(protected(&target), NOTHING);
    expect_errno(
        against.set(&uffd, &target, (3 * PAGE, PAGE), ON),
        Errno::ENOENT,
    );
    // What may not be written does not become writable.
    target.write(PAGE, 1);
    let mut byte = [7];
    let (start, from) = (target.page(2), user::address_of(byte.as_mut_ptr()));
    let pid = std::process::id() as i32;
    expect_errno(user::write_process(pid, start, 1, from), Errno::EFAULT);
    assert_eq!(target.read(2 * PAGE), FILL);
}

fn range_stops_at_what_is_not_registered() {
    let uffd = uffd_with(0);
    let target = Kind::Anon.populated(5);
    uffd.register(target.start(), 2 * PAGE, Write.mode())
        .unwrap();
    uffd.register(target.page(3), 2 * PAGE, MISSING).unwrap();
    for range in [(PAGE, 2 * PAGE), (2 * PAGE, PAGE), (3 * PAGE, PAGE)] {
        expect_errno(Write.set(&uffd, &target, range, ON), Errno::ENOENT);
    }
    // The page in front may or may not have been done: see the manual, which does not say.
    assert!(protected(&target).iter().all(|&page| page == 1));
    expect_errno(Write.set(&uffd, &target, (0, 5 * PAGE), 0), Errno::ENOENT);
}

fn unprotecting_wakes_its_range_only() {
    wakes_its_range(Write);
}

/// Lets three threads run into protection, and one go on after the other.
pub(super) fn wakes_its_range(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 3);
        let unit = kind.unit();
        let mut writers: Vec<_> = (0..3)
            .map(|page| against.writer(&uffd, kind, &target, (page * unit, page as u8)))
            .collect();
        against.off(&uffd, &target, unit, unit);
        assert_eq!(writers.remove(1).join(), 1);
        assert_eq!(env::fdinfo(&uffd).total, 2);
        writers.iter().for_each(Faulter::wait_asleep);
        against.off(&uffd, &target, 0, 3 * unit);
        let values: Vec<_> = writers.into_iter().map(Faulter::join).collect();
        assert_eq!(values, [0, 2]);
        expect_silence(&uffd);
    }
}

fn dontwake_leaves_the_sleepers() {
    dontwake(Write);
}

/// Resolves without waking, and wakes without resolving.
pub(super) fn dontwake(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        let writer = against.writer(&uffd, kind, &target, (5, 7));
        let flags = against.flag() | UFFD_PAGEFAULT_FLAG_WRITE;
        // Woken only, it comes back.
        uffd.wake(target.start(), kind.unit()).unwrap();
        until(|| env::fdinfo(&uffd).pending == 1);
        expect_message(&uffd, (target.start() + 5, kind.grain()), flags);
        against
            .set(&uffd, &target, (0, kind.unit()), DONTWAKE)
            .unwrap();
        assert_eq!(env::fdinfo(&uffd).total, 1);
        writer.wait_asleep();
        // Whoever comes now finds a page that can be written.
        target.write(6, 8);
        uffd.wake(target.start(), kind.unit()).unwrap();
        assert_eq!((writer.join(), target.read(6)), (7, 8));
        expect_silence(&uffd);
    }
}

fn protecting_wakes_nobody() {
    wakes_nobody(Write);
}

/// Protects what somebody sleeps for.
pub(super) fn wakes_nobody(against: Against) {
    let uffd = against.uffd(0);
    let target = against.guarded(&uffd, Kind::Anon, 2);
    let writer = against.writer(&uffd, Kind::Anon, &target, (0, 1));
    against.on(&uffd, &target);
    // A thread that had been woken would be back as an unread fault.
    writer.wait_asleep();
    let info = env::fdinfo(&uffd);
    assert_eq!((info.pending, info.total), (0, 1));
    against.off(&uffd, &target, 0, PAGE);
    assert_eq!(writer.join(), 1);
}

fn page_of_zeroes_is_protected() {
    let uffd = uffd_with(0);
    let target = Write.registered(&uffd, Mapping::lone(2));
    assert_eq!((target.read(0), target.read(PAGE)), (0, 0));
    Write.on(&uffd, &target);
    assert_eq!(protected(&target), [0, 1]);
    let writer = Write.writer(&uffd, Kind::Anon, &target, (PAGE, 3));
    Write.off(&uffd, &target, 0, 2 * PAGE);
    assert_eq!(writer.join(), 3);
    assert_eq!(target.read(0), 0);
}

fn page_of_a_private_file_is_copied_when_resolved() {
    let file = memfd(1);
    nix::sys::uio::pwrite(&file, &[FILL], 0).unwrap();
    let flags = libc::MAP_PRIVATE;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let target = Mapping::new(PAGE, prot, flags, Some(file.as_fd()), 0).unwrap();
    let uffd = uffd_with(0);
    let target = Write.registered(&uffd, target);
    assert_eq!(target.read(0), FILL);
    Write.on(&uffd, &target);
    let writer = Write.writer(&uffd, Kind::PrivateFile, &target, (0, 1));
    Write.off(&uffd, &target, 0, PAGE);
    assert_eq!(writer.join(), 1);
    let mut byte = [0];
    nix::sys::uio::pread(&file, &mut byte, 0).unwrap();
    assert_eq!(byte, [FILL]);
}

fn protection_outlasts_mprotect() {
    outlasts_mprotect(Write);
}

/// Takes the right to write away and gives it back.
pub(super) fn outlasts_mprotect(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 1);
        for prot in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
            target.protect(0, target.len(), prot).unwrap();
            assert_eq!(protected(&target), kind.pages([0]));
        }
        let writer = against.writer(&uffd, kind, &target, (0, 4));
        against.off(&uffd, &target, 0, target.len());
        assert_eq!(writer.join(), 4);
    }
}

fn calls_that_write_are_reported() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let target = Write.guarded(&uffd, kind, 1);
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&writer, &[3, 4]).unwrap();
        let start = target.start();
        let pid = std::process::id() as i32;
        // Copied to by its own call, and pinned by another's.
        let local = Mapping::anon(1);
        local.write(0, 5);
        let from = local.start();
        let plain = Faulter::spawn(move || user::read(reader.as_fd(), start + 1, 1));
        env::wait_queued(&uffd, 1);
        let pinning = Faulter::spawn(move || user::write_process(pid, start + 2, 1, from));
        env::wait_queued(&uffd, 2);
        let flags = UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE;
        for _ in 0..2 {
            expect_message(&uffd, (start, kind.grain()), flags);
        }
        Write.off(&uffd, &target, 0, target.len());
        assert_eq!((plain.join(), pinning.join()), (Ok(1), Ok(1)));
        assert_eq!(target.read_bytes(0, 3), [FILL, 3, 5]);
    }
}

fn sigbus_instead_of_a_message() {
    for kind in Kind::protectable()
        .into_iter()
        .filter(|kind| !kind.is_huge())
    {
        println!("{kind:?}");
        let uffd = uffd_with(UFFD_FEATURE_SIGBUS);
        let target = Write.guarded(&uffd, kind, 1);
        sigbus::catch();
        target.write(77, 1);
        let seen = sigbus::caught();
        assert_eq!((seen.count, seen.address), (1, target.start() + 77));
        expect_silence(&uffd);
    }
}

fn missing_and_write_protection_go_together() {
    let uffd = uffd_with(0);
    let target = Mapping::lone(2);
    let mode = MISSING | Write.mode();
    uffd.register(target.start(), target.len(), mode).unwrap();
    let target = Arc::new(target);
    Write.on(&uffd, &target);
    // Nothing is there to protect: a message about missing memory, then none.
    let writer = Faulter::write(&target, 0, 6);
    env::wait_queued(&uffd, 1);
    expect_message(&uffd, (target.start(), PAGE), UFFD_PAGEFAULT_FLAG_WRITE);
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    assert_eq!(writer.join(), 6);
    expect_silence(&uffd);
}

fn copy_maps_protected() {
    let kinds = Kind::protectable().into_iter();
    for kind in kinds.filter(|&kind| kind != Kind::Thp) {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, _file) = kind.alone(2);
        let mode = MISSING | Write.mode();
        uffd.register(target.start(), target.len(), mode).unwrap();
        let target = Arc::new(target);
        let (source, unit) = (Mapping::anon(kind.unit() / PAGE), kind.unit());
        source.write(1, 2);
        // One protected from the start by way of a fault, the other not.
        let writer = Faulter::write(&target, 0, 8);
        env::wait_queued(&uffd, 1);
        expect_message(&uffd, (target.start(), unit), UFFD_PAGEFAULT_FLAG_WRITE);
        let (start, from) = (target.start(), source.start());
        let copied = uffd.copy(start, from, unit, UFFDIO_COPY_MODE_WP);
        assert_eq!(copied, Ok(unit));
        assert_eq!(uffd.copy(start + unit, from, unit, 0), Ok(unit));
        assert_eq!(protected(&target), kind.pages([0]));
        // Woken by the copy, it runs into the protection.
        until(|| env::fdinfo(&uffd).pending == 1);
        let flags = UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE;
        expect_message(&uffd, (start, unit), flags);
        Write.off(&uffd, &target, 0, unit);
        assert_eq!((writer.join(), target.read(1)), (8, 2));
        target.write(unit, 1);
        expect_silence(&uffd);
    }
}

fn continue_maps_protected() {
    for kind in [Kind::Memfd, Kind::HugeMemfd] {
        if !Kind::protectable().contains(&kind) {
            continue;
        }
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, file) = kind.alone(2);
        let len = target.len();
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let file = file.as_ref().map(AsFd::as_fd);
        let other = Mapping::new(len, prot, libc::MAP_SHARED, file, 0).unwrap();
        kind.populate(&other);
        let mode = UFFDIO_REGISTER_MODE_MINOR | Write.mode();
        uffd.register(target.start(), len, mode).unwrap();
        let (target, unit) = (Arc::new(target), kind.unit());
        let mode = UFFDIO_CONTINUE_MODE_WP;
        assert_eq!(uffd.continue_pages(target.start(), unit, mode), Ok(unit));
        let second = target.start() + unit;
        assert_eq!(uffd.continue_pages(second, unit, 0), Ok(unit));
        assert_eq!(protected(&target), kind.pages([0]));
        assert_eq!((target.read(0), target.read(unit)), (FILL, FILL));
        target.write(unit, 1);
        let writer = Write.writer(&uffd, kind, &target, (0, 7));
        Write.off(&uffd, &target, 0, unit);
        assert_eq!((writer.join(), other.read(0)), (7, 7));
    }
}
