// SPDX-License-Identifier: GPL-2.0-only

//! Transparent huge pages in registered memory, private and shared, and collapsing while pages are
//! filled in.

use super::fill::failed;
use crate::harness::env;
use crate::harness::kind::{expect_stamped, stamp, stamped};
use crate::harness::mem::{memfd, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::scan::is_huge;
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, skip, tests, uffd_with, user, Need};
use nix::unistd::pipe;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    every_fill_onto_a_huge_page_fails [Need::Path(THP), FILLS];
    fills_around_a_huge_page [Need::Path(THP)];
    giving_back_splits_nothing [Need::Path(THP)];
    poison_keeps_a_range_from_collapsing [Need::Path(THP), FILLS];
    hole_keeps_shared_memory_from_collapsing [Need::Path(THP), SHMEM];
    fills_onto_a_huge_page_of_a_file [Need::Path(THP), SHMEM];
    continue_maps_parts_of_a_huge_page [Need::Path(THP), MINOR];
    continue_of_a_huge_page_at_once [Need::Path(THP), MINOR];
    cve_2024_46787_fills_against_collapsing [Need::Path(THP)];
    cve_2024_46787_fills_against_collapsing_of_files [Need::Path(THP), SHMEM];
    fills_against_faults_of_neighbours [Need::Path(THP)];
}

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// Says whether shared memory may have huge pages.
pub(super) const SHMEM_THP: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
pub(super) const SHMEM: Need = Need::Feature(UFFD_FEATURE_MISSING_SHMEM);
const MINOR: Need = Need::Feature(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM);
const FILLS: Need = Need::Feature(UFFD_FEATURE_POISON);
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const PAGES: u64 = HUGE_PAGE / PAGE;

/// Private memory, and the offset of a whole huge page in it.
fn private() -> (Arc<Mapping>, u64) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let memory = Mapping::new(3 * HUGE_PAGE, RW, flags, None, 0).unwrap();
    memory
        .advise(0, memory.len(), libc::MADV_HUGEPAGE)
        .expect("MADV_HUGEPAGE");
    let offset = memory.start().next_multiple_of(HUGE_PAGE) - memory.start();
    (Arc::new(memory), offset)
}

/// The same with a huge page in it, of stamped pages.
fn private_huge() -> (Arc<Mapping>, u64) {
    let (memory, offset) = private();
    stamp(&memory, offset, HUGE_PAGE, 1);
    if !is_huge(&memory, offset) {
        collapse(&memory, offset);
    }
    assert!(is_huge(&memory, offset));
    (memory, offset)
}

/// A file in memory of one huge page, mapped so that it can be a huge page.
pub(super) fn file() -> (OwnedFd, Arc<Mapping>, u64) {
    let file = memfd(PAGES);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let place = Mapping::new(2 * HUGE_PAGE, libc::PROT_NONE, flags, None, 0).unwrap();
    let offset = place.start().next_multiple_of(HUGE_PAGE) - place.start();
    let memory = Mapping::file(file.as_fd(), PAGES);
    let to = place.start() + offset;
    user::remap(memory.start(), HUGE_PAGE, HUGE_PAGE, Some(to)).unwrap();
    memory.leak();
    (file, Arc::new(place), offset)
}

/// Collapses a range, however often it takes: others may hold a page for a moment.
#[track_caller]
fn collapse(memory: &Mapping, offset: u64) {
    const TRIES: usize = 100;
    let mut last = Errno::UnknownErrno;
    for _ in 0..TRIES {
        match memory.advise(offset, HUGE_PAGE, libc::MADV_COLLAPSE) {
            Ok(()) => return,
            Err(errno) => last = errno,
        }
        std::thread::yield_now();
    }
    panic!("MADV_COLLAPSE: {last}");
}

/// The file's pages become a huge page of the page cache, mapped or not.
#[track_caller]
fn collapse_file(memory: &Mapping, offset: u64) {
    if !std::path::Path::new(SHMEM_THP).exists() {
        skip("shared memory has no huge pages here");
    }
    stamp(memory, offset, HUGE_PAGE, 1);
    collapse(memory, offset);
}

/// A huge page of a file, not mapped but registered for minor faults.
fn cached() -> (Uffd, Arc<Mapping>, u64) {
    let (_file, memory, offset) = file();
    collapse_file(&memory, offset);
    memory
        .advise(offset, HUGE_PAGE, libc::MADV_DONTNEED)
        .unwrap();
    let uffd = uffd_with(0);
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, UFFDIO_REGISTER_MODE_MINOR)
        .unwrap();
    (uffd, memory, offset)
}

fn every_fill_onto_a_huge_page_fails() {
    let (memory, offset) = private_huge();
    let (uffd, source) = (uffd_with(0), stamped(HUGE_PAGE, 7));
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    let there = Err(failed(Errno::EEXIST));
    for page in [0, 1, 255, 511] {
        let at = start + page * PAGE;
        for len in [PAGE, (512 - page) * PAGE] {
            assert_eq!(uffd.copy(at, source.start(), len, 0), there);
            assert_eq!(uffd.zeropage(at, len, 0), there);
            assert_eq!(uffd.poison(at, len, 0), there);
        }
    }
    assert!(is_huge(&memory, offset), "nothing was split");
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
}

fn fills_around_a_huge_page() {
    let (memory, offset) = private_huge();
    let (uffd, source) = (uffd_with(0), stamped(2 * PAGE, 7));
    uffd.register(memory.start(), memory.len(), MISSING)
        .unwrap();
    // Into it from before, and beside it.
    let behind = memory.start() + offset + HUGE_PAGE;
    let copied = uffd.copy(behind, source.start(), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    if offset > 0 {
        let before = memory.start() + offset - PAGE;
        let copied = uffd.copy(before, source.start(), 2 * PAGE, 0);
        assert_eq!(copied, Err(super::fill::partly(PAGE)));
        assert_eq!(memory.read(offset - 1), 7);
    }
    assert_eq!(memory.read(offset + HUGE_PAGE), 7);
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
    assert!(is_huge(&memory, offset));
}

fn giving_back_splits_nothing() {
    let (memory, offset) = private_huge();
    let uffd = uffd_with(0);
    let start = memory.start() + offset;
    for _ in 0..3 {
        uffd.register(start, HUGE_PAGE, MISSING).unwrap();
        uffd.unregister(start, HUGE_PAGE).unwrap();
        assert!(is_huge(&memory, offset));
    }
    // A part of it: the mapping is split, so the page is mapped in pieces.
    uffd.register(start + PAGE, PAGE, MISSING).unwrap();
    uffd.unregister(start, HUGE_PAGE).unwrap();
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    drop(uffd);
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
}

fn poison_keeps_a_range_from_collapsing() {
    let (memory, offset) = private();
    let (uffd, source) = (uffd_with(0), stamped(HUGE_PAGE, 7));
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    let copied = uffd.copy(start, source.start(), HUGE_PAGE - PAGE, 0);
    assert_eq!(copied, Ok(HUGE_PAGE - PAGE));
    let last = start + HUGE_PAGE - PAGE;
    assert_eq!(uffd.poison(last, PAGE, 0), Ok(PAGE));
    for _ in 0..3 {
        assert!(memory
            .advise(offset, HUGE_PAGE, libc::MADV_COLLAPSE)
            .is_err());
    }
    let (_reader, writer) = pipe().unwrap();
    let written = user::write(writer.as_fd(), last, 1);
    expect_errno(written, Errno::EFAULT);
    // Healed, the range can be one page.
    let copied = uffd.copy(last, source.start() + HUGE_PAGE - PAGE, PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    collapse(&memory, offset);
    expect_stamped(&memory, offset, HUGE_PAGE, 7);
}

fn hole_keeps_shared_memory_from_collapsing() {
    // Collapsing a file fills its holes, which are the manager's to fill.
    let (_file, memory, offset) = file();
    let (uffd, source) = (uffd_with(0), stamped(HUGE_PAGE, 1));
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    let hole = 77 * PAGE;
    let copied = uffd.copy(start, source.start(), hole, 0);
    assert_eq!(copied, Ok(hole));
    let rest = HUGE_PAGE - hole - PAGE;
    let from = source.start() + hole + PAGE;
    assert_eq!(uffd.copy(start + hole + PAGE, from, rest, 0), Ok(rest));
    for _ in 0..3 {
        assert!(memory
            .advise(offset, HUGE_PAGE, libc::MADV_COLLAPSE)
            .is_err());
    }
    let faulter = Faulter::read(&memory, offset + hole);
    env::wait_queued(&uffd, 1);
    let copied = uffd.copy(start + hole, source.start() + hole, PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    assert_eq!(faulter.join(), 78);
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
}

fn fills_onto_a_huge_page_of_a_file() {
    let (file, memory, offset) = file();
    collapse_file(&memory, offset);
    let (uffd, source) = (uffd_with(0), stamped(PAGE, 9));
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    let there = Err(failed(Errno::EEXIST));
    for mapped in [true, false] {
        for page in [0, 100, 511] {
            let at = start + page * PAGE;
            assert_eq!(uffd.copy(at, source.start(), PAGE, 0), there, "{mapped}");
            assert_eq!(uffd.zeropage(at, PAGE, 0), there, "{mapped}");
        }
        memory
            .advise(offset, HUGE_PAGE, libc::MADV_DONTNEED)
            .unwrap();
    }
    assert_eq!(super::shmem::blocks(&file), PAGES);
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn continue_maps_parts_of_a_huge_page() {
    let (uffd, memory, offset) = cached();
    let start = memory.start() + offset;
    for page in [0u64, 5, 300, 511] {
        let at = offset + page * PAGE;
        let faulter = Faulter::read(&memory, at);
        env::wait_queued(&uffd, 1);
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        let want = (start + page * PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
        assert_eq!((fault.address, fault.flags), want);
        // This page, and none beside it.
        assert_eq!(uffd.continue_pages(fault.address, PAGE, 0), Ok(PAGE));
        assert_eq!(faulter.join(), 1u8.wrapping_add(page as u8));
    }
    let mapped = uffd.continue_pages(start + 5 * PAGE, PAGE, 0);
    assert_eq!(mapped, Err(failed(Errno::EEXIST)));
    let rest = uffd.continue_pages(start + PAGE, 4 * PAGE, 0);
    assert_eq!(rest, Ok(4 * PAGE));
}

fn continue_of_a_huge_page_at_once() {
    let (uffd, memory, offset) = cached();
    let start = memory.start() + offset;
    assert_eq!(uffd.continue_pages(start, HUGE_PAGE, 0), Ok(HUGE_PAGE));
    expect_stamped(&memory, offset, HUGE_PAGE, 1);
    memory.fill(offset + 9 * PAGE, 2, 0x33);
    assert_eq!(memory.read(offset + 9 * PAGE + 1), 0x33);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

/// Fills and drops pages in one thread while another one collapses the range by this function,
/// which says how often it did.
#[track_caller]
pub(super) fn check_collapsing(
    memory: &Arc<Mapping>,
    offset: u64,
    collapse: impl Fn(&Mapping) -> usize + Send + 'static,
) {
    const ROUNDS: usize = 12;
    let uffd = Arc::new(uffd_with(0));
    let start = memory.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let (go, other) = (Arc::clone(&barrier), Arc::clone(memory));
    let collapser = Faulter::spawn(move || {
        let mut collapsed = 0;
        for _ in 0..ROUNDS {
            go.wait();
            collapsed += collapse(&other);
            go.wait();
        }
        collapsed
    });
    let source = stamped(HUGE_PAGE, 1);
    for round in 0..ROUNDS {
        barrier.wait();
        fill_all(&uffd, start, source.start(), round);
        barrier.wait();
        expect_stamped(memory, offset, HUGE_PAGE, 1);
        // The table the fills went to may be gone, or back.
        for page in (round as u64 % 7..PAGES).step_by(7) {
            let at = offset + page * PAGE;
            memory.advise(at, PAGE, libc::MADV_DONTNEED).unwrap();
        }
        if round % 3 == 0 {
            memory
                .advise(offset, HUGE_PAGE, libc::MADV_DONTNEED)
                .unwrap();
        }
    }
    println!("collapsed {} times", collapser.join());
}

/// Fills what is missing of a range, page by page or in larger steps.
#[track_caller]
fn fill_all(uffd: &Uffd, start: u64, source: u64, round: usize) {
    let step = [PAGE, 16 * PAGE][round % 2];
    let mut done = 0;
    while done < HUGE_PAGE {
        let len = step.min(HUGE_PAGE - done);
        match uffd.copy(start + done, source + done, len, 0) {
            Ok(bytes) => done += bytes,
            Err(error) => match error.errno {
                Errno::EEXIST => done += PAGE,
                Errno::EAGAIN if error.result > 0 => done += error.result as u64,
                Errno::EAGAIN => {}
                errno => panic!("UFFDIO_COPY: {errno}"),
            },
        }
    }
}

/// Collapses a range again and again.
fn collapse_often(offset: u64) -> impl Fn(&Mapping) -> usize {
    move |memory| {
        let once = |_: &u32| {
            let done = memory.advise(offset, HUGE_PAGE, libc::MADV_COLLAPSE);
            done.is_ok()
        };
        (0..20).filter(once).count()
    }
}

fn cve_2024_46787_fills_against_collapsing() {
    let (memory, offset) = private();
    check_collapsing(&memory, offset, collapse_often(offset));
}

fn cve_2024_46787_fills_against_collapsing_of_files() {
    let (_file, memory, offset) = file();
    check_collapsing(&memory, offset, collapse_often(offset));
}

fn fills_against_faults_of_neighbours() {
    // Memory beside the registered one faults at the same time: both want the same page table.
    const ROUNDS: usize = 40;
    let (memory, offset) = private();
    let uffd = uffd_with(0);
    let start = memory.start() + offset;
    let source = stamped(HUGE_PAGE, 1);
    let barrier = Arc::new(Barrier::new(2));
    let (go, other) = (Arc::clone(&barrier), Arc::clone(&memory));
    let neighbour = Faulter::spawn(move || {
        for _ in 0..ROUNDS {
            go.wait();
            other.write(offset + HUGE_PAGE - PAGE, 5);
            go.wait();
        }
    });
    for _ in 0..ROUNDS {
        // All but the last page, which is the neighbour's.
        uffd.register(start, HUGE_PAGE - PAGE, MISSING).unwrap();
        barrier.wait();
        for page in 0..8 {
            let at = page * PAGE;
            let copied = uffd.copy(start + at, source.start() + at, PAGE, 0);
            assert_eq!(copied, Ok(PAGE));
        }
        barrier.wait();
        expect_stamped(&memory, offset, 8 * PAGE, 1);
        assert_eq!(memory.read(offset + HUGE_PAGE - PAGE), 5);
        uffd.unregister(start, HUGE_PAGE - PAGE).unwrap();
        memory
            .advise(offset, HUGE_PAGE, libc::MADV_DONTNEED)
            .unwrap();
    }
    neighbour.join();
}
