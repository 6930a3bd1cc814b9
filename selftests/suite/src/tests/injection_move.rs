// SPDX-License-Identifier: GPL-2.0-only

//! Moves in which an allocation of the kernel fails; see `injection`.

use super::injection::{untouched, MAPPINGS};
use super::moving::{expect_stamp, expect_stamps, stamp_all, HOLES, MISSING, MOVE};
use crate::harness::inject::sweep;
use crate::harness::mem::{Mapping, HUGE_PAGE, PAGE};
use crate::harness::pagemap::entry;
use crate::harness::slab::Ledger;
use crate::harness::{tests, uffd_with, Need};
use uffd::{Errno, Partial};

tests! {
    move_fails_without_a_trace [MOVE];
    move_of_holes_fails_without_a_trace [MOVE];
    move_that_splits_fails_without_a_trace [Need::Path(THP), MOVE];
}

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The bytes that a move has done; a failure was for lack of memory.
#[track_caller]
fn done(answer: Result<u64, Partial>, hit: bool) -> u64 {
    match answer {
        Ok(done) => done,
        Err(partial) => {
            assert!(hit, "{partial} without a cause");
            match partial.errno {
                Errno::ENOMEM => 0,
                Errno::EAGAIN => partial.result as u64,
                errno => panic!("{errno}"),
            }
        }
    }
}

/// Over a border of page tables, where there are none.
fn move_fails_without_a_trace() {
    const PAGES: u64 = 6;
    let ledger = Ledger::open(MAPPINGS);
    let (mut nothing, mut partly) = (0, 0);
    sweep(|shot| {
        let uffd = uffd_with(0);
        let (dst, offset) = untouched(&uffd);
        // It lies at a border.
        let to = offset - PAGES / 2 * PAGE;
        let src = Mapping::anon(PAGES);
        stamp_all(&src, 0, PAGES, 1);
        let len = PAGES * PAGE;
        let answer = shot.fire(|| uffd.move_pages(dst.start() + to, src.start(), len, 0));
        let bytes = done(answer, shot.hit());
        let pages = bytes / PAGE;
        nothing += u32::from(pages == 0);
        partly += u32::from((1..PAGES).contains(&pages));
        expect_stamps(&dst, to, pages, 1);
        expect_stamps(&src, bytes, PAGES - pages, 1 + pages as u8);
        if bytes < len {
            let (to, from) = (dst.start() + to + bytes, src.start() + bytes);
            let rest = len - bytes;
            assert_eq!(uffd.move_pages(to, from, rest, 0), Ok(rest));
        }
        expect_stamps(&dst, to, PAGES, 1);
    });
    assert!(nothing > 0 && partly > 0, "{nothing} and {partly} failures");
    ledger.settle();
}

/// Where there are tables on neither side.
fn move_of_holes_fails_without_a_trace() {
    let ledger = Ledger::open(MAPPINGS);
    let mut nothing = 0;
    sweep(|shot| {
        let uffd = uffd_with(0);
        let ((dst, to), (src, from)) = (untouched(&uffd), untouched(&uffd));
        let call = || uffd.move_pages(dst.start() + to, src.start() + from, 3 * PAGE, HOLES);
        let answer = shot.fire(call);
        if done(answer, shot.hit()) == 0 {
            nothing += 1;
            assert_eq!(call(), Ok(3 * PAGE));
        }
        assert!(entry(dst.start() + to).is_hole() && entry(src.start() + from).is_hole());
    });
    assert!(nothing > 0, "no failure was seen");
    ledger.settle();
}

fn move_that_splits_fails_without_a_trace() {
    const PAGES: u64 = HUGE_PAGE / PAGE;
    let ledger = Ledger::open(MAPPINGS);
    sweep(|shot| {
        let (uffd, dst, src) = (uffd_with(0), Mapping::anon(4), Mapping::anon(2 * PAGES));
        src.advise(0, src.len(), libc::MADV_HUGEPAGE).unwrap();
        let at = src.start().next_multiple_of(HUGE_PAGE) - src.start();
        stamp_all(&src, at, PAGES, 1);
        uffd.register(dst.start(), dst.len(), MISSING).unwrap();
        let from = src.start() + at + 9 * PAGE;
        let call = || uffd.move_pages(dst.start(), from, 4 * PAGE, 0);
        let bytes = match shot.fire(call) {
            // What cannot be split for lack of memory may as well be in use.
            Err(partial) if partial.errno == Errno::EBUSY && shot.hit() => 0,
            answer => done(answer, shot.hit()),
        };
        if bytes == 0 {
            expect_stamps(&src, at, PAGES, 1);
            assert_eq!(call(), Ok(4 * PAGE));
        }
        let moved = if bytes == 0 { 4 } else { bytes / PAGE };
        expect_stamps(&dst, 0, moved, 10);
        expect_stamps(&src, at, 9, 1);
        expect_stamp(&src, at + 13 * PAGE, 14);
    });
    ledger.settle();
}
