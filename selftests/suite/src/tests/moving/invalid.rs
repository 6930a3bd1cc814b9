// SPDX-License-Identifier: GPL-2.0-only

//! Moves that are refused because of the memory, and what is found out first.
//!
//! What is wrong with the argument alone is in `errno::fill`.

use super::*;
use crate::harness::mem::{memfd, memfd_with};
use crate::harness::process::Child;
use crate::harness::raw::{Argument, UNTOUCHED};
use crate::harness::smaps::vmas;
use crate::harness::{skip, tests, uffd_raw, user};
use crate::tests::layout::named;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

tests! {
    memory_that_does_not_move [MOVE];
    huge_page_files_do_not_move [Need::Hugetlb(2), MOVE];
    secret_memory_does_not_move [MOVE];
    device_memory_does_not_move [MOVE];
    access_must_be_the_same [MOVE];
    locking_must_be_the_same [MOVE];
    ranges_lie_in_one_mapping [MOVE];
    destination_belongs_to_the_descriptor [MOVE];
    only_the_process_itself_moves [MOVE];
    no_move_before_the_handshake [MOVE];
    range_is_checked_before_anything_moves [MOVE];
    first_reason_counts [MOVE];
}

const EINVAL: Errno = Errno::EINVAL;

/// Fails unless moving the first page is refused with EINVAL and changes nothing.
#[track_caller]
fn expect_refused(uffd: &Uffd, dst: &Mapping, src: &Mapping, len: u64) {
    for mode in [0, HOLES] {
        let refused = uffd.move_pages(dst.start(), src.start(), len, mode);
        assert_eq!(refused, failed(EINVAL));
    }
}

/// Memory of a kind that does not move, of one page and with a value in it, as the source; and as
/// the destination, if it can be registered.
#[track_caller]
fn expect_stays(other: &Mapping, len: u64) {
    let (uffd, src, dst) = scene(len / PAGE);
    other.write(0, 0x33);
    expect_refused(&uffd, &dst, other, len);
    assert_eq!(other.read(0), 0x33);
    if uffd.register(other.start(), len, MISSING).is_ok() {
        other.advise(0, len, libc::MADV_DONTNEED).unwrap();
        expect_refused(&uffd, other, &src, len);
    }
    expect_stamps(&src, 0, len / PAGE, 1);
}

fn memory_that_does_not_move() {
    expect_stays(&Mapping::shared(1), PAGE);
    let file = memfd(1);
    expect_stays(&Mapping::file(file.as_fd(), 1), PAGE);
    // A page of one's own, but of a file.
    let flags = libc::MAP_PRIVATE;
    let private = Mapping::new(PAGE, RW, flags, Some(file.as_fd()), 0).unwrap();
    expect_stays(&private, PAGE);
}

fn huge_page_files_do_not_move() {
    const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let private = Mapping::new(HUGE_PAGE, RW, ANON, None, 0).unwrap();
    expect_stays(&private, HUGE_PAGE);
    drop(private);
    let file = memfd_with(c"uffd-suite", libc::MFD_HUGETLB, HUGE_PAGE);
    let shared = Mapping::file(file.as_fd(), HUGE_PAGE / PAGE);
    expect_stays(&shared, HUGE_PAGE);
}

fn secret_memory_does_not_move() {
    // SAFETY: the call takes an integer.
    let fd = match unsafe { user::syscall(libc::SYS_memfd_secret, [0; 6]) } {
        // SAFETY: the call has just made the descriptor.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
        Err(Errno::ENOSYS) => skip("the kernel has no secret memory"),
        Err(errno) => panic!("memfd_secret: {errno}"),
    };
    nix::unistd::ftruncate(&fd, PAGE as i64).unwrap();
    // Its pages are locked, and locking must be the same, or that is the reason.
    let (uffd, src, dst) = scene(1);
    user::mlock(src.start(), PAGE).unwrap();
    user::mlock_with(dst.start(), PAGE, 1).unwrap();
    let secret = Mapping::file(fd.as_fd(), 1);
    secret.write(0, 4);
    expect_refused(&uffd, &dst, &secret, PAGE);
    assert_eq!(secret.read(0), 4);
}

fn device_memory_does_not_move() {
    // A ring of io_uring: pages of the kernel's, inserted one by one.
    let ring = crate::harness::uring::Uring::new(2);
    let (uffd, _, dst) = scene(1);
    let fd = Some(ring.as_fd());
    let device = Mapping::new(PAGE, RW, libc::MAP_SHARED, fd, 0).unwrap();
    expect_refused(&uffd, &dst, &device, PAGE);
    // And memory of the machine that is nobody's page.
    if let Some((start, _)) = named("[vvar]") {
        for mode in [0, HOLES] {
            let refused = uffd.move_pages(dst.start(), start, PAGE, mode);
            assert_eq!(refused, failed(EINVAL));
        }
    }
}

fn access_must_be_the_same() {
    use libc::{PROT_EXEC, PROT_NONE, PROT_READ};
    let all = [RW, PROT_READ, PROT_NONE, RW | PROT_EXEC];
    for to in all {
        for from in all {
            let (uffd, src, dst) = scene(1);
            src.protect(0, PAGE, from).unwrap();
            dst.protect(0, PAGE, to).unwrap();
            if to == from && to & libc::PROT_WRITE != 0 {
                let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
                assert_eq!(moved, Ok(PAGE));
                expect_stamp(&dst, 0, 1);
            } else {
                expect_refused(&uffd, &dst, &src, PAGE);
                src.protect(0, PAGE, RW).unwrap();
                expect_stamp(&src, 0, 1);
            }
        }
    }
}

fn locking_must_be_the_same() {
    for locked in [0, 1] {
        let (uffd, src, dst) = scene(1);
        // Locking of what is there, and of what will be.
        let range = [&src, &dst][locked];
        user::mlock_with(range.start(), PAGE, 1).unwrap();
        expect_refused(&uffd, &dst, &src, PAGE);
        expect_stamp(&src, 0, 1);
    }
}

fn ranges_lie_in_one_mapping() {
    let (uffd, src, dst) = scene(4);
    // Two mappings that differ in nothing that matters for moving.
    for (memory, other) in [(&src, &dst), (&dst, &src)] {
        memory
            .advise(2 * PAGE, 2 * PAGE, libc::MADV_DONTFORK)
            .unwrap();
        let mappings = [memory, other].map(|one| vmas(one.start(), one.end()).len());
        assert_eq!(mappings, [2, 1]);
        expect_refused(&uffd, &dst, &src, 4 * PAGE);
        let refused = uffd.move_pages(dst.page(1), src.page(1), 2 * PAGE, 0);
        assert_eq!(refused, failed(EINVAL));
        memory
            .advise(2 * PAGE, 2 * PAGE, libc::MADV_DOFORK)
            .unwrap();
    }
    let moved = uffd.move_pages(dst.start(), src.start(), 4 * PAGE, 0);
    assert_eq!(moved, Ok(4 * PAGE));
}

fn destination_belongs_to_the_descriptor() {
    let (uffd, src, dst) = scene(2);
    let other = uffd_with(0);
    expect_refused(&other, &dst, &src, PAGE);
    uffd.unregister(dst.start(), dst.len()).unwrap();
    expect_refused(&uffd, &dst, &src, PAGE);
    register(&other, &dst);
    expect_refused(&uffd, &dst, &src, PAGE);
    // Whose the source is does not matter.
    register(&uffd, &src);
    let moved = other.move_pages(dst.start(), src.start(), 2 * PAGE, 0);
    assert_eq!(moved, Ok(2 * PAGE));
    expect_stamps(&dst, 0, 2, 1);
}

fn only_the_process_itself_moves() {
    let (uffd, src, dst) = scene(1);
    let argument = Argument::new();
    Child::spawn(|| {
        // The argument is read first, the memory not at all.
        let words = [dst.start(), src.start(), PAGE, 0, UNTOUCHED];
        let (refused, after) = argument.call(&uffd, UFFDIO_MOVE, &words);
        assert_eq!((refused, after[4]), (Err(EINVAL), UNTOUCHED));
        let words = [1, 1, 0, !0, UNTOUCHED];
        let (refused, after) = argument.call(&uffd, UFFDIO_MOVE, &words);
        assert_eq!((refused, after[4]), (Err(EINVAL), UNTOUCHED));
    })
    .expect_success();
    expect_stamp(&src, 0, 1);
}

fn no_move_before_the_handshake() {
    let (_uffd, src, dst) = scene(1);
    let uffd = uffd_raw(0);
    let refused = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    let refused = refused.unwrap_err();
    assert_eq!((refused.errno, refused.result), (EINVAL, 0));
}

fn range_is_checked_before_anything_moves() {
    let (uffd, src, dst) = scene(3);
    // The first pages could be moved.
    expect_refused(&uffd, &dst, &src, 4 * PAGE);
    let refused = uffd.move_pages(dst.page(1), src.start(), 3 * PAGE, 0);
    assert_eq!(refused, failed(EINVAL));
    expect_stamps(&src, 0, 3, 1);
}

fn first_reason_counts() {
    let (uffd, src, dst) = scene(4);
    let shared = Mapping::shared(4);
    shared.fill(0, PAGE, 1);
    uffd.zeropage(dst.start(), PAGE, 0).unwrap();
    // Pages are looked at only when the mappings are good.
    #[rustfmt::skip]
    let rows = [
        ("no destination before a shared source", PAGE, shared.start(), PAGE, Errno::ENOENT),
        ("no source before a destination that is not ours", src.page(2), PAGE, PAGE, Errno::ENOENT),
        ("no source before a length beyond the destination", dst.page(3), PAGE, 2 * PAGE, Errno::ENOENT),
        ("shared source before a present page", dst.page(0), shared.start(), PAGE, EINVAL),
        ("length before a present page", dst.page(0), src.page(0), 5 * PAGE, EINVAL),
        ("a present page before a missing one", dst.page(0), dst.page(1), PAGE, Errno::EEXIST),
    ];
    for (what, to, from, len, errno) in rows {
        let refused = uffd.move_pages(to, from, len, 0);
        assert_eq!(refused, failed(errno), "{what}");
    }
}
