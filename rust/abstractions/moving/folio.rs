// SPDX-License-Identifier: GPL-2.0-only

//! What a move does with the folio of the source: locks it, splits it.

use core::{
    marker::PhantomData,
    mem::forget,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*, //
};

use super::Tables;
use crate::abstractions::folio::{
    Folio,
    LockedFolio, //
};

impl Folio {
    /// Whether it has more than one page.
    #[cfg(CONFIG_SWAP)]
    pub(super) fn is_large(&self) -> bool {
        // SAFETY: By the type invariants the folio exists.
        unsafe { bindings::uffd_folio_test_large(self.as_ptr()) }
    }

    /// Locks it if nobody has.
    #[cfg(CONFIG_SWAP)]
    pub(super) fn try_lock(self) -> Result<LockedFolio, Self> {
        // SAFETY: By the type invariants the folio exists.
        if unsafe { bindings::uffd_folio_trylock(self.as_ptr()) } {
            // SAFETY: Just locked.
            Ok(unsafe { LockedFolio::from_locked(self) })
        } else {
            Err(self)
        }
    }

    /// Locks it. May sleep, so no page table of the move is mapped.
    ///
    /// The reference is held all the while. Do not wait for a large folio: two threads that do, and
    /// fail to split it because of each other's reference, keep each other at it.
    pub(crate) fn lock(self, _unmapped: &mut Tables<'_>) -> LockedFolio {
        // SAFETY: By the type invariants the folio exists.
        unsafe { bindings::uffd_folio_lock(self.as_ptr()) };
        // SAFETY: Just locked.
        unsafe { LockedFolio::from_locked(self) }
    }
}

impl LockedFolio {
    /// Takes a reference to a folio whose lock is handed over.
    pub(super) fn from_lock(lock: FolioLock<'_>) -> Self {
        // SAFETY: The folio exists while `lock` does.
        let folio = unsafe { Folio::get(lock.as_ptr()) };
        forget(lock);
        // SAFETY: `lock` held it, and does not give it back.
        unsafe { Self::from_locked(folio) }
    }

    /// The lock alone, for a folio that is kept by something else.
    ///
    /// # Safety
    ///
    /// Something keeps a reference for `'k`.
    pub(super) unsafe fn into_lock<'k>(self) -> FolioLock<'k> {
        let folio = self.into_raw();
        // SAFETY: The reference of `self`, which is not the last one.
        unsafe { bindings::uffd_folio_put(folio.as_ptr()) };
        // INVARIANT: `self` held the lock, and does not give it back.
        FolioLock {
            folio,
            _kept: PhantomData,
        }
    }

    /// Splits it into folios of one page. May sleep, so no page table of the move is mapped.
    ///
    /// # Errors
    ///
    /// `EBUSY`: somebody has a reference, which may be for good. Others as `split_folio` has them.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(crate) fn split(self, _unmapped: &mut Tables<'_>) -> Result {
        // SAFETY: By the type invariants the folio is referenced and locked.
        match kernel::error::to_result(unsafe { bindings::uffd_split_folio(self.as_ptr()) }) {
            Err(error) if error == EAGAIN => Err(EBUSY),
            result => result,
        }
    }

    /// There are no large folios to split.
    ///
    /// # Errors
    ///
    /// `EBUSY`.
    #[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
    pub(crate) fn split(self, _unmapped: &mut Tables<'_>) -> Result {
        Err(EBUSY)
    }
}

/// The lock of a folio that a locked page table entry keeps. Dropping it unlocks.
///
/// # Invariants
///
/// The folio's lock is held, and is this value's to give back. Something keeps a reference for
/// `'k`.
#[must_use = "dropping it unlocks the folio"]
pub(super) struct FolioLock<'k> {
    folio: NonNull<bindings::folio>,
    _kept: PhantomData<&'k ()>,
}

impl FolioLock<'_> {
    /// Locks `folio` if nobody has.
    ///
    /// # Safety
    ///
    /// Something keeps a reference for the lifetime of the result.
    #[inline]
    pub(super) unsafe fn try_new(folio: NonNull<bindings::folio>) -> Option<Self> {
        // SAFETY: By the safety requirements.
        let locked = unsafe { bindings::uffd_folio_trylock(folio.as_ptr()) };
        // INVARIANT: Just locked.
        locked.then(|| Self {
            folio,
            _kept: PhantomData,
        })
    }

    /// The folio.
    pub(super) fn as_ptr(&self) -> NonNull<bindings::folio> {
        self.folio
    }

    /// Whether a device or the kernel may be writing to it behind the page tables.
    #[inline]
    pub(super) fn may_be_pinned(&self) -> bool {
        // SAFETY: By the type invariants the folio exists.
        unsafe { bindings::uffd_folio_maybe_dma_pinned(self.folio.as_ptr()) }
    }
}

impl Drop for FolioLock<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::folio_unlock(self.folio.as_ptr()) };
    }
}
