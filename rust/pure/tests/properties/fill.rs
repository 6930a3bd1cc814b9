// SPDX-License-Identifier: GPL-2.0-only

//! Fills: modes on all inputs, reports against a count of pages.

use proptest::prelude::*;
use uffd_pure::errno::Errno;
use uffd_pure::fill::{Fill, FillKind, FillMode, Report, Stop};
use uffd_pure::observe::Again;
use uffd_pure::range::Range;

use crate::{all_bools, check};

const PAGE: usize = 0x1000;

#[test]
fn modes() {
    for (kind, wp, holes) in [
        (FillKind::Copy, true, false),
        (FillKind::Zeropage, false, false),
        (FillKind::Continue, true, false),
        (FillKind::Poison, false, false),
        (FillKind::Move, false, true),
    ] {
        for bit in 0..64 {
            for dontwake in [0, 1] {
                let mode = 1_u64 << bit | dontwake;
                let known = bit == 0 || (bit == 1 && (wp || holes));
                let expected = FillMode {
                    wake: mode & 1 == 0,
                    write_protect: bit == 1 && wp,
                    allow_src_holes: bit == 1 && holes,
                };
                let expected = if known {
                    Ok(expected)
                } else {
                    Err(Errno::EINVAL)
                };
                assert_eq!(kind.parse_mode(mode), expected, "{kind:?} {mode:#x}");
            }
        }
        let plain = kind.parse_mode(0).unwrap();
        assert!(plain.wake && !plain.write_protect && !plain.allow_src_holes);
    }
}

#[test]
fn reports() {
    let errno = (1_i32..4096).prop_map(|code| Errno::from_negative(-code).unwrap());
    let input = (
        0_usize..8,
        1_usize..8,
        0_usize..9,
        errno,
        any::<[bool; 3]>(),
    );
    check(
        input,
        |(at, pages, filled, errno, [stopped_late, stored, wake])| {
            let filled = filled.min(pages);
            let start = at * PAGE;
            let range = Range::new(start, start + pages * PAGE).unwrap();
            let mut fill = Fill::new(range);
            for page in 0..filled {
                prop_assert_eq!(fill.done(), page * PAGE);
                let rest = Range::new(start + page * PAGE, range.end());
                prop_assert_eq!(fill.rest(), rest);
                fill.advance(PAGE);
            }
            prop_assert_eq!(fill.rest().is_none(), filled == pages);

            // A fatal signal may be noticed behind the last page.
            let stop = (filled < pages || stopped_late).then_some(errno);
            let report = fill.finish(stop.map(Stop::Error));
            let (field, result) = match filled {
                0 => (i64::from(errno.negative()), Err(errno)),
                _ if filled == pages => (range.size() as i64, Ok(())),
                _ => ((filled * PAGE) as i64, Err(Errno::EAGAIN)),
            };
            prop_assert_eq!(report.field, field);
            let again = match (result, filled) {
                (Err(Errno::EAGAIN), 0) => Some(Again::Retry),
                (Err(Errno::EAGAIN), _) => Some(Again::Partial),
                _ => None,
            };
            prop_assert_eq!(report.again(), again);
            let woken = Range::new(start, start + filled * PAGE).filter(|_| wake && stored);
            let result = if stored { result } else { Err(Errno::EFAULT) };
            prop_assert_eq!(report.conclude(stored, wake), (woken, result));
            Ok(())
        },
    );
}

#[test]
fn steps_beyond_the_end_count_up_to_it() {
    let range = Range::new(PAGE, 3 * PAGE).unwrap();
    let mut fill = Fill::new(range);
    fill.advance(usize::MAX);
    fill.advance(PAGE);
    assert_eq!(
        fill.finish(None).conclude(true, true),
        (Some(range), Ok(()))
    );
}

#[test]
fn changing_mappings_are_reported_in_both_places() {
    for [stored, wake] in all_bools() {
        let report = Report::mappings_changing();
        assert_eq!(report.field, -11);
        assert_eq!(report.again(), Some(Again::Changing));
        let errno = if stored { Errno::EAGAIN } else { Errno::EFAULT };
        assert_eq!(report.conclude(stored, wake), (None, Err(errno)));
    }
}
