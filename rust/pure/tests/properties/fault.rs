// SPDX-License-Identifier: GPL-2.0-only

//! The fault ladder and the second look, on all inputs there are.

use uffd_pure::abi::Reason;
use uffd_pure::fault::{BlockingState, ContextFacts, Entry, FaultFacts, Verdict};

use crate::{all_bools, first_error};

#[test]
fn ladder() {
    for bools in all_bools::<10>() {
        let [exiting, present, sigbus, user_only, released, user, retry, nowait, intr, kill] =
            bools;
        let facts = FaultFacts {
            exiting,
            context: present.then_some(ContextFacts {
                sigbus,
                user_mode_only: user_only,
                released,
            }),
            user,
            allow_retry: retry,
            retry_nowait: nowait,
            interruptible: intr,
            killable: kill,
        };
        let expected = first_error(&[
            (exiting || !present || sigbus, Verdict::Sigbus),
            (user_only && !user, Verdict::Sigbus),
            (!retry, Verdict::Sigbus),
            (nowait, Verdict::RetryLocked),
            (released, Verdict::RetryReleased),
            (intr, Verdict::Sleep(BlockingState::Interruptible)),
            (kill, Verdict::Sleep(BlockingState::Killable)),
            (true, Verdict::Sleep(BlockingState::Uninterruptible)),
        ]);
        assert_eq!(Some(facts.decide()), expected, "{facts:?}");
    }
}

#[test]
fn second_look() {
    use Reason::{Minor, Missing, ReadWriteProtect, WriteProtect};

    for reason in [Missing, WriteProtect, Minor, ReadWriteProtect] {
        assert!(Entry::None.must_wait(reason));
        assert!(Entry::Marker.must_wait(reason));
        assert!(!Entry::NotPresent.must_wait(reason));
        for [write, protected] in all_bools() {
            let waits =
                (reason == WriteProtect && !write) || (reason == ReadWriteProtect && protected);
            let entry = Entry::Present { write, protected };
            assert_eq!(entry.must_wait(reason), waits, "{reason:?} {entry:?}");
        }
    }
}
