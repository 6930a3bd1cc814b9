// SPDX-License-Identifier: GPL-2.0-only

//! Messages, decoded by the offsets of the header.

use proptest::prelude::*;
use uffd_pure::abi::{EventKind, Features, Reason, UFFD_API};
use uffd_pure::features::{negotiate, ContextFeatures, Offer};
use uffd_pure::message::{Message, PageFault};

use crate::check;

fn context(features: Features) -> ContextFeatures {
    negotiate(UFFD_API, features, &Offer::COMPLETE, || true)
        .unwrap()
        .context
}

/// Splits a message into its event and its three words, and checks that the rest is zero.
fn decode(message: &Message) -> (u8, [u64; 3]) {
    let bytes = message.as_bytes();
    assert_eq!(bytes.len(), Message::SIZE);
    assert_eq!(bytes[1..8], [0; 7], "padding behind the event");
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    (bytes[0], [word(8), word(16), word(24)])
}

/// A word that holds a `u32` at its lowest address and nothing else.
fn low_half(value: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

#[test]
fn page_faults() {
    let reasons = [
        (Reason::Missing, 0),
        (Reason::WriteProtect, 2),
        (Reason::Minor, 4),
        (Reason::ReadWriteProtect, 8),
    ];
    let reason = prop::sample::select(reasons.to_vec());
    let input = (
        any::<[usize; 2]>(),
        any::<[bool; 3]>(),
        any::<u32>(),
        reason,
    );
    check(
        input,
        |([address, real_address], [write, exact, named], thread, (reason, flag))| {
            let mut features = Features::NONE;
            if exact {
                features = features.with(Features::EXACT_ADDRESS);
            }
            if named {
                features = features.with(Features::THREAD_ID);
            }
            let fault = PageFault {
                address,
                real_address,
                write,
                reason,
                thread,
            };
            let message = Message::page_fault(&fault, context(features));
            let shown = if exact { real_address } else { address };
            let words = [
                flag | u64::from(write),
                shown as u64,
                if named { low_half(thread) } else { 0 },
            ];
            prop_assert_eq!(decode(&message), (0x12, words));
            prop_assert_eq!(message.address(), shown);
            prop_assert_eq!(
                (message.kind(), message.reason()),
                (EventKind::PageFault, reason)
            );
            prop_assert_eq!(message.flags().bits(), words[0]);
            Ok(())
        },
    );
}

#[test]
fn events() {
    check((any::<u32>(), any::<[usize; 3]>()), |(fd, [a, b, c])| {
        let words = [a as u64, b as u64, c as u64];
        let [first, second, _] = words;
        prop_assert_eq!(decode(&Message::fork(fd)), (0x13, [low_half(fd), 0, 0]));
        prop_assert_eq!(decode(&Message::remap(a, b, c)), (0x14, words));
        prop_assert_eq!(decode(&Message::remove(a, b)), (0x15, [first, second, 0]));
        prop_assert_eq!(decode(&Message::unmap(a, b)), (0x16, [first, second, 0]));
        prop_assert_eq!(Message::remap(a, b, c).words(), words);
        let kinds = [
            Message::fork(fd),
            Message::remap(a, b, c),
            Message::remove(a, b),
            Message::unmap(a, b),
        ]
        .map(|message| message.kind());
        let wanted = [
            EventKind::Fork,
            EventKind::Remap,
            EventKind::Remove,
            EventKind::Unmap,
        ];
        prop_assert_eq!(kinds, wanted);
        Ok(())
    });
}
