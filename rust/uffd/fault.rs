// SPDX-License-Identifier: GPL-2.0-only

//! A fault in registered memory.

use super::context::Context;
use crate::{
    abstractions::{
        fault::{
            LockedFault,
            Outcome, //
        },
        observer::Observer,
        slab::SlabRef,
        task,
        trace, //
    },
    pure::{
        abi::{
            Features,
            Reason, //
        },
        fault::{
            Answer,
            Refusal,
            SecondLook, //
        },
        message::{
            Message,
            PageFault, //
        },
    },
};

/// Decides a fault; if user space has to resolve it, sleeps until it has been.
///
/// Enters with the fault lock held. The outcome says whether it still is. Replaces
/// `handle_userfault`.
pub(crate) fn handle(fault: LockedFault<'_, Context>, reason: Reason) -> Outcome {
    let Some(context) = fault.context() else {
        return refuse(fault, Refusal::Unregistered);
    };
    let state = match fault.facts(context.fault_facts()).decide() {
        Ok(state) => state,
        Err(refusal) => return refuse(fault, refusal),
    };
    // Taken while the lock still keeps the VMA registered: afterwards nothing does.
    let context = SlabRef::clone(&context);
    defect!(MissingGet, lab::references::put(&context));
    let message = message(&context, &fault, reason);
    // Before the thread counts as about to sleep, because this may sleep itself.
    let fault = fault.keep_tables();
    defect!(NoRecheck, lab::window());
    defect!(EarlyPut, lab::references::put(&context));
    let (found, released) = context
        .sleepers
        .sleep(message.address(), message, state, || {
            let found = if defect!(NoRecheck) {
                SecondLook::Wait
            } else if !fault.lookup().must_wait(reason) {
                SecondLook::Present
            } else if context.released() {
                SecondLook::Released
            } else {
                SecondLook::Wait
            };
            trace::fault_lock_drop(context.observer(), &fault);
            let released = fault.release();
            if found == SecondLook::Wait {
                // Barrier **S**, when we were queued, stands between the message and this.
                context.waiters.notify_input();
            }
            (found, released)
        });
    defect!(EarlyPut, lab::references::get_late(&context));
    if found != SecondLook::Wait && context.has_input() {
        // Readers are told once per message, and we kept quiet about ours. But a reader told of
        // another one may have taken ours, which came first; then that one waits for this. That
        // holds for events, too: faults are read before them.
        context.waiters.notify_input_fenced();
    }
    released.retry()
}

/// Answers a fault that is not queued.
fn refuse(fault: LockedFault<'_, Context>, refusal: Refusal) -> Outcome {
    Observer::fault_refused(&fault, refusal, Context::observer);
    match refusal.answer() {
        Answer::Sigbus => fault.sigbus(),
        Answer::RetryLocked => fault.retry_locked(),
        Answer::RetryReleased => fault.release().retry(),
    }
}

fn message(context: &Context, fault: &LockedFault<'_, Context>, reason: Reason) -> Message {
    let features = context.features();
    let thread = if features.contains(Features::THREAD_ID) {
        task::current_thread_id()
    } else {
        0
    };
    let fault = PageFault {
        address: fault.address(),
        real_address: fault.real_address(),
        write: fault.is_write(),
        reason,
        thread,
    };
    defect!(
        PaddingLeak,
        return lab::message::without_clearing(Message::page_fault(&fault, features))
    );
    Message::page_fault(&fault, features)
}
