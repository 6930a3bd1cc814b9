// SPDX-License-Identifier: GPL-2.0-only

//! Who waits for a file: blocked readers, and everything that polls.
//!
//! The barrier **P**, and what it pairs with, is explained in [`crate::pure::wait`].

use core::marker::PhantomData;

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    static_lock_class,
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

/// A `wait_queue_head`.
///
/// # Invariants
///
/// `head` is initialised.
#[pin_data]
struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

impl WaitQueue {
    fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writes and does not move; name and key are static.
            head <- Opaque::ffi_init(move |slot| unsafe {
                bindings::uffd_init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Wakes with `EPOLLIN` as key: all plain entries and one exclusive one. Looks without the lock
    /// whether there are any.
    fn wake(&self) {
        // SAFETY: By the type invariants.
        unsafe {
            if bindings::uffd_waitqueue_active(self.head.get()) {
                bindings::uffd_wake_up_poll(self.head.get(), bindings::EPOLLIN as usize);
            }
        }
    }
}

/// Who waits for a file: blocked readers, and everything that polls.
///
/// They wait apart, because one message satisfies one reader, so readers are woken one at a time,
/// and a poller that asks for the same (`EPOLLEXCLUSIVE`) must not be taken for one of them.
///
/// # Invariants
///
/// Waiters remove themselves: readers before they return, polls when their file goes, which is
/// before the object that holds the queues.
#[pin_data]
pub(crate) struct FileWaiters {
    #[pin]
    readers: WaitQueue,
    #[pin]
    pollers: WaitQueue,
}

// SAFETY: Wait queues lock themselves.
unsafe impl Send for FileWaiters {}
// SAFETY: As above.
unsafe impl Sync for FileWaiters {}

impl FileWaiters {
    /// Nobody waits yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            readers <- WaitQueue::new(c"uffd_readers", static_lock_class!()),
            pollers <- WaitQueue::new(c"uffd_pollers", static_lock_class!()),
        })
    }

    /// Tells all pollers and one blocked reader of new input.
    ///
    /// Takes the locks of the wait queues with interrupts off; may be called by a task about to
    /// sleep. A full barrier lies between the caller's store of what they look for and this call;
    /// it pairs with **P** in [`Self::wait_to_read`] and [`Self::poll`].
    pub(crate) fn notify_input(&self) {
        self.pollers.wake();
        self.readers.wake();
    }

    /// The same with the full barrier, for callers that come without one.
    pub(crate) fn notify_input_fenced(&self) {
        smp_mb(Full);
        self.notify_input();
    }

    /// Sleeps once, as a reader, unless `ready` says there is no need or a signal is pending.
    ///
    /// `ready` runs as a task about to sleep and must not sleep. A reader may have been selected by
    /// [`Self::notify_input`] whatever ended this, so the caller looks for input afterwards in any
    /// case, before it looks for a signal.
    pub(crate) fn wait_to_read(&self, ready: impl FnOnce() -> bool) {
        let head = self.readers.head.get();
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry stays on this stack, and `finish_wait` takes it out of the queue before
        // the function returns. `prepare_to_wait_exclusive` sets the task state, which is barrier
        // **P**; for an interruptible one `schedule` looks at signals.
        unsafe {
            bindings::uffd_init_wait(entry.get());
            bindings::prepare_to_wait_exclusive(
                head,
                entry.get(),
                bindings::TASK_INTERRUPTIBLE as i32,
            );
            if !ready() {
                task::schedule();
            }
            bindings::finish_wait(head, entry.get());
        }
    }

    /// Adds the caller of poll() to the pollers. What the caller looks at afterwards is read after
    /// barrier **P**.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: File and table are valid for the call, and by the type invariants the queue
        // outlives every entry that polling makes.
        unsafe { bindings::poll_wait(file.as_ptr(), self.pollers.head.get(), table.table) };
        smp_mb(Full);
    }
}
