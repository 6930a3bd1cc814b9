// SPDX-License-Identifier: GPL-2.0-only

//! What a context is to those who watch: its number, and its counts.
//!
//! What happens on the way of a fault or a request is shown through one static branch, whether it is
//! traced ([`super::trace`]) or counted ([`super::statistics`]). It is taken while a tracepoint of
//! those is on, or the counts are. Nothing that is shown is looked at before.

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::{
    fault::LockedFault,
    slab::SlabObject,
    statistics::{
        Account,
        Sleepers,
        Stamp, //
    },
    trace::{
        self,
        FaultMessage,
        Watched, //
    }, //
};
use crate::pure::{
    fault::{
        End,
        Refusal, //
    },
    observe::Again,
    wait::Key,
};

/// The number under which a context is shown: from 1 on, never used twice between two boots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextId(u64);

impl ContextId {
    /// A number that was not given out yet.
    fn next() -> Self {
        static LAST: Atomic<u64> = Atomic::new(0);
        // OVERFLOW: a context every nanosecond takes five centuries to get there.
        Self(LAST.fetch_add(1, Relaxed).wrapping_add(1))
    }

    /// The number itself.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Who watches one context: what everything that shows something of it is given.
///
/// None of the functions sleeps unless it says so. Those of a queued fault are called under the lock
/// of its queue.
pub(crate) struct Observer {
    id: ContextId,
    account: Account,
}

/// Whether somebody watches faults and requests.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    #[cfg(any(CONFIG_TRACEPOINTS, CONFIG_DEBUG_FS))]
    // SAFETY: A static key of glue.c.
    return unsafe {
        kernel::jump_label::static_branch_unlikely!(
            bindings::uffd_keys,
            bindings::uffd_keys,
            watched
        )
    };
    #[cfg(not(any(CONFIG_TRACEPOINTS, CONFIG_DEBUG_FS)))]
    false
}

impl Observer {
    /// That of a new context.
    pub(crate) fn new() -> Self {
        Self {
            id: ContextId::next(),
            account: Account::new(),
        }
    }

    /// The context's number.
    pub(crate) fn id(&self) -> ContextId {
        self.id
    }

    /// Has the context counted from now on, if that is switched on and there is memory for it. May
    /// sleep.
    ///
    /// # Safety
    ///
    /// `self` is a field of `sleepers`, is dropped before the other fields, and does not move.
    #[inline(always)]
    pub(super) unsafe fn begin(&self, sleepers: &(impl Sleepers + 'static)) {
        if is_watched() {
            // SAFETY: By the safety requirements.
            unsafe { self.account.open(self.id, sleepers) };
        }
    }

    /// The current thread is queued, and so many are now.
    #[inline(always)]
    pub(super) fn fault_queued(
        &self,
        key: &Key,
        message: &impl FaultMessage,
        stamp: &mut Stamp,
        sleepers: u32,
    ) {
        if is_watched() {
            trace::fault_queue(self, key, message);
            self.account.queued(message.reason(), stamp, sleepers);
        }
    }

    /// The current thread reads the message of a sleeper.
    #[inline(always)]
    pub(super) fn fault_read(&self, key: &Key, stamp: &mut Stamp) {
        if is_watched() {
            trace::fault_read(self, key);
            self.account.read(stamp);
        }
    }

    /// The message could not be delivered and is unread again.
    #[inline(always)]
    pub(super) fn fault_unread(&self, key: &Key, stamp: &mut Stamp) {
        if is_watched() {
            trace::fault_unread(self, key);
            self.account.unread(stamp);
        }
    }

    /// The current thread takes a sleeper out of the queue, to wake it.
    #[inline(always)]
    pub(super) fn fault_woken(&self, key: &Key, stamp: &Stamp) {
        if is_watched() {
            trace::fault_wake(self, key);
            self.account.woken(stamp);
        }
    }

    /// The current thread has left the queue, and its lock.
    #[inline(always)]
    pub(super) fn fault_done(&self, key: &Key, how: End) {
        if is_watched() {
            trace::fault_done(self, key, how);
            self.account.ended(how);
        }
    }

    /// A wake-up is over, of everybody from the address `first` to `last`.
    #[inline(always)]
    pub(super) fn wake(&self, first: usize, last: usize, woken: u32) {
        if is_watched() {
            trace::wake(self, first, last, woken);
            self.account.wake();
        }
    }

    /// The current thread does not queue up. If there is a context, `observer` tells who watches it.
    #[inline(always)]
    pub(crate) fn fault_refused<C: SlabObject>(
        fault: &LockedFault<'_, C>,
        why: Refusal,
        observer: impl FnOnce(&C) -> &Self,
    ) {
        if is_watched() {
            let context = fault.context();
            let this = context.as_ref().map(|context| observer(context));
            trace::fault_refused(this, fault, why);
            if let Some(this) = this {
                this.account.refused();
            }
        }
    }

    /// The memory part of a resolving ioctl is over, with so many bytes done, or `-errno`, and maybe
    /// a reason to try again. Its wake-up is yet to come. Called behind [`is_watched`].
    #[cold]
    pub(crate) fn resolved(&self, request: &Watched, result: i64, again: Option<Again>) {
        if let Some(why) = again {
            trace::eagain(self, request.kind, why);
        }
        trace::resolve(self, request, result);
        self.account.resolved(request.kind, result, again);
    }
}
