// SPDX-License-Identifier: GPL-2.0-only

//! Pages in swap, and on their way there and back.

use super::huge::{for_huge, large_scene, while_forked, LARGE, THP};
use super::*;
use crate::harness::pagemap::{self, entries, entry, frames, Entry};
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::task::{until, Faulter};
use crate::harness::{all_read, sleepers, smaps, tests, user};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

tests! {
    swapped_pages_move [Need::Root, SWAP, MOVE];
    pages_of_every_state_move_at_once [Need::Root, SWAP, MOVE];
    swapped_huge_page_moves [Need::Root, SWAP, THP, MOVE];
    swapped_destination_is_present [Need::Root, SWAP, MOVE];
    page_in_the_swap_cache_moves_along [Need::Root, SWAP, MOVE];
    large_page_in_the_swap_cache_is_busy [Need::Root, SWAP, LARGE, MOVE];
    shared_swapped_page_is_busy [Need::Root, SWAP, MOVE];
    moved_page_still_needs_writing [Need::Root, SWAP, MOVE];
    swapped_page_is_protected_again [Need::Root, SWAP, Need::Feature(UFFD_FEATURE_MOVE | UFFD_FEATURE_RWP)];
    moving_against_swapoff [Need::Root, SWAP, MOVE];
    cve_2025_38242_moving_against_swapping [Need::Root, SWAP, MOVE];
}

const SWAP: Need = Need::Swap;

fn swapped_pages_move() {
    const PAGES: u64 = 32;
    let _area = SwapArea::new();
    let (uffd, src, dst) = scene(PAGES);
    page_out(&src, 0, src.len());
    let (places, swapped) = (frames(src.start(), PAGES), pagemap::status("VmSwap"));
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(moved, Ok(src.len()));
    assert_eq!(frames(dst.start(), PAGES), places);
    let (left, there) = (entries(src.start(), PAGES), entries(dst.start(), PAGES));
    assert!(left.iter().all(|entry| entry.is_hole()));
    assert!(there.iter().all(|entry| entry.soft_dirty()));
    assert_eq!(pagemap::status("VmSwap"), swapped);
    assert_eq!(smaps::bytes(dst.start(), "Swap"), PAGES * PAGE);
    expect_stamps(&dst, 0, PAGES, 1);
    assert_eq!(smaps::bytes(dst.start(), "Rss"), PAGES * PAGE);
    // It is a page like any other, in both directions.
    page_out(&dst, 0, PAGE);
    src.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    register(&uffd, &src);
    let moved = uffd.move_pages(src.start(), dst.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    stamp(&src, 0, 99);
    expect_stamp(&src, 0, 99);
}

fn pages_of_every_state_move_at_once() {
    const PAGES: u64 = 40;
    let _area = SwapArea::new();
    let (uffd, src, dst) = scene(PAGES);
    for page in 0..PAGES {
        match page % 4 {
            0 => page_out(&src, page * PAGE, PAGE),
            1 => src.advise(page * PAGE, PAGE, libc::MADV_DONTNEED).unwrap(),
            2 => {
                src.advise(page * PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
                assert_eq!(src.read(page * PAGE), 0);
            }
            _ => {}
        }
    }
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), HOLES);
    assert_eq!(moved, Ok(src.len()));
    for page in 0..PAGES {
        let found = entry(dst.page(page));
        match page % 4 {
            0 => assert!(found.swapped()),
            1 => assert!(found.is_hole()),
            _ => assert!(found.present()),
        }
        match page % 4 {
            0 | 3 => expect_stamp(&dst, page * PAGE, page as u8 + 1),
            2 => assert_eq!(dst.read(page * PAGE), 0),
            _ => {}
        }
    }
    let left = entries(src.start(), PAGES);
    assert!(left.iter().all(|entry| entry.is_hole()));
}

fn swapped_huge_page_moves() {
    let _area = SwapArea::new();
    let (uffd, src, dst) = (uffd_with(0), for_huge(1), for_huge(1));
    register(&uffd, &dst);
    stamp_all(&src, 0, TABLE, 1);
    page_out(&src, 0, HUGE_PAGE);
    let moved = uffd.move_pages(dst.start(), src.start(), HUGE_PAGE, 0);
    assert_eq!(moved, Ok(HUGE_PAGE));
    expect_stamps(&dst, 0, TABLE, 1);
    let left = entries(src.start(), TABLE);
    assert!(left.iter().all(|entry| entry.is_hole()));
}

fn swapped_destination_is_present() {
    let _area = SwapArea::new();
    let (uffd, src, other) = scene(1);
    let dst = Mapping::lone(1);
    stamp(&dst, 0, 50);
    register(&uffd, &dst);
    page_out(&dst, 0, PAGE);
    let refused = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(refused, failed(Errno::EEXIST));
    assert!(entry(dst.page(0)).swapped());
    let moved = uffd.move_pages(other.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    expect_stamp(&dst, 0, 50);
}

fn page_in_the_swap_cache_moves_along() {
    let _area = SwapArea::new();
    let (uffd, src, dst) = scene(1);
    let frame = entry(src.page(0)).frame();
    // A page that somebody else has goes to swap, but stays in memory, too.
    let (reader, writer) = nix::unistd::pipe().unwrap();
    assert_eq!(user::vmsplice(writer.as_fd(), src.start(), PAGE), Ok(PAGE));
    page_out(&src, 0, PAGE);
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert!(entry(src.page(0)).is_hole());
    assert!(entry(dst.page(0)).swapped());
    expect_stamp(&dst, 0, 1);
    assert_eq!(entry(dst.page(0)).frame(), frame);
    // Where it belongs is known to the kernel: it can be found from there, and go once more.
    drop((reader, writer));
    stamp(&dst, 0, 2);
    page_out(&dst, 0, PAGE);
    expect_stamp(&dst, 0, 2);
}

fn large_page_in_the_swap_cache_is_busy() {
    let area = SwapArea::new();
    let (uffd, src, dst) = large_scene();
    // What cannot be written stays where it is, as one piece.
    area.refuse_writes();
    let mut number = 1u64;
    for at in 0..src.len() {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        src.write(at, (number >> 56) as u8);
    }
    let before = src.read_bytes(0, src.len());
    page_out(&src, 0, src.len());
    for page in [0, 5] {
        let refused = uffd.move_pages(dst.page(page), src.page(page), PAGE, 0);
        assert_eq!(refused, failed(Errno::EBUSY));
    }
    assert_eq!(src.read_bytes(0, src.len()), before);
    // Mapped again, it can be split.
    src.write(0, before[0]);
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert_eq!(dst.read_bytes(0, PAGE), before[..PAGE as usize]);
}

fn shared_swapped_page_is_busy() {
    let _area = SwapArea::new();
    let (uffd, src, dst) = scene(2);
    page_out(&src, 0, src.len());
    while_forked(|| {
        let refused = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
        assert_eq!(refused, failed(Errno::EBUSY));
    });
    // Nobody looks whether the others have gone, until it is written to.
    let refused = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(refused, failed(Errno::EBUSY));
    stamp_all(&src, 0, 2, 1);
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(moved, Ok(src.len()));
    expect_stamps(&dst, 0, 2, 1);
}

fn moved_page_still_needs_writing() {
    let _area = SwapArea::new();
    let (uffd, src, dst) = scene(2);
    page_out(&src, 0, src.len());
    // Page 0 is as it is in swap, page 1 is not.
    expect_stamp(&src, 0, 1);
    expect_stamp(&src, PAGE, 2);
    stamp(&src, PAGE, 3);
    let moved = uffd.move_pages(dst.start(), src.start(), src.len(), 0);
    assert_eq!(moved, Ok(src.len()));
    page_out(&dst, 0, dst.len());
    expect_stamp(&dst, 0, 1);
    expect_stamp(&dst, PAGE, 3);
}

fn swapped_page_is_protected_again() {
    let _area = SwapArea::new();
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let (src, dst) = (Mapping::lone(1), Mapping::lone(1));
    stamp(&src, 0, 1);
    let mode = MISSING | UFFDIO_REGISTER_MODE_RWP;
    uffd.register(dst.start(), dst.len(), mode).unwrap();
    page_out(&src, 0, PAGE);
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    assert!(entry(dst.page(0)).protected());
    let dst = Arc::new(dst);
    let asleep = sleepers(&uffd, &dst, [0]);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_ne!(fault.flags & UFFD_PAGEFAULT_FLAG_RWP, 0);
    uffd.rwprotect(dst.start(), PAGE, 0).unwrap();
    all_read(asleep, 1);
}

fn moving_against_swapoff() {
    const PAGES: u64 = 64;
    for round in 0..8 {
        let area = SwapArea::new();
        let (uffd, src, dst) = scene(PAGES);
        page_out(&src, 0, src.len());
        assert_eq!(pagemap::status("VmSwap"), PAGES * PAGE);
        let barrier = Arc::new(Barrier::new(2));
        let go = Arc::clone(&barrier);
        let thread = Faulter::spawn(move || {
            go.wait();
            // It looks for what is in use until nothing is, wherever that went meanwhile.
            area.off();
        });
        barrier.wait();
        for page in 0..PAGES {
            // From both ends, as whoever looks may come from one.
            let page = if round % 2 == 0 {
                page
            } else {
                PAGES - 1 - page
            };
            until(|| {
                match uffd.move_pages(dst.page(page), src.page(page), PAGE, 0) {
                    Ok(_) => return true,
                    Err(partial) => assert_eq!(partial.errno, Errno::EAGAIN, "page {page}"),
                }
                false
            });
        }
        thread.join();
        assert_eq!(pagemap::status("VmSwap"), 0);
        assert!(entries(dst.start(), PAGES).into_iter().all(Entry::present));
        assert!(entries(src.start(), PAGES).into_iter().all(Entry::is_hole));
        expect_stamps(&dst, 0, PAGES, 1);
    }
}

/// A thread that does this to both memories until told to stop.
fn meanwhile(stop: &Arc<AtomicBool>, both: [&Arc<Mapping>; 2], advice: i32) -> Faulter<()> {
    let (stop, both) = (Arc::clone(stop), both.map(Arc::clone));
    Faulter::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            for memory in &both {
                memory.advise(0, memory.len(), advice).unwrap();
            }
            std::thread::yield_now();
        }
    })
}

fn cve_2025_38242_moving_against_swapping() {
    const PAGES: u64 = 8;
    const ROUNDS: u32 = 150;
    // With many processors on few, each round may take a while.
    const ENOUGH: Duration = Duration::from_secs(5);
    let area = SwapArea::new();
    let (uffd, src, dst) = scene(PAGES);
    register(&uffd, &src);
    let (src, dst) = (Arc::new(src), Arc::new(dst));
    let before = pagemap::status("RssAnon") + pagemap::status("VmSwap");
    let stop = Arc::new(AtomicBool::new(false));
    // Pages go to swap, and come back to memory without being mapped.
    let others = [libc::MADV_PAGEOUT, libc::MADV_WILLNEED, libc::MADV_PAGEOUT]
        .map(|advice| meanwhile(&stop, [&src, &dst], advice));
    let (mut from, mut to) = (&src, &dst);
    let (mut busy, mut rounds, start) = (0, 0, Instant::now());
    let value = |page: u64, round: u32| (page as u8).wrapping_mul(31) ^ round as u8;
    while rounds < ROUNDS && start.elapsed() < ENOUGH {
        rounds += 1;
        let value = |page| value(page, rounds);
        for page in 0..PAGES {
            stamp(from, page * PAGE, value(page));
        }
        for page in 0..PAGES {
            loop {
                match uffd.move_pages(to.page(page), from.page(page), PAGE, 0) {
                    Ok(moved) => break assert_eq!(moved, PAGE),
                    // Mapped while it was being written to swap, it is not known to be ours.
                    Err(partial) => {
                        assert_eq!(partial.errno, Errno::EBUSY);
                        busy += 1;
                        stamp(from, page * PAGE, value(page));
                    }
                }
            }
            expect_stamp(to, page * PAGE, value(page));
        }
        (from, to) = (to, from);
    }
    stop.store(true, Ordering::SeqCst);
    others.into_iter().for_each(Faulter::join);
    println!("{rounds} rounds, busy {busy} times");
    let left = entries(to.start(), PAGES);
    assert!(left.iter().all(|entry| entry.is_hole()));
    let after = pagemap::status("RssAnon") + pagemap::status("VmSwap");
    assert!(after.abs_diff(before) < 200 * PAGE, "{before}, {after}");
    // All of it can come back from swap.
    drop(area);
    for page in 0..PAGES {
        expect_stamp(from, page * PAGE, value(page, rounds));
    }
}
