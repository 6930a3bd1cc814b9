// SPDX-License-Identifier: GPL-2.0-only

//! The wait queue behind a file: blocked readers, and everything that polls.
//!
//! Pollers (poll, epoll, io_uring, aio) are all told of an event; of the blocked readers one is,
//! because one message satisfies one reader.

use core::marker::PhantomData;

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::Full,
        barrier::smp_mb,
        LockClassKey, //
    },
    types::Opaque, //
};

use super::task;

/// What poll() may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    /// Nothing yet.
    None,
    /// There is something to read.
    Input,
    /// Polling makes no sense here.
    Error,
}

impl Events {
    /// The mask for C.
    pub(super) fn mask(self) -> bindings::__poll_t {
        match self {
            Self::None => 0,
            Self::Input => bindings::EPOLLIN,
            Self::Error => bindings::EPOLLERR,
        }
    }
}

/// What poll() brings along.
///
/// # Invariants
///
/// `table` is null or valid for `'a`.
pub(crate) struct PollTable<'a> {
    table: *mut bindings::poll_table,
    _call: PhantomData<&'a bindings::poll_table>,
}

impl PollTable<'_> {
    /// # Safety
    ///
    /// `table` is null or valid for the lifetime of the result.
    pub(super) unsafe fn from_raw(table: *mut bindings::poll_table) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            table,
            _call: PhantomData,
        }
    }
}

/// A `wait_queue_head` that lives as long as the file it serves.
///
/// # Invariants
///
/// `head` is initialised. Waiters remove themselves: readers before they return, polls when their
/// file goes, which is before the object that holds the queue.
#[pin_data]
pub(crate) struct PollWaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue locks itself.
unsafe impl Send for PollWaitQueue {}
// SAFETY: As above.
unsafe impl Sync for PollWaitQueue {}

impl PollWaitQueue {
    /// A queue without waiters. `name` and `key` are lockdep's.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writes and does not move; name and key are static.
            head <- Opaque::ffi_init(move |slot| unsafe {
                bindings::uffd_init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Tells all pollers and one blocked reader of new input.
    ///
    /// A full barrier lies between the caller's store of what they look for and this call; it
    /// pairs with those in [`Self::wait_for`] and [`Self::poll`].
    pub(crate) fn notify_input(&self) {
        // SAFETY: The queue is initialised.
        unsafe {
            if bindings::uffd_waitqueue_active(self.head.get()) != 0 {
                bindings::uffd_wake_up_poll(self.head.get(), bindings::EPOLLIN as usize);
            }
        }
    }

    /// Tells everyone that there will be no input any more.
    pub(crate) fn notify_hang_up(&self) {
        // SAFETY: The queue is initialised.
        unsafe { bindings::uffd_wake_up_poll_all(self.head.get(), bindings::EPOLLHUP as usize) };
    }

    /// Sleeps once, as a reader, unless `ready` says there is no need or a signal is pending.
    ///
    /// `ready` runs as a task about to sleep and must not sleep. A reader may have been selected by
    /// [`Self::notify_input`] whatever ended this, so the caller looks for input afterwards in any
    /// case, before it looks for a signal.
    pub(crate) fn wait_for(&self, ready: impl FnOnce() -> bool) {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry stays on this stack, and `finish_wait` takes it out of the queue before
        // the function returns. `prepare_to_wait_event` ends with a full barrier.
        unsafe {
            bindings::init_wait_entry(entry.get(), bindings::WQ_FLAG_EXCLUSIVE as i32);
            let signal = bindings::prepare_to_wait_event(
                self.head.get(),
                entry.get(),
                bindings::TASK_INTERRUPTIBLE as i32,
            );
            if signal == 0 && !ready() {
                task::schedule();
            }
            bindings::finish_wait(self.head.get(), entry.get());
        }
    }

    /// Adds the caller of poll() to the queue. What the caller looks at afterwards is read after a
    /// full barrier.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: File and table are valid for the call, and by the type invariants the queue
        // outlives every entry that polling makes.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table.table) };
        smp_mb(Full);
    }
}
