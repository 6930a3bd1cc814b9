// SPDX-License-Identifier: GPL-2.0-only

//! The fault ladder and the second look, on all inputs there are.

use uffd_pure::abi::Reason;
use uffd_pure::fault::{Answer, BlockingState, ContextFacts, Entry, FaultFacts, Refusal};

use crate::{all_bools, first_error};

#[test]
fn ladder() {
    for bools in all_bools::<9>() {
        let [exiting, sigbus, user_only, released, user, retry, nowait, intr, kill] = bools;
        let facts = FaultFacts {
            exiting,
            context: ContextFacts {
                sigbus,
                user_mode_only: user_only,
                released,
            },
            user,
            allow_retry: retry,
            retry_nowait: nowait,
            interruptible: intr,
            killable: kill,
        };
        let expected = first_error(&[
            (exiting, Err(Refusal::Exiting)),
            (sigbus, Err(Refusal::Sigbus)),
            (user_only && !user, Err(Refusal::KernelMode)),
            (!retry, Err(Refusal::NoRetry)),
            (nowait, Err(Refusal::NoWait)),
            (released, Err(Refusal::Released)),
            (intr, Ok(BlockingState::Interruptible)),
            (kill, Ok(BlockingState::Killable)),
            (true, Ok(BlockingState::Uninterruptible)),
        ]);
        assert_eq!(Some(facts.decide()), expected, "{facts:?}");
    }
}

#[test]
fn refusals_are_answered() {
    use Refusal::{Exiting, KernelMode, NoRetry, NoWait, Released, Sigbus, Unregistered};

    for refusal in [Unregistered, Exiting, Sigbus, KernelMode, NoRetry] {
        assert_eq!(refusal.answer(), Answer::Sigbus);
    }
    assert_eq!(NoWait.answer(), Answer::RetryLocked);
    assert_eq!(Released.answer(), Answer::RetryReleased);
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
