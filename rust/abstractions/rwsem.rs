// SPDX-License-Identifier: GPL-2.0-only

//! A lock that sleeps, for many readers or one writer.

use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// A `rw_semaphore`. It protects no data of its own, only a course of events.
///
/// # Invariants
///
/// `sem` is initialised.
#[pin_data]
pub(crate) struct RwSemaphore {
    #[pin]
    sem: Opaque<bindings::rw_semaphore>,
}

// SAFETY: The semaphore may be used from any thread; who takes it gives it back, which the guards
// see to.
unsafe impl Send for RwSemaphore {}
// SAFETY: As above.
unsafe impl Sync for RwSemaphore {}

impl RwSemaphore {
    /// A semaphore that nobody holds.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for writes and does not move; name and key are static.
            sem <- Opaque::ffi_init(move |slot| unsafe {
                bindings::__init_rwsem(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Waits for writers (`down_read`). May sleep.
    pub(crate) fn read(&self) -> RwReadGuard<'_> {
        // SAFETY: By the type invariants.
        unsafe { bindings::down_read(self.sem.get()) };
        // INVARIANT: Just taken.
        RwReadGuard {
            semaphore: self,
            _nts: NotThreadSafe,
        }
    }

    /// Waits for writers and readers (`down_write`). May sleep.
    pub(crate) fn write(&self) -> RwWriteGuard<'_> {
        // SAFETY: By the type invariants.
        unsafe { bindings::down_write(self.sem.get()) };
        // INVARIANT: Just taken.
        RwWriteGuard {
            semaphore: self,
            _nts: NotThreadSafe,
        }
    }
}

/// # Invariants
///
/// The current thread holds the semaphore for reading.
#[must_use = "the semaphore is given back with the guard"]
pub(crate) struct RwReadGuard<'a> {
    semaphore: &'a RwSemaphore,
    // Lockdep knows the lock as this thread's.
    _nts: NotThreadSafe,
}

impl Drop for RwReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::up_read(self.semaphore.sem.get()) };
    }
}

/// # Invariants
///
/// The current thread holds the semaphore for writing.
#[must_use = "the semaphore is given back with the guard"]
pub(crate) struct RwWriteGuard<'a> {
    semaphore: &'a RwSemaphore,
    _nts: NotThreadSafe,
}

impl Drop for RwWriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::up_write(self.semaphore.sem.get()) };
    }
}
