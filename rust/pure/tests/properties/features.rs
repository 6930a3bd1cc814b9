// SPDX-License-Identifier: GPL-2.0-only

//! Feature negotiation against one flat list of rules.

use proptest::prelude::*;
use uffd_pure::abi::{Features, UFFD_API};
use uffd_pure::errno::Errno;
use uffd_pure::features::{negotiate, Offer, Toggle};

use crate::{check, first_error};

/// Bit patterns with few bits set, known and unknown.
fn bits() -> impl Strategy<Value = u64> {
    let bit = prop_oneof![9 => 0_u32..19, 1 => 19_u32..64];
    prop::collection::vec(bit, 0..4)
        .prop_map(|bits| bits.into_iter().fold(0, |all, bit| all | 1 << bit))
}

#[test]
fn negotiation_follows_the_rules_in_order() {
    let api = prop_oneof![9 => Just(UFFD_API), 1 => any::<u64>()];
    check(
        (api, bits(), bits(), any::<bool>()),
        |(api, asked, absent, ptrace)| {
            let available = Features::ALL.bits() & !absent;
            let offer = Offer {
                features: Features::from_bits(available),
                ..Offer::COMPLETE
            };
            let [fork, wp_async, rwp, rwp_async] = [1, 15, 17, 18].map(|bit| asked >> bit & 1 == 1);
            let granted = asked | u64::from(wp_async) << 13;
            let expected = first_error(&[
                (api != UFFD_API, Errno::EINVAL),
                (fork && !ptrace, Errno::EPERM),
                (rwp_async && !rwp, Errno::EINVAL),
                (granted & !available != 0, Errno::EINVAL),
            ]);

            let result = negotiate(api, Features::from_bits(asked), &offer, || ptrace);
            prop_assert_eq!(result.err(), expected);
            if let Ok(agreement) = result {
                prop_assert_eq!(
                    agreement.answer,
                    [UFFD_API, available, 0x8000_0000_0000_0403]
                );
                prop_assert_eq!(u64::from(agreement.context.to_word()), granted | 1 << 31);
                prop_assert!(agreement.context.is_initialized());
                prop_assert_eq!(agreement.context.features().bits(), granted);
            }
            Ok(())
        },
    );
}

#[test]
fn toggling_follows_the_rules() {
    const RWP: u64 = 1 << 17;
    const RWP_ASYNC: u64 = 1 << 18;
    // Mostly nothing or the one feature that can be switched.
    let wish = || prop_oneof![3 => Just(0), 4 => Just(RWP_ASYNC), 2 => bits()];
    check(
        (wish(), wish(), bits(), any::<[bool; 2]>()),
        |(enable, disable, others, [has_rwp, offered])| {
            let dependent = RWP | RWP_ASYNC | 1 << 1;
            let features = others & Features::ALL.bits() & !dependent | u64::from(has_rwp) << 17;
            let before = negotiate(
                UFFD_API,
                Features::from_bits(features),
                &Offer::COMPLETE,
                || true,
            )
            .unwrap()
            .context;
            let mut offer = Offer::COMPLETE;
            if !offered {
                offer.features = offer.features.without(Features::RWP_ASYNC);
            }
            let fine = enable & disable == 0
                && (enable | disable) & !RWP_ASYNC == 0
                && (offered || enable | disable == 0)
                && (enable & RWP_ASYNC == 0 || has_rwp);

            let toggle = Toggle::check(
                Features::from_bits(enable),
                Features::from_bits(disable),
                &offer,
                before,
            );
            prop_assert_eq!(toggle.is_ok(), fine);
            if let Ok(toggle) = toggle {
                let word = u64::from(toggle.apply(before).to_word());
                prop_assert_eq!(word, (u64::from(before.to_word()) | enable) & !disable);
                prop_assert_eq!(toggle.ends_sleep(), enable != 0);
            } else {
                prop_assert_eq!(toggle, Err(Errno::EINVAL));
            }
            Ok(())
        },
    );
}
