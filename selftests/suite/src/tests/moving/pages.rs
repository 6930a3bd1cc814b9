// SPDX-License-Identifier: GPL-2.0-only

//! Single pages: what arrives, what stays behind, and who is told.

use super::*;
use crate::harness::handler::Handler;
use crate::harness::pagemap::{self, clear_soft_dirty, entries, entry, frames};
use crate::harness::slab::Ledger;
use crate::harness::{env, expect_errno, release, skip, sleepers, smaps, tests, user};
use std::sync::Arc;
use uffd::Event;

tests! {
    page_itself_arrives [Need::Root, MOVE];
    pages_arrive_in_order [Need::Root, MOVE];
    borders_of_page_tables [MOVE];
    border_of_upper_tables [MOVE];
    moving_within_a_mapping [MOVE];
    moving_down_by_one [MOVE];
    moving_up_by_one_carries_one_page [MOVE];
    moving_to_itself [MOVE];
    missing_source_ends_the_move [MOVE];
    missing_source_may_be_allowed [MOVE];
    source_without_tables_may_be_allowed [MOVE];
    present_destination_ends_the_move [MOVE];
    marks_are_not_holes [MOVE];
    source_with_a_mark_is_refused [MOVE];
    zero_page_stays_one [Need::Root, MOVE];
    sleepers_are_woken [MOVE];
    sleepers_are_left_alone_if_asked [MOVE];
    only_sleepers_of_moved_pages_are_woken [MOVE];
    faults_are_answered_by_moving [MOVE];
    moved_pages_count_as_written [MOVE];
    protection_is_left_behind [Need::Feature(UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    destination_is_protected_again [Need::Feature(UFFD_FEATURE_MOVE | UFFD_FEATURE_RWP)];
    locked_pages_stay_locked [MOVE];
    pinned_page_is_busy [MOVE];
    referenced_page_moves_along [MOVE];
    there_and_back_many_times [Need::Path("/sys/kernel/slab/userfaultfd_ctx_cache/poison"), MOVE];
}

fn page_itself_arrives() {
    let (uffd, src, dst) = scene(3);
    let frame = entry(src.page(1)).frame();
    let moved = uffd.move_pages(dst.page(2), src.page(1), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert_eq!(entry(dst.page(2)).frame(), frame);
    assert!(entry(dst.page(2)).exclusive());
    expect_stamp(&dst, 2 * PAGE, 2);
    // Nothing is left behind, and the neighbours are as before.
    assert!(entry(src.page(1)).is_hole());
    assert!(entries(dst.start(), 2).iter().all(|entry| entry.is_hole()));
    expect_stamp(&src, 0, 1);
    expect_stamp(&src, 2 * PAGE, 3);
    assert_eq!(src.read(PAGE), 0, "memory that was never registered");
    // Both can be written to as if nothing had been.
    stamp(&dst, 2 * PAGE, 9);
    stamp(&src, PAGE, 8);
    expect_stamp(&dst, 2 * PAGE, 9);
    expect_stamp(&src, PAGE, 8);
}

fn pages_arrive_in_order() {
    const PAGES: u64 = 100;
    let (uffd, src, dst) = scene(PAGES);
    let (before, resident) = (frames(src.start(), PAGES), pagemap::status("RssAnon"));
    let moved = uffd.move_pages(dst.start(), src.start(), PAGES * PAGE, 0);
    assert_eq!(moved, Ok(PAGES * PAGE));
    assert_eq!(frames(dst.start(), PAGES), before);
    expect_stamps(&dst, 0, PAGES, 1);
    let left = entries(src.start(), PAGES);
    assert!(left.iter().all(|entry| entry.is_hole()));
    // What the program itself has used meanwhile is little.
    let change = pagemap::status("RssAnon").abs_diff(resident);
    assert!(change < PAGES / 2 * PAGE, "{change} bytes");
    assert_eq!(smaps::bytes(src.start(), "Rss"), 0);
    assert_eq!(smaps::bytes(dst.start(), "Rss"), PAGES * PAGE);
    assert_eq!(smaps::bytes(dst.start(), "Private_Dirty"), PAGES * PAGE);
}

/// Moves pages of which so many lie before a border of the source, and of the destination.
#[track_caller]
fn move_over(src: &Mapping, src_border: u64, dst: &Mapping, dst_border: u64, before: (u64, u64)) {
    const PAGES: u64 = 40;
    let uffd = uffd_with(0);
    register(&uffd, dst);
    let from = src_border - before.0 * PAGE;
    let to = dst_border - before.1 * PAGE;
    stamp_all(src, from, PAGES, 7);
    let answer = uffd.move_pages(dst.start() + to, src.start() + from, PAGES * PAGE, 0);
    assert_eq!(answer, Ok(PAGES * PAGE), "{before:?}");
    expect_stamps(dst, to, PAGES, 7);
    let left = entries(src.start() + from, PAGES);
    assert!(left.iter().all(|entry| entry.is_hole()), "{before:?}");
}

fn borders_of_page_tables() {
    for before in [
        (10, 0),
        (0, 10),
        (10, 10),
        (30, 11),
        (11, 30),
        (1, 39),
        (39, 1),
    ] {
        move_over(&aligned(2), HUGE_PAGE, &aligned(2), HUGE_PAGE, before);
    }
}

fn border_of_upper_tables() {
    const GIB: u64 = 1 << 30;
    let huge_pages = 2 * GIB / HUGE_PAGE;
    for before in [(10, 10), (30, 11), (11, 30)] {
        let (src, dst) = (aligned(huge_pages), aligned(huge_pages));
        let border = |memory: &Mapping| (memory.start() + 1).next_multiple_of(GIB) - memory.start();
        move_over(&src, border(&src), &dst, border(&dst), before);
    }
}

fn moving_within_a_mapping() {
    let (uffd, _, memory) = scene(8);
    let source = Mapping::anon(1);
    stamp(&source, 0, 5);
    uffd.copy(memory.page(6), source.start(), PAGE, 0).unwrap();
    let moved = uffd.move_pages(memory.page(1), memory.page(6), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    expect_stamp(&memory, PAGE, 5);
    // The source is missing in the sense of the registration.
    let memory = Arc::new(memory);
    let asleep = sleepers(&uffd, &memory, [6]);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(fault.address, memory.page(6));
    release(&uffd, &memory, asleep);
}

/// Registered memory with stamps from 1 on in its first pages and nothing in the others.
fn half_filled(pages: u64, filled: u64) -> (Uffd, Mapping) {
    let memory = Mapping::lone(pages);
    stamp_all(&memory, 0, filled, 1);
    let uffd = uffd_with(0);
    register(&uffd, &memory);
    (uffd, memory)
}

fn moving_down_by_one() {
    let (uffd, memory) = half_filled(6, 6);
    memory.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    // Each page leaves the place for the next.
    let moved = uffd.move_pages(memory.page(0), memory.page(1), 5 * PAGE, 0);
    assert_eq!(moved, Ok(5 * PAGE));
    expect_stamps(&memory, 0, 5, 2);
    assert!(entry(memory.page(5)).is_hole());
}

fn moving_up_by_one_carries_one_page() {
    let (uffd, memory) = half_filled(6, 1);
    // The page that has just arrived is the next source.
    let moved = uffd.move_pages(memory.page(1), memory.page(0), 5 * PAGE, 0);
    assert_eq!(moved, Ok(5 * PAGE));
    expect_stamp(&memory, 5 * PAGE, 1);
    let left = entries(memory.start(), 5);
    assert!(left.iter().all(|entry| entry.is_hole()));
}

fn moving_to_itself() {
    let (uffd, memory) = half_filled(2, 1);
    let there = uffd.move_pages(memory.page(0), memory.page(0), PAGE, HOLES);
    assert_eq!(there, failed(Errno::EEXIST));
    expect_stamp(&memory, 0, 1);
    let hole = uffd.move_pages(memory.page(1), memory.page(1), PAGE, 0);
    assert_eq!(hole, failed(Errno::ENOENT));
    let hole = uffd.move_pages(memory.page(1), memory.page(1), PAGE, HOLES);
    assert_eq!(hole, Ok(PAGE));
    assert!(entry(memory.page(1)).is_hole());
}

fn missing_source_ends_the_move() {
    let (uffd, src, dst) = scene(6);
    src.advise(3 * PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 6 * PAGE, 0);
    assert_eq!(moved, partly(3));
    expect_stamps(&dst, 0, 3, 1);
    let again = uffd.move_pages(dst.page(3), src.page(3), 3 * PAGE, 0);
    assert_eq!(again, failed(Errno::ENOENT));
    assert!(entries(dst.page(3), 3).iter().all(|entry| entry.is_hole()));
    expect_stamps(&src, 4 * PAGE, 2, 5);
}

fn missing_source_may_be_allowed() {
    let (uffd, src, dst) = scene(6);
    src.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    src.advise(3 * PAGE, 2 * PAGE, libc::MADV_DONTNEED).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 6 * PAGE, HOLES);
    assert_eq!(moved, Ok(6 * PAGE));
    for (page, entry) in (0..).zip(entries(dst.start(), 6)) {
        if [0, 3, 4].contains(&page) {
            assert!(entry.is_hole(), "page {page}");
        } else {
            expect_stamp(&dst, page * PAGE, page as u8 + 1);
        }
    }
}

fn source_without_tables_may_be_allowed() {
    const GIB: u64 = 1 << 30;
    let src = aligned(2 * GIB / HUGE_PAGE);
    let dst = Mapping::lone(3);
    let uffd = uffd_with(0);
    register(&uffd, &dst);
    let from = src.start().next_multiple_of(GIB) + GIB / 2;
    let refused = uffd.move_pages(dst.start(), from, 3 * PAGE, 0);
    assert_eq!(refused, failed(Errno::ENOENT));
    let moved = uffd.move_pages(dst.start(), from, 3 * PAGE, HOLES);
    assert_eq!(moved, Ok(3 * PAGE));
    assert!(entries(dst.start(), 3).iter().all(|entry| entry.is_hole()));
    assert!(entries(from, 3).iter().all(|entry| entry.is_hole()));
}

fn present_destination_ends_the_move() {
    let (uffd, src, dst) = scene(5);
    uffd.zeropage(dst.page(2), PAGE, 0).unwrap();
    for mode in [0, HOLES] {
        let refused = uffd.move_pages(dst.page(2), src.page(2), PAGE, mode);
        assert_eq!(refused, failed(Errno::EEXIST));
    }
    let moved = uffd.move_pages(dst.start(), src.start(), 5 * PAGE, 0);
    assert_eq!(moved, partly(2));
    expect_stamps(&dst, 0, 2, 1);
    expect_stamps(&src, 2 * PAGE, 3, 3);
    assert_eq!(dst.read(2 * PAGE), 0);
    // A page that is there is found before one that is not.
    src.advise(2 * PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    let both = uffd.move_pages(dst.page(2), src.page(2), PAGE, 0);
    assert_eq!(both, failed(Errno::EEXIST));
}

const MADV_GUARD_INSTALL: i32 = 102;

fn marks_are_not_holes() {
    let (uffd, src, dst) = scene(2);
    dst.advise(PAGE, PAGE, MADV_GUARD_INSTALL).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 2 * PAGE, 0);
    assert_eq!(moved, partly(1));
    let refused = uffd.move_pages(dst.page(1), src.page(1), PAGE, 0);
    assert_eq!(refused, failed(Errno::EEXIST));
    expect_stamp(&src, PAGE, 2);
}

fn source_with_a_mark_is_refused() {
    let (uffd, src, dst) = scene(2);
    src.advise(PAGE, PAGE, MADV_GUARD_INSTALL).unwrap();
    for mode in [0, HOLES] {
        let refused = uffd.move_pages(dst.page(1), src.page(1), PAGE, mode);
        assert_eq!(refused, failed(Errno::EFAULT));
    }
    let moved = uffd.move_pages(dst.start(), src.start(), 2 * PAGE, HOLES);
    assert_eq!(moved, partly(1));
}

fn zero_page_stays_one() {
    let (src, dst) = (Mapping::lone(3), Mapping::lone(3));
    let uffd = uffd_with(0);
    register(&uffd, &dst);
    assert_eq!((src.read(0), src.read(PAGE)), (0, 0));
    stamp(&src, 2 * PAGE, 3);
    let zero = entry(src.page(0)).frame();
    assert_eq!(entry(src.page(1)).frame(), zero);
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * PAGE, 0);
    assert_eq!(moved, Ok(3 * PAGE));
    assert_eq!(frames(dst.start(), 2), [zero, zero]);
    assert_eq!(smaps::bytes(dst.start(), "Anonymous"), PAGE);
    assert!(entry(src.page(0)).is_hole());
    // It is a page of one's own as soon as it is written to.
    dst.write(0, 1);
    assert_ne!(entry(dst.page(0)).frame(), zero);
    assert_eq!((dst.read(1), dst.read(PAGE)), (0, 0));
    expect_stamp(&dst, 2 * PAGE, 3);
}

fn sleepers_are_woken() {
    let (uffd, src, dst) = scene(2);
    let dst = Arc::new(dst);
    let asleep = sleepers(&uffd, &dst, [0, 1, 1]);
    let moved = uffd.move_pages(dst.start(), src.start(), 2 * PAGE, 0);
    assert_eq!(moved, Ok(2 * PAGE));
    let values: Vec<u8> = asleep.into_iter().map(|one| one.join()).collect();
    assert_eq!(values, [1, 2, 2]);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn sleepers_are_left_alone_if_asked() {
    let (uffd, src, dst) = scene(2);
    let dst = Arc::new(dst);
    let asleep = sleepers(&uffd, &dst, [0, 1]);
    let moved = uffd.move_pages(dst.start(), src.start(), 2 * PAGE, DONTWAKE);
    assert_eq!(moved, Ok(2 * PAGE));
    assert_eq!(env::fdinfo(&uffd).total, 2);
    uffd.wake(dst.start(), dst.len()).unwrap();
    let values: Vec<u8> = asleep.into_iter().map(|one| one.join()).collect();
    assert_eq!(values, [1, 2]);
}

fn only_sleepers_of_moved_pages_are_woken() {
    let (uffd, src, dst) = scene(3);
    let dst = Arc::new(dst);
    src.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    let mut asleep = sleepers(&uffd, &dst, [0, 1, 2]);
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * PAGE, 0);
    assert_eq!(moved, partly(1));
    assert_eq!(asleep.remove(0).join(), 1);
    assert_eq!(env::fdinfo(&uffd).total, 2);
    // A hole counts as moved, and its sleeper looks once more.
    let refused = uffd.move_pages(dst.page(1), src.page(1), PAGE, 0);
    assert_eq!(refused, failed(Errno::ENOENT));
    let moved = uffd.move_pages(dst.page(1), src.page(1), 2 * PAGE, HOLES);
    assert_eq!(moved, Ok(2 * PAGE));
    assert_eq!(asleep.pop().unwrap().join(), 3);
    env::wait_queued(&uffd, 1);
    release(&uffd, &dst, asleep);
}

fn faults_are_answered_by_moving() {
    const PAGES: u64 = 50;
    let (uffd, src, dst) = scene(PAGES);
    let (start, from) = (dst.start(), src.start());
    let handler = Handler::spawn(Arc::new(uffd), move |uffd, event| {
        let page = event.pagefault().unwrap().address;
        let moved = uffd.move_pages(page, page - start + from, PAGE, 0);
        assert_eq!(moved, Ok(PAGE));
    });
    for page in (0..PAGES).rev() {
        if page % 2 == 0 {
            dst.write(page * PAGE + 1, 9);
        }
        expect_stamp(&dst, page * PAGE, page as u8 + 1);
    }
    let seen = handler.stop();
    assert_eq!(seen.len(), PAGES as usize);
    let writes = |event: &Event| event.pagefault().unwrap().flags == UFFD_PAGEFAULT_FLAG_WRITE;
    let writes = seen.iter().filter(|event| writes(event)).count();
    assert_eq!(writes, PAGES as usize / 2);
}

fn moved_pages_count_as_written() {
    let (uffd, src, dst) = scene(3);
    if !entry(src.page(1)).soft_dirty() {
        skip("the kernel does not tell what was written to");
    }
    clear_soft_dirty();
    assert!(!entry(src.page(1)).soft_dirty());
    let moved = uffd.move_pages(dst.page(1), src.page(1), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert!(entry(dst.page(1)).soft_dirty());
    assert!(!entry(dst.page(0)).soft_dirty());
    // Clean again, a write is noticed as ever.
    clear_soft_dirty();
    assert!(!entry(dst.page(1)).soft_dirty());
    dst.write(PAGE, 1);
    assert!(entry(dst.page(1)).soft_dirty());
}

fn protection_is_left_behind() {
    let (uffd, src, dst) = scene(2);
    let mode = MISSING | UFFDIO_REGISTER_MODE_WP;
    uffd.register(src.start(), src.len(), mode).unwrap();
    let wp = UFFDIO_WRITEPROTECT_MODE_WP;
    uffd.writeprotect(src.start(), src.len(), wp).unwrap();
    assert!(entry(src.page(0)).protected());
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert!(!entry(dst.page(0)).protected());
    assert!(entry(src.page(0)).is_hole());
    stamp(&dst, 0, 7);
    expect_stamp(&dst, 0, 7);
    // Neither does the destination's mode protect what is moved there.
    let to = Mapping::lone(1);
    uffd.register(to.start(), to.len(), mode).unwrap();
    let moved = uffd.move_pages(to.start(), src.page(1), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert!(!entry(to.page(0)).protected());
    stamp(&to, 0, 8);
}

fn destination_is_protected_again() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let (src, dst) = (Mapping::lone(3), Mapping::lone(3));
    stamp_all(&src, 0, 2, 1);
    assert_eq!(src.read(2 * PAGE), 0, "the zero page");
    let mode = MISSING | UFFDIO_REGISTER_MODE_RWP;
    uffd.register(dst.start(), dst.len(), mode).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * PAGE, 0);
    assert_eq!(moved, Ok(3 * PAGE));
    let arrived = entries(dst.start(), 3);
    assert!(arrived.iter().all(|entry| entry.protected()));
    let dst = Arc::new(dst);
    let asleep = sleepers(&uffd, &dst, [0, 1, 2]);
    for page in 0..3 {
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        assert_eq!(fault.address, dst.page(page));
        assert_ne!(fault.flags & UFFD_PAGEFAULT_FLAG_RWP, 0);
    }
    uffd.rwprotect(dst.start(), dst.len(), 0).unwrap();
    let values: Vec<u8> = asleep.into_iter().map(|one| one.join()).collect();
    assert_eq!(values, [1, 2, 0]);
    expect_stamps(&dst, 0, 2, 1);
}

fn locked_pages_stay_locked() {
    let (uffd, src, dst) = scene(4);
    user::mlock(src.start(), src.len()).unwrap();
    // On fault: locking at once would need somebody to fill the memory.
    const MLOCK_ONFAULT: u64 = 1;
    user::mlock_with(dst.start(), dst.len(), MLOCK_ONFAULT).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 4 * PAGE, 0);
    assert_eq!(moved, Ok(4 * PAGE));
    assert_eq!(smaps::bytes(dst.start(), "Locked"), 4 * PAGE);
    assert_eq!(smaps::bytes(src.start(), "Locked"), 0);
    expect_stamps(&dst, 0, 4, 1);
}

fn pinned_page_is_busy() {
    let (uffd, src, dst) = scene(3);
    let ring = crate::harness::uring::Uring::new(2);
    ring.register_buffer(src.page(1), PAGE).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * PAGE, 0);
    assert_eq!(moved, partly(1));
    let refused = uffd.move_pages(dst.page(1), src.page(1), PAGE, HOLES);
    assert_eq!(refused, failed(Errno::EBUSY));
    assert!(entry(dst.page(1)).is_hole());
    expect_stamps(&src, PAGE, 2, 2);
    // Given back, it moves.
    ring.unregister_buffer().unwrap();
    let moved = uffd.move_pages(dst.page(1), src.page(1), 2 * PAGE, 0);
    assert_eq!(moved, Ok(2 * PAGE));
    expect_stamps(&dst, 0, 3, 1);
}

fn referenced_page_moves_along() {
    use std::os::fd::AsFd;
    let (uffd, src, dst) = scene(1);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let spliced = user::vmsplice(writer.as_fd(), src.start(), PAGE);
    assert_eq!(spliced, Ok(PAGE));
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    // The pipe has the page, wherever it is mapped.
    dst.write(1, 77);
    let mut bytes = [0; 2];
    assert_eq!(nix::unistd::read(&reader, &mut bytes), Ok(2));
    assert_eq!(bytes, [1, 77]);
}

fn there_and_back_many_times() {
    const PAGES: u64 = 16;
    let (uffd, src, dst) = scene(PAGES);
    register(&uffd, &src);
    let there_and_back = || {
        for (to, from) in [(&dst, &src), (&src, &dst)] {
            let moved = uffd.move_pages(to.start(), from.start(), PAGES * PAGE, 0);
            assert_eq!(moved, Ok(PAGES * PAGE));
        }
    };
    there_and_back();
    let ledger = Ledger::open(&["vm_area_struct", "anon_vma", "anon_vma_chain"]);
    let resident = pagemap::status("RssAnon");
    (0..200).for_each(|_| there_and_back());
    expect_stamps(&src, 0, PAGES, 1);
    assert_eq!(smaps::bytes(dst.start(), "Rss"), 0);
    let change = pagemap::status("RssAnon").abs_diff(resident);
    assert!(change < 100 * PAGE, "{change} bytes");
    ledger.settle();
}
