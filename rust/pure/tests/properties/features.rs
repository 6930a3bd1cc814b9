// SPDX-License-Identifier: GPL-2.0-only

//! Feature negotiation against one flat list of rules.

use proptest::prelude::*;
use uffd_pure::abi::{Features, UFFD_API};
use uffd_pure::errno::Errno;
use uffd_pure::features::{negotiate, Offer};

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
