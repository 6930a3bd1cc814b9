// SPDX-License-Identifier: GPL-2.0-only

//! Changes of protection against flat lists of rules.

use proptest::prelude::*;
use uffd_pure::abi::Modes;
use uffd_pure::errno::Errno;
use uffd_pure::protect::{Change, Protection, Request};
use uffd_pure::range::Range;

use crate::{check, first_error};

const HUGE: usize = 0x20_0000;
const PAGE: usize = 0x1000;

fn protection() -> impl Strategy<Value = Protection> {
    prop::sample::select(vec![Protection::Write, Protection::ReadWrite])
}

#[test]
fn vmas_are_admitted_by_the_rules_in_order() {
    let border = (1_usize..9).prop_map(|half| half * HUGE / 2);
    let span =
        (border.clone(), border).prop_filter_map("empty", |(start, end)| Range::new(start, end));
    let page_size = prop::sample::select(vec![PAGE, HUGE]);
    check(
        (protection(), 0_u64..16, page_size, span),
        |(protection, modes, page_size, range)| {
            let bit = match protection {
                Protection::Write => 2,
                Protection::ReadWrite => 8,
            };
            let (start, len) = (range.start(), range.size());
            let expected = first_error(&[
                (modes & bit == 0, Errno::ENOENT),
                (
                    page_size == HUGE && (start % HUGE != 0 || len % HUGE != 0),
                    Errno::EINVAL,
                ),
            ]);
            let verdict = protection.admit(Modes::from_bits(modes), page_size, &range);
            prop_assert_eq!(verdict.err(), expected);
            Ok(())
        },
    );
}

#[test]
fn requests_follow_the_rules() {
    let mode = prop_oneof![4 => 0_u64..8, 1 => any::<u64>()];
    check((protection(), mode), |(protection, mode)| {
        let (protect, dontwake) = (mode & 1 != 0, mode & 2 != 0);
        let refused = mode > 3 || (protect && dontwake);
        let expected = Request {
            change: if protect {
                Change::Protect(protection)
            } else {
                Change::Resolve(protection)
            },
            wake: !protect && !dontwake,
        };
        prop_assert_eq!(
            Request::parse(protection, mode),
            if refused {
                Err(Errno::EINVAL)
            } else {
                Ok(expected)
            }
        );
        Ok(())
    });
}
