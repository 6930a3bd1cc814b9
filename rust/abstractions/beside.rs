// SPDX-License-Identifier: GPL-2.0-only

//! What a spinlock protects, as a field beside the lock.
//!
//! In a `SpinLock<T>` the value comes after the lock and after a hole, as it has the greater
//! alignment. Beside the lock, the compiler arranges it together with the other fields of their
//! owner, and there are two of each in every context.

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
};

use kernel::sync::SpinLockGuard;

/// A value that is reached with a lock held that is not in here.
///
/// # Invariants
///
/// Who has a reference to the value holds that lock, always the same one.
pub(super) struct Beside<T>(UnsafeCell<T>);

// SAFETY: By the type invariants one thread at a time reaches the value.
unsafe impl<T: Send> Sync for Beside<T> {}

impl<T> Beside<T> {
    /// A value that nobody has reached yet.
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value, for as long as its lock is held.
    ///
    /// # Safety
    ///
    /// `lock` is a guard of the same lock in each call for this value.
    #[inline(always)]
    pub(super) unsafe fn under<'a>(&'a self, lock: SpinLockGuard<'a, ()>) -> Locked<'a, T> {
        // INVARIANT: By the safety requirements.
        Locked {
            value: &self.0,
            _lock: lock,
        }
    }
}

/// A value whose lock is held. Dropping it unlocks.
///
/// # Invariants
///
/// The lock is that of the value.
#[must_use = "the lock is dropped with it"]
pub(super) struct Locked<'a, T> {
    value: &'a UnsafeCell<T>,
    _lock: SpinLockGuard<'a, ()>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants nobody else reaches the value.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and this guard is borrowed mutably.
        unsafe { &mut *self.value.get() }
    }
}
