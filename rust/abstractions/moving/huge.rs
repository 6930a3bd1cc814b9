// SPDX-License-Identifier: GPL-2.0-only

//! A huge page in the source.

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

use super::{
    PmdPair,
    PmdValue, //
};

/// A source whose PMD maps a huge page, or will when its migration is over. Dropping it unlocks.
///
/// # Invariants
///
/// `ptl`, the lock of the source's PMD, is held by the current thread.
#[must_use = "dropping it unlocks the PMD"]
pub(crate) struct HugeSource<'v> {
    pmds: PmdPair<'v>,
    ptl: *mut bindings::spinlock_t,
    _nts: NotThreadSafe,
}

impl<'v> PmdPair<'v> {
    /// Locks the PMD of the source if a huge page is there, or gives the PMDs back.
    pub(crate) fn lock_huge(self) -> Result<HugeSource<'v>, Self> {
        // SAFETY: By the type invariants.
        let ptl = unsafe {
            bindings::uffd_pmd_trans_huge_lock(self.src.as_ptr(), self.place.vmas().src())
        };
        if ptl.is_null() {
            return Err(self);
        }
        // INVARIANT: Just locked.
        Ok(HugeSource {
            pmds: self,
            ptl,
            _nts: NotThreadSafe,
        })
    }
}

impl HugeSource<'_> {
    /// Whether nothing is below the PMD of the destination.
    pub(crate) fn dst_is_none(&self) -> bool {
        self.pmds.dst_is_none()
    }

    /// Whether the page belongs to others as well. One that is being migrated has to be looked at
    /// when that is over.
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: By the type invariants; the page is kept by its entry, which is locked.
        unsafe {
            let pmd = PmdValue::read(self.pmds.src);
            pmd.is_present()
                && !bindings::uffd_is_huge_zero_pmd(pmd.raw())
                && !bindings::uffd_page_anon_exclusive(bindings::uffd_pmd_page(pmd.raw()))
        }
    }

    /// Unlocks and puts a table of PTEs in the place of the huge page. May sleep.
    ///
    /// The folio stays in one piece. Somebody else may have done it before.
    pub(crate) fn split(self) {
        let (pmd, place) = (self.pmds.src, self.pmds.place);
        drop(self);
        // SAFETY: The PMD is that of an address in a locked VMA, and it is not locked. The function
        // looks at it under its lock.
        unsafe {
            bindings::__split_huge_pmd(place.vmas().src(), pmd.as_ptr(), place.part().src, false);
        }
    }

    /// Unlocks and moves the huge page as it is. May sleep.
    ///
    /// Both addresses are aligned to its size, and nothing is below the PMD of the destination.
    ///
    /// # Errors
    ///
    /// - `EAGAIN`: something has changed, or was waited for;
    /// - `EBUSY`: the page belongs to others as well, or is pinned;
    /// - `ENOENT`: it is no page of ordinary memory.
    pub(crate) fn relocate(self) -> Result {
        let this = ManuallyDrop::new(self);
        let pmds = &this.pmds;
        let (vmas, part) = (pmds.place.vmas(), pmds.place.part());
        // SAFETY: By the type invariants. Both VMAs are locked, and may exchange pages; the
        // function gives the lock back in any case.
        to_result(unsafe {
            bindings::move_pages_huge_pmd(
                vmas.mm(),
                pmds.dst.as_ptr(),
                pmds.src.as_ptr(),
                pmds.dst_seen.raw(),
                vmas.dst(),
                vmas.src(),
                part.dst,
                part.src,
            )
        })
    }
}

impl Drop for HugeSource<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::uffd_spin_unlock(self.ptl) };
    }
}
