// SPDX-License-Identifier: GPL-2.0-only

//! Ranges against arithmetic that can't overflow.

use proptest::prelude::*;
use uffd_pure::errno::Errno;
use uffd_pure::range::{Limits, Range};

use crate::check;

const PAGE: u64 = 0x1000;
const LIMITS: Limits = Limits {
    page_size: PAGE as usize,
    task_size: 0x7fff_ffff_f000,
};

/// Numbers near everything that matters: zero, the end of user space, the sign bit, the wrap.
fn number() -> impl Strategy<Value = u64> {
    let anchor = prop::sample::select(vec![0, LIMITS.task_size as u64, 1 << 63, u64::MAX]);
    let pages = (anchor, -3_i64..4).prop_map(|(anchor, pages)| {
        (anchor & !(PAGE - 1)).wrapping_add_signed(pages * PAGE as i64)
    });
    prop_oneof![
        4 => pages.clone(),
        2 => (pages, -2_i64..3).prop_map(|(page, bytes)| page.wrapping_add_signed(bytes)),
        1 => any::<u64>(),
    ]
}

#[test]
fn accepts_what_lies_in_user_space() {
    check((number(), number()), |(start, len)| {
        let end = u128::from(start) + u128::from(len);
        let fits = len > 0 && len % PAGE == 0 && end <= LIMITS.task_size as u128;
        for (result, fits) in [
            (Range::unaligned(start, len, &LIMITS), fits),
            (
                Range::aligned(start, len, &LIMITS),
                fits && start % PAGE == 0,
            ),
        ] {
            match result {
                Ok(range) => {
                    prop_assert!(fits);
                    prop_assert_eq!(range.start() as u64, start);
                    prop_assert_eq!(range.size() as u64, len);
                    prop_assert_eq!(range.end() as u128, end);
                }
                Err(errno) => {
                    prop_assert!(!fits);
                    prop_assert_eq!(errno, Errno::EINVAL);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn cuts_like_a_set_of_addresses() {
    let border = || 0_usize..24;
    check(
        (border(), border(), border(), border(), border()),
        |(a, b, c, d, len)| {
            let inside = |range: Option<Range>, address| {
                range.is_some_and(|range| (range.start()..range.end()).contains(&address))
            };
            let range = Range::new(a, b);
            prop_assert_eq!(range.is_some(), a < b);
            let Some(range) = range else { return Ok(()) };
            let (clamped, prefix) = (range.clamp(c, d), range.prefix(len));
            for address in 0..24 {
                let own = a <= address && address < b;
                prop_assert_eq!(inside(Some(range), address), own);
                prop_assert_eq!(inside(clamped, address), own && c <= address && address < d);
                prop_assert_eq!(inside(prefix, address), own && address - a < len);
            }
            Ok(())
        },
    );
}
