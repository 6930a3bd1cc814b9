// SPDX-License-Identifier: GPL-2.0-only

//! The calls that fill missing pages, and WAKE: contents, partial results, who is woken.

use crate::harness::env::fdinfo;
use crate::harness::handler::Handler;
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_with, Need};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Partial};

tests! {
    copy_fills_every_byte;
    copy_from_an_unaligned_source;
    copy_crosses_page_tables;
    copy_ignores_write_permission;
    copy_into_shared_memory_fills_the_file [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    copy_beyond_the_file_fails [Need::Feature(UFFD_FEATURE_MISSING_SHMEM), Need::Release(7, 3)];
    copy_stops_at_a_present_page;
    copy_stops_at_an_unreadable_source;
    copy_source_is_faulted_in;
    copy_source_may_be_userfaulted;
    copy_through_another_descriptor;
    copy_of_the_destination_itself_fails;
    zeropage_fills_with_zeroes;
    zeropage_into_shared_memory_allocates [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    zeropage_stops_at_a_present_page;
    zeropage_stops_at_a_present_page_of_a_file [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    fill_needs_one_registered_mapping;
}

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

/// Pages in which no two neighbouring bytes or pages look alike.
pub(super) fn pattern(pages: u64) -> Mapping {
    let mapping = Mapping::anon(pages);
    (0..pages * PAGE).for_each(|at| mapping.write(at, byte(at)));
    mapping
}

pub(super) fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

fn bytes(from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// A request that did a part.
pub(super) fn partly(result: u64) -> Partial {
    Partial {
        errno: Errno::EAGAIN,
        result: result as i64,
    }
}

/// A request that did nothing.
pub(super) fn failed(errno: Errno) -> Partial {
    Partial {
        errno,
        result: -(errno as i64),
    }
}

fn copy_fills_every_byte() {
    let uffd = uffd_with(0);
    let (source, target) = (pattern(4), registered(Mapping::anon(4), &uffd));
    assert_eq!(
        uffd.copy(target.start(), source.start(), 4 * PAGE, 0),
        Ok(4 * PAGE)
    );
    assert_eq!(target.read_bytes(0, 4 * PAGE), bytes(0, 4 * PAGE));
    // It is a copy: neither side sees what the other writes.
    target.write(0, 0xaa);
    source.write(1, 0xbb);
    assert_eq!((source.read(0), target.read(1)), (byte(0), byte(1)));
}

fn copy_from_an_unaligned_source() {
    let uffd = uffd_with(0);
    let source = pattern(4);
    for shift in [1, 8, PAGE / 2, PAGE - 1] {
        let target = registered(Mapping::anon(3), &uffd);
        assert_eq!(
            uffd.copy(target.start(), source.start() + shift, 3 * PAGE, 0),
            Ok(3 * PAGE)
        );
        assert_eq!(target.read_bytes(0, 3 * PAGE), bytes(shift, 3 * PAGE));
    }
}

fn copy_crosses_page_tables() {
    // More than one table of 512 entries, wherever the mapping begins.
    const PAGES: u64 = 1030;
    let uffd = uffd_with(0);
    let (source, target) = (pattern(PAGES), registered(Mapping::anon(PAGES), &uffd));
    assert_eq!(
        uffd.copy(target.start(), source.start(), PAGES * PAGE, 0),
        Ok(PAGES * PAGE)
    );
    for page in 0..PAGES {
        let at = page * PAGE + page;
        assert_eq!(target.read(at), byte(at), "page {page}");
    }
}

fn copy_ignores_write_permission() {
    let uffd = uffd_with(0);
    let (source, target) = (pattern(1), registered(Mapping::anon(1), &uffd));
    target.protect(0, PAGE, libc::PROT_READ).unwrap();
    assert_eq!(uffd.copy(target.start(), source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(target.read_bytes(0, PAGE), bytes(0, PAGE));
}

fn copy_into_shared_memory_fills_the_file() {
    let uffd = uffd_with(0);
    let file = memfd(2);
    let target = registered(Mapping::file(file.as_fd(), 2), &uffd);
    let source = pattern(1);
    assert_eq!(uffd.copy(target.page(1), source.start(), PAGE, 0), Ok(PAGE));
    let other = Mapping::file(file.as_fd(), 2);
    assert_eq!(other.read_bytes(PAGE, PAGE), bytes(0, PAGE));
    // Page 0 gets into the file by the other mapping: then there is nothing to fill.
    other.write(0, 1);
    assert_eq!(
        uffd.copy(target.page(0), source.start(), PAGE, 0),
        Err(failed(Errno::EEXIST))
    );
    assert_eq!(target.read(0), 1);
}

fn copy_beyond_the_file_fails() {
    let uffd = uffd_with(0);
    // Shared memory has no page to give there, which reads as if there were no memory.
    for (flags, errno) in [
        (libc::MAP_SHARED, Errno::ENOMEM),
        (libc::MAP_PRIVATE, Errno::EFAULT),
    ] {
        let file = memfd(1);
        let mapping = Mapping::new(
            2 * PAGE,
            crate::harness::mem::RW,
            flags,
            Some(file.as_fd()),
            0,
        )
        .unwrap();
        let target = registered(mapping, &uffd);
        let source = pattern(2);
        assert_eq!(
            uffd.copy(target.page(1), source.start(), PAGE, 0),
            Err(failed(errno))
        );
        assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Err(failed(errno)));
        assert_eq!(
            uffd.copy(target.page(0), source.start(), 2 * PAGE, 0),
            Err(partly(PAGE))
        );
        // No page was left behind beyond the end.
        nix::unistd::ftruncate(&file, 2 * PAGE as i64).unwrap();
        assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
        assert_eq!(target.read(PAGE), 0);
    }
}

fn copy_stops_at_a_present_page() {
    let uffd = uffd_with(0);
    let (source, target) = (pattern(4), Mapping::anon(4));
    target.write(2 * PAGE, 0xee);
    let target = registered(target, &uffd);
    assert_eq!(
        uffd.copy(target.start(), source.start(), 4 * PAGE, 0),
        Err(partly(2 * PAGE))
    );
    assert_eq!(target.read_bytes(0, 2 * PAGE), bytes(0, 2 * PAGE));
    assert_eq!(target.read(2 * PAGE), 0xee);
    assert_eq!(
        uffd.copy(target.page(2), source.page(2), 2 * PAGE, 0),
        Err(failed(Errno::EEXIST))
    );
    assert_eq!(uffd.copy(target.page(3), source.page(3), PAGE, 0), Ok(PAGE));
}

fn copy_stops_at_an_unreadable_source() {
    let uffd = uffd_with(0);
    let (source, target) = (Mapping::with_hole(), registered(Mapping::anon(4), &uffd));
    source.fill(0, PAGE, 1);
    assert_eq!(
        uffd.copy(target.page(0), source.page(1), PAGE, 0),
        Err(failed(Errno::EFAULT))
    );
    // The last byte alone is enough.
    assert_eq!(
        uffd.copy(target.page(0), source.start() + 1, PAGE, 0),
        Err(failed(Errno::EFAULT))
    );
    assert_eq!(
        uffd.copy(target.page(0), source.start(), 2 * PAGE, 0),
        Err(partly(PAGE))
    );
    // The page that could not be copied is still missing.
    assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
    // The source is read before the target is looked at.
    assert_eq!(
        uffd.copy(target.page(0), source.page(1), PAGE, 0),
        Err(failed(Errno::EFAULT))
    );
}

fn copy_source_is_faulted_in() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(6), &uffd);
    // Never touched; dropped after it was touched; a file that was never mapped before.
    let untouched = Mapping::anon(2);
    assert_eq!(
        uffd.copy(target.page(0), untouched.start(), 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(target.read_bytes(0, 2 * PAGE), vec![0; 2 * PAGE as usize]);
    let dropped = pattern(2);
    dropped.advise(0, 2 * PAGE, libc::MADV_DONTNEED).unwrap();
    assert_eq!(
        uffd.copy(target.page(2), dropped.start(), 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(target.read(2 * PAGE), 0);
    let file = memfd(2);
    nix::sys::uio::pwrite(&file, &bytes(0, 2 * PAGE), 0).unwrap();
    let mapped = Mapping::file(file.as_fd(), 2);
    assert_eq!(
        uffd.copy(target.page(4), mapped.start(), 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(target.read_bytes(4 * PAGE, 2 * PAGE), bytes(0, 2 * PAGE));
}

fn copy_source_may_be_userfaulted() {
    let (outer, inner) = (uffd_with(0), Arc::new(uffd_with(0)));
    let (source, target) = (
        registered(Mapping::anon(3), &inner),
        registered(Mapping::anon(2), &outer),
    );
    let origin = pattern(3);
    let base = source.start();
    let handler = Handler::spawn(Arc::clone(&inner), move |uffd, event| {
        let page = event.pagefault().expect("a page fault").address - base;
        assert_eq!(
            uffd.copy(base + page, origin.start() + page, PAGE, 0),
            Ok(PAGE)
        );
    });
    // Each copied page needs two source pages, of which none is there.
    assert_eq!(
        outer.copy(target.start(), source.start() + 100, 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(target.read_bytes(0, 2 * PAGE), bytes(100, 2 * PAGE));
    assert_eq!(handler.stop().len(), 3);
}

fn copy_through_another_descriptor() {
    // Any descriptor of the same process fills, but only the sleepers of its own are woken.
    let (owner, other) = (uffd_with(0), uffd_with(0));
    let (source, target) = (pattern(1), registered(Mapping::anon(2), &owner));
    let faulter = Faulter::read(&target, 10);
    faulter.wait_asleep();
    assert_eq!(
        other.copy(target.page(0), source.start(), PAGE, 0),
        Ok(PAGE)
    );
    assert_eq!(other.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
    assert_eq!(fdinfo(&owner).total, 1);
    faulter.wait_asleep();
    owner.wake(target.page(0), PAGE).unwrap();
    assert_eq!(faulter.join(), byte(10));
}

fn copy_of_the_destination_itself_fails() {
    // The source is there, so it is read; then the target is not missing.
    let uffd = uffd_with(0);
    let target = Mapping::anon(1);
    target.write(0, 1);
    let target = registered(target, &uffd);
    assert_eq!(
        uffd.copy(target.start(), target.start(), PAGE, 0),
        Err(failed(Errno::EEXIST))
    );
}

fn zeropage_fills_with_zeroes() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let faulter = Faulter::read(&target, PAGE);
    faulter.wait_asleep();
    assert_eq!(uffd.zeropage(target.start(), 3 * PAGE, 0), Ok(3 * PAGE));
    assert_eq!(faulter.join(), 0);
    assert_eq!(target.read_bytes(0, 3 * PAGE), vec![0; 3 * PAGE as usize]);
    // Pages are no longer missing: a write makes a page of one's own without a message. That of
    // the fault has gone with its sleeper.
    target.write(PAGE, 1);
    assert_eq!((target.read(PAGE), target.read(0)), (1, 0));
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn zeropage_into_shared_memory_allocates() {
    let uffd = uffd_with(0);
    let file = memfd(2);
    let target = registered(Mapping::file(file.as_fd(), 2), &uffd);
    assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
    assert_eq!(
        nix::sys::stat::fstat(&file).unwrap().st_blocks,
        (PAGE / 512) as i64
    );
    target.write(PAGE, 3);
    assert_eq!(Mapping::file(file.as_fd(), 2).read(PAGE), 3);
}

fn check_zeropage_stops(mapping: Mapping) {
    let uffd = uffd_with(0);
    mapping.write(PAGE, 5);
    let target = registered(mapping, &uffd);
    assert_eq!(
        uffd.zeropage(target.start(), 3 * PAGE, 0),
        Err(partly(PAGE))
    );
    assert_eq!(
        uffd.zeropage(target.page(1), 2 * PAGE, 0),
        Err(failed(Errno::EEXIST))
    );
    assert_eq!(uffd.zeropage(target.page(2), PAGE, 0), Ok(PAGE));
    assert_eq!(target.read(PAGE), 5);
}

fn zeropage_stops_at_a_present_page() {
    check_zeropage_stops(Mapping::anon(3));
}

fn zeropage_stops_at_a_present_page_of_a_file() {
    check_zeropage_stops(Mapping::shared(3));
}

fn fill_needs_one_registered_mapping() {
    let uffd = uffd_with(0);
    let (source, target) = (pattern(4), Mapping::anon(4));
    uffd.register(target.page(1), 2 * PAGE, MISSING).unwrap();
    let none = Err(failed(Errno::ENOENT));
    for (first, pages) in [(0, 1), (0, 2), (2, 2), (3, 1), (0, 4)] {
        assert_eq!(
            uffd.copy(target.page(first), source.start(), pages * PAGE, 0),
            none,
            "{first} {pages}"
        );
        assert_eq!(
            uffd.zeropage(target.page(first), pages * PAGE, 0),
            none,
            "{first} {pages}"
        );
    }
    // Two mappings, both registered, are still two.
    target.protect(2 * PAGE, PAGE, libc::PROT_READ).unwrap();
    assert_eq!(uffd.copy(target.page(1), source.start(), 2 * PAGE, 0), none);
    assert_eq!(uffd.copy(target.page(1), source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(uffd.copy(target.page(2), source.start(), PAGE, 0), Ok(PAGE));
}
