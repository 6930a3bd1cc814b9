// SPDX-License-Identifier: GPL-2.0-only

//! The locks of two page tables at once.

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

/// The locks of two page tables, which may be one lock. Dropping it unlocks; nothing may sleep
/// until then.
///
/// # Invariants
///
/// Both locks are initialised, and held by the current thread.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct TableLocks {
    first: *mut bindings::spinlock_t,
    second: *mut bindings::spinlock_t,
    _nts: NotThreadSafe,
}

impl TableLocks {
    /// Takes both, the one at the lower address first: everybody who takes two does it in this
    /// order (`double_pt_lock`).
    ///
    /// # Safety
    ///
    /// Both are locks of page tables that exist as long as the value, and the current thread holds
    /// neither.
    #[inline]
    pub(crate) unsafe fn lock(a: *mut bindings::spinlock_t, b: *mut bindings::spinlock_t) -> Self {
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        // SAFETY: By the safety requirements.
        unsafe {
            bindings::uffd_spin_lock(first);
            if first != second {
                bindings::uffd_spin_lock_nested(second);
            }
        }
        // INVARIANT: Just taken.
        Self {
            first,
            second,
            _nts: NotThreadSafe,
        }
    }

    /// Takes over locks that were taken by [`TableLocks::lock`] and forgotten.
    ///
    /// # Safety
    ///
    /// The current thread holds both, and nobody else gives them back.
    pub(crate) unsafe fn adopt(
        first: *mut bindings::spinlock_t,
        second: *mut bindings::spinlock_t,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            first,
            second,
            _nts: NotThreadSafe,
        }
    }
}

impl Drop for TableLocks {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::uffd_spin_unlock(self.first);
            if self.first != self.second {
                bindings::uffd_spin_unlock(self.second);
            }
        }
    }
}
