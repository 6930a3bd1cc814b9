// SPDX-License-Identifier: GPL-2.0-only

//! Moves: the verdict on all inputs, the reach of a step and the progress against naive models.

use proptest::prelude::*;
use uffd_pure::errno::Errno;
use uffd_pure::fill::Stop;
use uffd_pure::moving::{may_move, Move, Part, Step, VmaFacts};
use uffd_pure::range::Range;
use uffd_pure::register::Owner;

use crate::{all_bools, check};

const PAGE: usize = 0x1000;
const TABLE: usize = 512 * PAGE;

#[test]
fn verdicts() {
    let range = Range::new(0x4000, 0x8000).unwrap();
    for [short, writable, locked, shared, unmovable, anonymous] in all_bools() {
        let one = VmaFacts {
            end: if short { 0x7000 } else { 0x8000 },
            access: 3,
            prot: 1,
            writable,
            locked,
            shared,
            unmovable,
            anonymous,
        };
        let good = !short && writable && !shared && !unmovable && anonymous;
        for [other_locked, other_access, other_prot, swapped] in all_bools() {
            let other = VmaFacts {
                end: 0x9000,
                access: if other_access { 1 } else { 3 },
                prot: u64::from(!other_prot),
                writable: true,
                locked: other_locked,
                shared: false,
                unmovable: false,
                anonymous: true,
            };
            let alike = locked == other_locked && !other_access && !other_prot;
            let (src, dst) = if swapped { (other, one) } else { (one, other) };
            for owner in [Owner::Nobody, Owner::Asker, Owner::Other] {
                let allowed = good && alike && owner == Owner::Asker;
                let want = if allowed { Ok(()) } else { Err(Errno::EINVAL) };
                assert_eq!(may_move(&src, &range, &dst, &range, owner), want);
            }
        }
    }
}

#[test]
fn reach() {
    let input = (0_usize..2048, 0_usize..2048, 1_usize..2048);
    check(input, |(src, dst, pages)| {
        let part = Part {
            src: src * PAGE,
            dst: dst * PAGE,
            len: pages * PAGE,
        };
        // Page by page until one of the tables, or the move, ends.
        let naive = (1..pages)
            .find(|page| (src + page) % 512 == 0 || (dst + page) % 512 == 0)
            .unwrap_or(pages);
        prop_assert_eq!(part.within_tables(TABLE), naive * PAGE);
        prop_assert_eq!(part.is_whole(TABLE), naive == 512);
        Ok(())
    });
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Moved(usize),
    Hole,
    Retry,
    Stop,
}

#[test]
fn progress() {
    let event = prop_oneof![
        (1_usize..4).prop_map(Event::Moved),
        Just(Event::Hole),
        Just(Event::Retry),
        Just(Event::Stop),
    ];
    let events = proptest::collection::vec((event, prop::bool::weighted(0.1)), 0..12);
    check((1_usize..9, events), |(pages, events)| {
        let dst = Range::new(64 * PAGE, (64 + pages) * PAGE).unwrap();
        let src = Range::new(16 * PAGE, (16 + pages) * PAGE).unwrap();
        let mut progress = Move::new(&src, dst);
        let (mut done, mut stop) = (0, None);
        for (event, killed) in events {
            let Some(part) = progress.rest() else { break };
            prop_assert_eq!(part.src, (16 + done) * PAGE);
            prop_assert_eq!(part.dst, (64 + done) * PAGE);
            prop_assert_eq!(part.len, (pages - done) * PAGE);
            let (step, count) = match event {
                Event::Moved(count) => {
                    let count = count.min(pages - done);
                    (Step::Moved(count * PAGE), count)
                }
                Event::Hole => (Step::Hole(PAGE), 1),
                Event::Retry => (Step::Retry, 0),
                Event::Stop => (Step::Stop(Errno::EBUSY), 0),
            };
            done += count;
            let want = match event {
                Event::Stop => Err(Errno::EBUSY),
                _ if killed => Err(Errno::EINTR),
                _ => Ok(()),
            };
            prop_assert_eq!(progress.after(step, killed), want);
            stop = want.err();
            if stop.is_some() {
                break;
            }
        }
        prop_assert_eq!(progress.rest().is_none(), done == pages);
        let field = match (done, stop) {
            (0, None) => i64::from(Errno::EAGAIN.negative()),
            (0, Some(errno)) => i64::from(errno.negative()),
            _ => (done * PAGE) as i64,
        };
        prop_assert_eq!(progress.finish(stop.map(Stop::Error)).field, field);
        Ok(())
    });
}
