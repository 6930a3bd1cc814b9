// SPDX-License-Identifier: GPL-2.0-only

//! Registration verdicts against one flat list of rules.

use proptest::prelude::*;
use uffd_pure::abi::{Features, Ioctls, Modes, UFFD_API};
use uffd_pure::errno::Errno;
use uffd_pure::features::{negotiate, ContextFeatures, Offer, Support};
use uffd_pure::range::Range;
use uffd_pure::register::{
    check_start, check_unregister, parse_modes, part_to_unregister, Backing, Owner, Registration,
    VmaFacts,
};

use crate::{check, first_error};

const HUGE: usize = 0x20_0000;
const PAGE: usize = 0x1000;

/// An implementation that has missing faults alone.
const MISSING_ONLY: Offer = Offer {
    modes: Modes::MISSING,
    range_ioctls: Ioctls::WAKE.with(Ioctls::COPY).with(Ioctls::ZEROPAGE),
    ..Offer::COMPLETE
};

fn border() -> impl Strategy<Value = usize> {
    let huge = (1_usize..6).prop_map(|count| count * HUGE);
    prop_oneof![
        huge.clone(),
        (huge, 0_usize..3).prop_map(|(at, pages)| at + pages * PAGE)
    ]
}

fn span() -> impl Strategy<Value = Range> {
    (border(), border()).prop_filter_map("empty", |(start, end)| Range::new(start, end))
}

fn vma() -> impl Strategy<Value = VmaFacts> {
    let owner = prop::sample::select(vec![Owner::Nobody, Owner::Asker, Owner::Other]);
    let backing = prop::sample::select(vec![
        Backing::Anonymous,
        Backing::Hugetlb(HUGE),
        Backing::Supported,
        Backing::Foreign,
    ]);
    let rare = prop::bool::weighted(0.15);
    (span(), owner, 0_u64..16, backing, [rare; 4]).prop_map(
        |(span, owner, modes, backing, [never_written, inaccessible, excluded, special])| {
            let modes = if owner == Owner::Nobody { 0 } else { modes };
            VmaFacts {
                start: span.start(),
                end: span.end(),
                owner,
                modes: Modes::from_bits(modes),
                backing,
                may_write: !never_written,
                accessible: !inaccessible,
                excluded,
                special,
            }
        },
    )
}

fn registration() -> impl Strategy<Value = Registration> {
    (span(), 1_u64..16, any::<[bool; 2]>()).prop_map(|(range, modes, [wp_async, wp_marker])| {
        Registration {
            range,
            modes: Modes::from_bits(modes),
            wp_async,
            wp_marker,
        }
    })
}

/// What the operations of a VMA's file say.
fn accepts() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.85)
}

/// `vma_can_userfault` as the list of its refusals.
fn refused(vma: &VmaFacts, modes: Modes, wp_async: bool, wp_marker: bool, accepts: bool) -> bool {
    let hugetlb = vma.backing == Backing::Hugetlb(HUGE);
    let anonymous = vma.backing == Backing::Anonymous;
    let file = hugetlb || vma.backing == Backing::Supported;
    let any_memory = wp_async && modes == Modes::WP;
    vma.excluded
        || (vma.special && !hugetlb)
        || (!any_memory && vma.backing == Backing::Foreign)
        || (!any_memory && !wp_marker && modes.intersects(Modes::WP) && !anonymous)
        || (!any_memory && anonymous && modes.intersects(Modes::MINOR))
        || (!any_memory && file && !accepts)
}

#[test]
fn admission_follows_the_rules_in_order() {
    check(
        (vma(), registration(), accepts()),
        |(vma, asked, accepts)| {
            let (modes, end) = (asked.modes, asked.range.end());
            let dropped = vma.modes.bits() & !modes.bits();
            let expected = first_error(&[
                (
                    refused(&vma, modes, asked.wp_async, asked.wp_marker, accepts),
                    Errno::EINVAL,
                ),
                (
                    modes.intersects(Modes::RWP) && !vma.accessible,
                    Errno::EINVAL,
                ),
                (!vma.may_write, Errno::EPERM),
                (
                    matches!(vma.backing, Backing::Hugetlb(_))
                        && (vma.start + 1..=vma.end).contains(&end)
                        && end % HUGE != 0,
                    Errno::EINVAL,
                ),
                (vma.owner == Owner::Other, Errno::EBUSY),
                (
                    vma.owner == Owner::Asker && dropped & 0b1010 != 0,
                    Errno::EBUSY,
                ),
            ]);
            let verdict = asked.admit(&vma, |asked| {
                assert_eq!(asked, modes);
                accepts
            });
            prop_assert_eq!(verdict.err(), expected);

            let done = vma.owner == Owner::Asker && modes.bits() & !vma.modes.bits() == 0;
            prop_assert_eq!(asked.is_done(&vma), done);
            Ok(())
        },
    );
}

#[test]
fn unregistration_touches_its_own_only() {
    check(
        (vma(), span(), any::<[bool; 2]>(), accepts()),
        |(vma, range, [wp_async, wp_marker], accepts)| {
            let refused =
                refused(&vma, vma.modes, wp_async, wp_marker, accepts) || vma.owner == Owner::Other;
            let verdict = check_unregister(&vma, wp_async, wp_marker, |_| accepts);
            prop_assert_eq!(verdict.err(), refused.then_some(Errno::EINVAL));

            let part = Range::new(vma.start.max(range.start()), vma.end.min(range.end()));
            let expected = part.filter(|_| vma.owner != Owner::Nobody);
            prop_assert_eq!(part_to_unregister(&vma, &range), expected);
            Ok(())
        },
    );
}

#[test]
fn start_is_aligned_to_huge_pages() {
    check((vma(), span()), |(vma, range)| {
        let bad = vma.backing == Backing::Hugetlb(HUGE) && range.start() % HUGE != 0;
        prop_assert_eq!(
            check_start(&vma, &range).err(),
            bad.then_some(Errno::EINVAL)
        );
        Ok(())
    });
}

fn support() -> impl Strategy<Value = Support> {
    any::<[bool; 4]>().prop_map(|[minor, pte_bit, wp_marker, rwp]| Support {
        minor,
        pte_bit,
        wp_marker,
        rwp,
    })
}

fn context(features: Features) -> ContextFeatures {
    negotiate(UFFD_API, features, &Offer::COMPLETE, || true)
        .unwrap()
        .context
}

#[test]
fn modes_need_support_and_features() {
    check(
        (support(), 0_u64..20, any::<bool>()),
        |(support, mode, has_rwp)| {
            let context = context(if has_rwp {
                Features::RWP
            } else {
                Features::NONE
            });
            let [missing, wp, minor, rwp] = std::array::from_fn(|bit| mode >> bit & 1 == 1);
            let fine = mode < 16
                && (missing || wp || minor || rwp)
                && (!wp || support.pte_bit)
                && (!minor || support.minor)
                && (!rwp || (support.pte_bit && support.rwp && has_rwp))
                && !(wp && rwp);
            let parsed = parse_modes(mode, &Offer::COMPLETE.on(support), context);
            prop_assert_eq!(parsed.is_ok(), fine);
            prop_assert_eq!(
                parsed.map(Modes::bits),
                if fine { Ok(mode) } else { Err(Errno::EINVAL) }
            );

            let narrow = parse_modes(mode, &MISSING_ONLY.on(support), context);
            prop_assert_eq!(narrow.is_ok(), mode == 1);
            Ok(())
        },
    );
}

#[test]
fn answered_ioctls_work_on_the_range() {
    check((registration(), any::<bool>()), |(asked, hugetlb)| {
        let answer = asked.answer(&Offer::COMPLETE, hugetlb).bits();
        for (ioctl, works) in [
            (Ioctls::WAKE, true),
            (Ioctls::COPY, true),
            (Ioctls::POISON, true),
            (Ioctls::ZEROPAGE, !hugetlb),
            (Ioctls::MOVE, !hugetlb),
            (Ioctls::WRITEPROTECT, asked.modes.contains(Modes::WP)),
            (Ioctls::CONTINUE, asked.modes.contains(Modes::MINOR)),
            (Ioctls::RWPROTECT, asked.modes.contains(Modes::RWP)),
        ] {
            prop_assert_eq!(answer & ioctl.bits() != 0, works, "{:?}", ioctl);
        }
        prop_assert_eq!(answer & !Ioctls::RANGE.bits(), 0);
        prop_assert_eq!(asked.answer(&MISSING_ONLY, false).bits(), 0b1_1100);
        prop_assert_eq!(asked.answer(&MISSING_ONLY, true).bits(), 0b1100);
        Ok(())
    });
}
