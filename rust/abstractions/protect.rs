// SPDX-License-Identifier: GPL-2.0-only

//! Changes of the protection of pages, and the TLB flush that goes with them.
//!
//! Processors may go on writing to a page through an old TLB entry after its page table entry was
//! protected. Whoever asked for protection must not hear of it before that has ended: what such a
//! write changes would be lost. Nor may the mmap lock be dropped before, because who takes it next
//! believes the page tables. So here a gather lives inside of one call, and what it is given
//! borrows from the lock.

use core::{
    ffi::c_void,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    mm::MmWithUser,
    prelude::*, //
};

use super::{
    mmap::Vmas,
    vma::{
        MmapVma,
        VmaView, //
    }, //
};
use crate::pure::{
    protect::{
        Change,
        Protection, //
    },
    range::Range, //
};

/// Collects which TLB entries are stale (`struct mmu_gather`).
///
/// # Invariants
///
/// `raw` is a gather that C has set up and will finish.
struct Gather {
    raw: NonNull<bindings::mmu_gather>,
}

impl Gather {
    /// Runs `body` with a gather for `mm`. Afterwards no TLB has what the body made stale. May
    /// sleep.
    // One call, with all that it works on in one place.
    #[inline(always)]
    fn run<F: FnOnce(&mut Self)>(mm: &MmWithUser, body: F) {
        let mut body = ManuallyDrop::new(body);
        // SAFETY: The address space is in use. `call` gets the body it was made for, once.
        unsafe {
            bindings::uffd_glue_gather(mm.as_raw(), Some(Self::call::<F>), (&raw mut body).cast())
        };
    }

    /// What C calls with the gather.
    ///
    /// # Safety
    ///
    /// `raw` is a gather that C has set up, and `body` points at an `F` that nobody else uses, nor
    /// will.
    unsafe extern "C" fn call<F: FnOnce(&mut Self)>(
        raw: *mut bindings::mmu_gather,
        body: *mut c_void,
    ) {
        // INVARIANT: As the caller says; C finishes it after this returns.
        // SAFETY: By the safety requirements.
        let mut gather = unsafe {
            Self {
                raw: NonNull::new_unchecked(raw),
            }
        };
        // SAFETY: By the safety requirements.
        unsafe { body.cast::<F>().read()(&mut gather) };
    }

    /// Changes the part of `range` that lies in `vma`, of the gather's address space. Returns the
    /// number of pages that changed. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for page tables, which protection of absent pages takes.
    ///
    /// # Safety
    ///
    /// The VMA was admitted to the change, under the mmap lock that it was found under.
    #[inline(always)]
    unsafe fn change(&mut self, vma: MmapVma<'_>, range: &Range, change: Change) -> Result<usize> {
        let Some(part) = range.clamp(vma.start(), vma.end()) else {
            return Ok(0);
        };
        // SAFETY: By the type invariants the gather is set up. The mmap lock is held, so the VMA
        // and its tables stay. The part lies in it, is not empty, and ends between pages: so do VMAs,
        // and so does the range, or the VMA would not have been admitted.
        let pages = unsafe {
            bindings::change_protection(
                self.raw.as_ptr(),
                vma.as_ptr(),
                part.start(),
                part.end(),
                flags(change, *vma),
            )
        };
        defect!(NoFlush, lab::memory::forget_flush(self.raw));
        usize::try_from(pages).map_err(|_| Error::from_errno(pages as i32))
    }
}

/// The change as `change_protection` wants it for `vma`.
#[inline(always)]
fn flags(change: Change, vma: VmaView<'_>) -> usize {
    let flag = match change {
        Change::Protect(Protection::Write) => bindings::MM_CP_UFFD_WP,
        Change::Protect(Protection::ReadWrite) => bindings::MM_CP_UFFD_RWP,
        Change::Resolve(Protection::Write) => bindings::MM_CP_UFFD_WP_RESOLVE,
        Change::Resolve(Protection::ReadWrite) => bindings::MM_CP_UFFD_RWP_RESOLVE,
    };
    // New entries of a protected VMA are read-only. Those that get their access back need not take
    // another fault for the write bit, where the VMA may be written at all.
    // SAFETY: The VMA is valid and nobody changes it.
    let upgrade = matches!(change, Change::Resolve(_))
        && unsafe { bindings::uffd_vma_wants_write_upgrade(vma.as_ptr()) };
    if upgrade {
        (flag | bindings::MM_CP_TRY_CHANGE_WRITABLE) as usize
    } else {
        flag as usize
    }
}

impl MmapVma<'_> {
    /// Whether the part of `range` that lies in the VMA may change; see [`Protection::admit`].
    #[inline(always)]
    fn admit(self, protection: Protection, range: &Range) -> Result {
        protection
            .admit(self.modes(), self.page_size(), range)
            .map_err(Error::from)
    }

    /// Changes the part of `range` that lies in the VMA (`uffd_wp_range`). Returns the number of
    /// pages that changed. May sleep.
    ///
    /// # Errors
    ///
    /// - those of [`Protection::admit`];
    /// - `ENOMEM`: no memory for page tables. Pages below that one have changed.
    pub(crate) fn change_protection(self, range: &Range, change: Change) -> Result<usize> {
        self.admit(change.protection(), range)?;
        let mut result = Ok(0);
        Gather::run(self.mm(), |gather| {
            // SAFETY: Just admitted.
            result = unsafe { gather.change(self, range, change) };
        });
        result
    }
}

impl Vmas<'_> {
    /// Changes what lies in the range, VMA by VMA. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: no VMA;
    /// - those of [`MmapVma::change_protection`], which end it. VMAs below have changed, unless a VMA
    ///   was not admitted and the protection [is all or nothing](Protection::is_all_or_nothing).
    #[inline(always)]
    pub(crate) fn change_protection(mut self, change: Change) -> Result {
        if change.protection().is_all_or_nothing() {
            let range = *self.range();
            for vma in self.by_ref() {
                vma.admit(change.protection(), &range)?;
            }
            self.restart();
        }
        let mut result = Err(ENOENT);
        let (vmas, outcome) = (&mut self, &mut result);
        Gather::run(vmas.mm(), move |gather| {
            let (protection, range) = (change.protection(), *vmas.range());
            let admitted = protection.is_all_or_nothing();
            for vma in vmas {
                let mut result = if admitted {
                    Ok(())
                } else {
                    vma.admit(protection, &range)
                };
                if result.is_ok() {
                    // SAFETY: Admitted a moment ago, or in the first round.
                    result = unsafe { gather.change(vma, &range, change) }.map(|_| ());
                }
                *outcome = result;
                if result.is_err() {
                    break;
                }
            }
        });
        result
    }
}
