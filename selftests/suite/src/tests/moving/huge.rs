// SPDX-License-Identifier: GPL-2.0-only

//! Huge pages: moved as they are where that is possible, else split.

use super::*;
use crate::harness::pagemap::{entries, entry, frames};
use crate::harness::process::Child;
use crate::harness::setting::Setting;
use crate::harness::uring::Uring;
use crate::harness::{all_read, sleepers, smaps, tests, user};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

tests! {
    huge_page_stays_huge [THP, Need::Root, MOVE];
    huge_pages_among_small_ones [THP, MOVE];
    part_of_a_huge_page [THP, MOVE];
    huge_page_to_a_place_between [THP, MOVE];
    huge_page_to_where_there_is_a_table [THP, MOVE];
    small_pages_fill_the_place_of_a_huge_one [THP, MOVE];
    huge_destination_is_present [THP, MOVE];
    huge_zero_page_stays_one [THP, Need::Root, MOVE];
    part_of_the_huge_zero_page [THP, MOVE];
    missing_huge_page_may_be_allowed [THP, MOVE];
    shared_huge_page_is_busy [THP, MOVE];
    pinned_huge_page_is_busy [THP, MOVE];
    referenced_huge_page_moves_whole [THP, MOVE];
    fix_7_3_4_split_of_a_referenced_huge_page [THP, MOVE];
    fix_7_3_4_split_of_a_referenced_large_page [LARGE, Need::Root, MOVE];
    huge_page_is_protected_again [THP, Need::Feature(UFFD_FEATURE_MOVE | UFFD_FEATURE_RWP)];
    large_page_is_split [LARGE, Need::Root, MOVE];
    part_of_large_pages [LARGE, Need::Root, MOVE];
    shared_large_page_is_busy [LARGE, Need::Root, MOVE];
}

pub(in crate::tests) const THP: Need = Need::Path("/sys/kernel/mm/transparent_hugepage/enabled");
pub(super) const LARGE: Need = Need::Path(LARGE_SETTING);
const LARGE_SETTING: &str = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
/// Pages of a large page that is not huge.
const LARGE_PAGES: u64 = 16;
/// Far longer than any request here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Memory for huge pages, with nothing in it.
pub(super) fn for_huge(huge_pages: u64) -> Mapping {
    let memory = aligned(huge_pages);
    memory
        .advise(0, memory.len(), libc::MADV_HUGEPAGE)
        .expect("MADV_HUGEPAGE");
    memory
}

/// Bytes in huge pages.
fn huge_bytes(memory: &Mapping) -> u64 {
    smaps::bytes(memory.start(), "AnonHugePages")
}

/// Huge pages with stamps from 1 on in each of their pages.
fn huge(huge_pages: u64) -> Mapping {
    let memory = for_huge(huge_pages);
    stamp_all(&memory, 0, huge_pages * TABLE, 1);
    assert_eq!(huge_bytes(&memory), memory.len(), "no huge page to be had");
    memory
}

/// A descriptor, a huge page, and a registered place for one.
fn huge_scene() -> (Uffd, Mapping, Mapping) {
    let (uffd, src, dst) = (uffd_with(0), huge(1), for_huge(1));
    register(&uffd, &dst);
    (uffd, src, dst)
}

#[track_caller]
fn expect_holes(memory: &Mapping, page: u64, pages: u64) {
    let found = entries(memory.page(page), pages);
    assert!(found.iter().all(|entry| entry.is_hole()));
}

fn huge_page_stays_huge() {
    let (uffd, src, dst) = huge_scene();
    let before = frames(src.start(), TABLE);
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    assert_eq!((huge_bytes(&src), huge_bytes(&dst)), (0, HUGE_PAGE));
    assert_eq!(frames(dst.start(), TABLE), before);
    expect_stamps(&dst, 0, TABLE, 1);
    expect_holes(&src, 0, TABLE);
    // The table that was kept for it has moved along: it can be split.
    dst.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    expect_stamp(&dst, 0, 1);
    // And the old place can have another huge page.
    stamp(&src, 0, 1);
    assert_eq!(huge_bytes(&src), HUGE_PAGE);
}

fn huge_pages_among_small_ones() {
    let (uffd, src, dst) = (uffd_with(0), for_huge(4), for_huge(4));
    // Some pages before two huge ones, and some behind. With one there from the start, the
    // mapping becomes one again.
    stamp(&src, HUGE_PAGE, 0);
    src.advise(0, HUGE_PAGE, libc::MADV_NOHUGEPAGE).unwrap();
    src.advise(3 * HUGE_PAGE, HUGE_PAGE, libc::MADV_NOHUGEPAGE)
        .unwrap();
    stamp_all(&src, HUGE_PAGE - 5 * PAGE, 2 * TABLE + 12, 1);
    src.advise(0, src.len(), libc::MADV_HUGEPAGE).unwrap();
    assert_eq!(huge_bytes(&src), 2 * HUGE_PAGE);
    register(&uffd, &dst);
    let (at, len) = (HUGE_PAGE - 5 * PAGE, 2 * HUGE_PAGE + 12 * PAGE);
    let moved = uffd.move_pages(dst.start() + at, src.start() + at, len, 0);
    assert_eq!(moved, Ok(len));
    expect_stamps(&dst, at, 2 * TABLE + 12, 1);
    assert_eq!(huge_bytes(&dst), 2 * HUGE_PAGE);
    expect_holes(&src, 0, 4 * TABLE);
}

fn part_of_a_huge_page() {
    let (uffd, src, dst) = huge_scene();
    let moved = uffd.move_pages(dst.page(7), src.page(7), 3 * PAGE, 0);
    assert_eq!(moved, Ok(3 * PAGE));
    expect_stamps(&dst, 7 * PAGE, 3, 8);
    expect_stamps(&src, 0, 7, 1);
    expect_stamps(&src, 10 * PAGE, TABLE - 10, 11);
    expect_holes(&src, 7, 3);
    expect_holes(&dst, 10, TABLE - 10);
    // The rest, to the same place.
    let moved = uffd.move_pages(dst.page(0), src.page(0), 7 * PAGE, 0);
    assert_eq!(moved, Ok(7 * PAGE));
    let moved = uffd.move_pages(dst.page(10), src.page(10), HUGE_PAGE - 10 * PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE - 10 * PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
}

fn huge_page_to_a_place_between() {
    let (uffd, src, dst) = (uffd_with(0), huge(1), for_huge(2));
    register(&uffd, &dst);
    let moved = uffd.move_pages(dst.page(3), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    expect_stamps(&dst, 3 * PAGE, TABLE, 1);
    expect_holes(&src, 0, TABLE);
    expect_holes(&dst, 0, 3);
}

fn huge_page_to_where_there_is_a_table() {
    let (uffd, src, dst) = huge_scene();
    uffd.zeropage(dst.page(9), PAGE, 0).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, partly(9));
    dst.advise(9 * PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    let rest = HUGE_PAGE - 9 * PAGE;
    let moved = uffd.move_pages(dst.page(9), src.page(9), rest, 0);
    assert_eq!(moved, Ok(rest));
    expect_stamps(&dst, 0, TABLE, 1);
    expect_holes(&src, 0, TABLE);
}

fn small_pages_fill_the_place_of_a_huge_one() {
    let (src, dst, uffd) = (aligned(1), for_huge(1), uffd_with(0));
    stamp_all(&src, 0, TABLE, 1);
    register(&uffd, &dst);
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
    assert_eq!(huge_bytes(&dst), 0);
}

fn huge_destination_is_present() {
    let (uffd, src, dst) = (uffd_with(0), huge(1), huge(1));
    register(&uffd, &dst);
    for mode in [0, HOLES] {
        for (page, pages) in [(0, TABLE), (5, 1)] {
            let refused = uffd.move_pages(dst.page(page), src.page(page), pages * PAGE, mode);
            assert_eq!(refused, failed(Errno::EEXIST));
        }
    }
    // Neither of them was touched.
    assert_eq!((huge_bytes(&src), huge_bytes(&dst)), (HUGE_PAGE, HUGE_PAGE));
}

fn huge_zero_page_stays_one() {
    let (uffd, src, dst) = (uffd_with(0), for_huge(1), for_huge(1));
    register(&uffd, &dst);
    assert_eq!(src.read(0), 0);
    let before = frames(src.start(), TABLE);
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    assert_eq!(frames(dst.start(), TABLE), before);
    assert_eq!(smaps::bytes(dst.start(), "Anonymous"), 0);
    expect_holes(&src, 0, TABLE);
    stamp(&dst, 8 * PAGE, 1);
    assert_eq!((dst.read(7 * PAGE), dst.read(9 * PAGE)), (0, 0));
    expect_stamp(&dst, 8 * PAGE, 1);
}

fn part_of_the_huge_zero_page() {
    let (uffd, src, dst) = (uffd_with(0), for_huge(1), for_huge(1));
    register(&uffd, &dst);
    assert_eq!(src.read(0), 0);
    let moved = uffd.move_pages(dst.page(4), src.page(4), 3 * PAGE, 0);
    assert_eq!(moved, Ok(3 * PAGE));
    expect_holes(&src, 4, 3);
    for page in 4..7 {
        assert_eq!(dst.read(page * PAGE), 0);
        stamp(&dst, page * PAGE, 1);
    }
    assert!(entry(src.page(3)).present() && entry(src.page(7)).present());
    assert_eq!((src.read(3 * PAGE), src.read(7 * PAGE)), (0, 0));
}

fn missing_huge_page_may_be_allowed() {
    let (uffd, src, dst) = (uffd_with(0), for_huge(3), for_huge(3));
    stamp_all(&src, 0, TABLE, 1);
    stamp_all(&src, 2 * HUGE_PAGE, TABLE, 1);
    register(&uffd, &dst);
    let refused = uffd.move_pages(dst.page(TABLE), src.page(TABLE), HUGE_PAGE, 0);
    assert_eq!(refused, failed(Errno::ENOENT));
    let moved = uffd.move_pages(dst.start(), src.start(), 3 * HUGE_PAGE, HOLES);
    assert_eq!(moved, Ok(3 * HUGE_PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
    expect_holes(&dst, TABLE, TABLE);
    expect_stamps(&dst, 2 * HUGE_PAGE, TABLE, 1);
    assert_eq!(huge_bytes(&dst), 2 * HUGE_PAGE);
}

/// Runs a function while a child has all memory of this process, too.
pub(super) fn while_forked(body: impl FnOnce()) {
    let (gate, keeper) = nix::unistd::pipe().unwrap();
    let keeper_number = std::os::fd::AsRawFd::as_raw_fd(&keeper);
    let child = Child::spawn(|| {
        nix::unistd::close(keeper_number).unwrap();
        nix::unistd::read(&gate, &mut [0]).unwrap();
    });
    body();
    drop(keeper);
    child.expect_success();
}

fn shared_huge_page_is_busy() {
    let (uffd, src, dst) = huge_scene();
    while_forked(|| {
        for (page, pages) in [(0, TABLE), (5, 1)] {
            let refused = uffd.move_pages(dst.page(page), src.page(page), pages * PAGE, 0);
            assert_eq!(refused, failed(Errno::EBUSY));
        }
        assert_eq!(huge_bytes(&src), HUGE_PAGE);
    });
    // Alone again, and written to: it is known to be ours.
    stamp(&src, 0, 1);
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
}

fn pinned_huge_page_is_busy() {
    let (uffd, src, dst) = huge_scene();
    let ring = Uring::new(2);
    ring.register_buffer(src.page(5), PAGE).unwrap();
    for (page, pages) in [(0, TABLE), (5, 1), (6, 1)] {
        let refused = uffd.move_pages(dst.page(page), src.page(page), pages * PAGE, 0);
        assert_eq!(refused, failed(Errno::EBUSY));
    }
    expect_stamps(&src, 0, TABLE, 1);
    ring.unregister_buffer().unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
}

/// A pipe that has a page: a reference to it, but no pin.
struct Reference {
    _reader: OwnedFd,
    _writer: OwnedFd,
}

impl Reference {
    fn to(address: u64) -> Reference {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        assert_eq!(user::vmsplice(writer.as_fd(), address, 1), Ok(1));
        Reference {
            _reader: reader,
            _writer: writer,
        }
    }
}

fn referenced_huge_page_moves_whole() {
    let (uffd, src, dst) = huge_scene();
    let _pipe = Reference::to(src.page(100));
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    assert_eq!(huge_bytes(&dst), HUGE_PAGE);
    expect_stamps(&dst, 0, TABLE, 1);
}

/// Moves a page of a large one that cannot be split, because somebody else has a reference to it.
/// That may be so for ever, so the request must end.
fn move_referenced(uffd: &Uffd, src: &Mapping, dst: &Mapping) {
    let pages = src.len().min(HUGE_PAGE) / PAGE;
    let pipe = Reference::to(src.page(2));
    for page in [2, 3, pages - 1] {
        let start = Instant::now();
        let refused = uffd.move_pages(dst.page(page), src.page(page), PAGE, 0);
        assert_eq!(refused, failed(Errno::EBUSY));
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        assert!(entry(dst.page(page)).is_hole());
    }
    expect_stamps(src, 0, pages, 1);
    drop(pipe);
    let moved = uffd.move_pages(dst.start(), src.start(), pages * PAGE, 0);
    assert_eq!(moved, Ok(pages * PAGE));
    expect_stamps(dst, 0, pages, 1);
}

fn fix_7_3_4_split_of_a_referenced_huge_page() {
    let (uffd, src, dst) = huge_scene();
    move_referenced(&uffd, &src, &dst);
}

/// Two large pages with stamps from 1 on, and a registered place for them. The setting must live
/// until they are there.
pub(super) fn large_scene() -> (Uffd, Mapping, Mapping) {
    let _large = Setting::set(LARGE_SETTING, "madvise");
    let len = 2 * LARGE_PAGES * PAGE;
    let [src, dst] = [(), ()].map(|()| {
        // Too small for a huge page.
        let memory = for_huge(1);
        memory.unmap(len, HUGE_PAGE - len);
        memory.cut(0, len)
    });
    for page in [0, LARGE_PAGES] {
        stamp(&src, page * PAGE, 1);
        let there = entries(src.page(page), LARGE_PAGES);
        let count = there.iter().filter(|entry| entry.present()).count();
        assert_eq!(count, LARGE_PAGES as usize, "no large page to be had");
    }
    stamp_all(&src, 0, 2 * LARGE_PAGES, 1);
    let uffd = uffd_with(0);
    register(&uffd, &dst);
    (uffd, src, dst)
}

fn fix_7_3_4_split_of_a_referenced_large_page() {
    let (uffd, src, dst) = large_scene();
    let part = Mapping::cut(src, 0, LARGE_PAGES * PAGE);
    move_referenced(&uffd, &part, &dst);
}

fn huge_page_is_protected_again() {
    let (uffd, src, dst) = (uffd_with(UFFD_FEATURE_RWP), huge(1), for_huge(1));
    let mode = MISSING | UFFDIO_REGISTER_MODE_RWP;
    uffd.register(dst.start(), HUGE_PAGE, mode).unwrap();
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    let arrived = entries(dst.start(), TABLE);
    assert!(arrived.iter().all(|entry| entry.protected()));
    assert_eq!(huge_bytes(&dst), HUGE_PAGE);
    let dst = Arc::new(dst);
    let asleep = sleepers(&uffd, &dst, [300]);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_ne!(fault.flags & UFFD_PAGEFAULT_FLAG_RWP, 0);
    uffd.rwprotect(dst.start(), HUGE_PAGE, 0).unwrap();
    all_read(asleep, (300 + 1) as u8);
    expect_stamps(&dst, 0, TABLE, 1);
}

fn large_page_is_split() {
    let (uffd, src, dst) = large_scene();
    let before = frames(src.start(), 2 * LARGE_PAGES);
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(moved, Ok(src.len()));
    assert_eq!(frames(dst.start(), 2 * LARGE_PAGES), before);
    expect_stamps(&dst, 0, 2 * LARGE_PAGES, 1);
    expect_holes(&src, 0, 2 * LARGE_PAGES);
}

fn part_of_large_pages() {
    let (uffd, src, dst) = large_scene();
    // The end of one and the start of the next, to where they lie otherwise.
    let moved = uffd.move_pages(dst.page(1), src.page(LARGE_PAGES - 3), 6 * PAGE, 0);
    assert_eq!(moved, Ok(6 * PAGE));
    let first = LARGE_PAGES as u8 - 2;
    expect_stamps(&dst, PAGE, 6, first);
    expect_holes(&src, LARGE_PAGES - 3, 6);
    expect_stamps(&src, 0, LARGE_PAGES - 3, 1);
    let behind = LARGE_PAGES + 3;
    expect_stamps(&src, behind * PAGE, LARGE_PAGES - 3, behind as u8 + 1);
}

fn shared_large_page_is_busy() {
    let (uffd, src, dst) = large_scene();
    while_forked(|| {
        let refused = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
        assert_eq!(refused, failed(Errno::EBUSY));
    });
    stamp_all(&src, 0, 2 * LARGE_PAGES, 1);
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(moved, Ok(src.len()));
    expect_stamps(&dst, 0, 2 * LARGE_PAGES, 1);
}
