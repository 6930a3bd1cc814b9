// SPDX-License-Identifier: GPL-2.0-only

//! Folios on their way into a page table.
//!
//! A fresh folio holds whatever its last user left there. Only filling it makes an
//! [`UptodateFolio`] of a [`NewFolio`], so stale memory cannot leak to user space. Private memory
//! maps that as it is; a file has to take it first, see [`page_cache`](super::page_cache). What is
//! not mapped is undone by its drop, whatever went wrong.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    mm::virt::VmaRef,
    prelude::*,
    uaccess::UserPtr, //
};

use super::memory::PageVma;

/// A reference to a folio.
///
/// # Invariants
///
/// Owns one reference.
#[must_use = "dropping it gives the reference back"]
pub(crate) struct Folio(NonNull<bindings::folio>);

impl Folio {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// Something keeps a reference during the call.
    pub(super) unsafe fn get(folio: NonNull<bindings::folio>) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::uffd_folio_get(folio.as_ptr()) };
        // INVARIANT: Just taken.
        Self(folio)
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// The caller owns a reference to `folio`, and gives it away.
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(folio)
    }

    /// The folio, still owned.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    /// Passes the reference to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::folio {
        ManuallyDrop::new(self).as_ptr()
    }

    /// Its first page.
    pub(super) fn first_page(&self) -> *mut bindings::page {
        // CAST: A folio begins with its first page.
        self.as_ptr().cast()
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give back.
        unsafe { bindings::uffd_folio_put(self.as_ptr()) };
    }
}

/// A folio that is referenced and locked. Dropping it unlocks.
///
/// # Invariants
///
/// The folio's lock is held, and is this value's to give back.
#[must_use = "dropping it unlocks the folio"]
pub(crate) struct LockedFolio(Folio);

impl LockedFolio {
    /// Takes over the lock of `folio`.
    ///
    /// # Safety
    ///
    /// The caller holds it, and gives it away.
    pub(super) unsafe fn from_locked(folio: Folio) -> Self {
        // INVARIANT: By the safety requirements.
        Self(folio)
    }

    /// The folio, still locked.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    /// Whether it is `folio`.
    pub(super) fn is(&self, folio: NonNull<bindings::folio>) -> bool {
        self.0 .0 == folio
    }

    /// Unlocks it.
    pub(super) fn into_unlocked(self) -> Folio {
        let folio = self.into_raw();
        // SAFETY: The lock was held, and is given back once.
        unsafe { bindings::folio_unlock(folio.as_ptr()) };
        // INVARIANT: The reference of `self`.
        Folio(folio)
    }

    /// Passes the reference and the lock to the caller.
    pub(super) fn into_raw(self) -> NonNull<bindings::folio> {
        ManuallyDrop::new(self).0 .0
    }
}

impl Drop for LockedFolio {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held; the reference outlives it.
        unsafe { bindings::folio_unlock(self.as_ptr()) };
    }
}

/// A folio that may be mapped. Dropping it undoes what made it so.
///
/// # Safety
///
/// The value owns a reference to `folio`, whose contents are what user space shall see, and `page`
/// is one of its pages. `is_writable_in` is false if a write would reach memory that is not the
/// VMA's to change. `enter_rmap` accounts for exactly one mapping of the page.
pub(crate) unsafe trait MapFolio {
    /// The folio.
    fn folio(&self) -> *mut bindings::folio;

    /// The page to map.
    fn page(&self) -> *mut bindings::page;

    /// Whether `vma`, if it allows writing at all, may write to this folio.
    fn is_writable_in(&self, vma: &PageVma<'_>) -> bool;

    /// Counts a mapping of the page at `address` in `vma`.
    ///
    /// # Safety
    ///
    /// `vma` and `address` are those that the folio was made or found for. An entry that maps the
    /// page there is set under the lock of its table, which the caller holds.
    unsafe fn enter_rmap(&self, vma: &PageVma<'_>, address: usize);

    /// Passes the reference to the page table, whose lock is held.
    fn into_mapped(self);
}

/// A folio that nobody else knows of, charged to the address space it is meant for, with undefined
/// contents.
///
/// # Invariants
///
/// It has one page and one reference, and is not in the page cache.
#[must_use]
pub(crate) struct NewFolio(Folio);

/// A folio that nobody else knows of, filled and marked so.
///
/// # Invariants
///
/// Those of [`NewFolio`].
#[must_use = "dropping it frees what was filled"]
pub(crate) struct UptodateFolio(Folio);

impl NewFolio {
    /// Allocates a folio for `address` in `vma` (`anon_alloc_folio`). May sleep.
    ///
    /// The address only picks the node, by the VMA's memory policy.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory, or the memory cgroup is full.
    pub(super) fn alloc_anon(vma: &VmaRef, address: usize) -> Result<Self> {
        // SAFETY: The VMA is stable while `vma` is borrowed.
        let folio = unsafe { bindings::uffd_vma_alloc_folio(vma.as_ptr(), address) };
        let folio = NonNull::new(folio).ok_or(ENOMEM)?;
        // SAFETY: Allocated with one reference, which is ours.
        let folio = unsafe { Folio::from_raw(folio) };
        // SAFETY: The folio is new, hence not charged yet, and the VMA keeps its address space.
        let failed = unsafe { bindings::uffd_mem_cgroup_charge(folio.as_ptr(), vma.mm().as_raw()) };
        if failed != 0 {
            return Err(ENOMEM);
        }
        // INVARIANT: Allocated as one page, a moment ago.
        Ok(Self(folio))
    }

    /// Takes over a folio that the memory of a VMA allocated.
    ///
    /// # Safety
    ///
    /// `folio` is as the type invariants say, and the caller gives its reference away.
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // SAFETY: By the safety requirements.
        // INVARIANT: Likewise.
        Self(unsafe { Folio::from_raw(folio) })
    }

    /// Fills it with the page at `src`, in the current process, if that is resident; hands the
    /// empty folio back if it is not, or not readable. Never takes a fault, so locks may be held.
    pub(crate) fn copy_from_user_nofault(self, src: UserPtr) -> Result<UptodateFolio, Self> {
        let _disabled = PageFaultsDisabled::new();
        if self.copy(src) {
            Ok(self.uptodate())
        } else {
            Err(self)
        }
    }

    /// Fills it with the page at `src`, in the current process.
    ///
    /// Takes faults, which may take the mmap lock and sleep until some user space resolves them:
    /// the caller holds no lock at all.
    ///
    /// # Errors
    ///
    /// `EFAULT`: a byte cannot be read.
    pub(crate) fn copy_from_user(self, src: UserPtr) -> Result<UptodateFolio> {
        if self.copy(src) {
            Ok(self.uptodate())
        } else {
            Err(EFAULT)
        }
    }

    /// Fills it with zeros, for mapping at `address`.
    pub(crate) fn zero(self, address: usize) -> UptodateFolio {
        // SAFETY: The folio is ours alone; the address matters to caches that go by it.
        unsafe { bindings::uffd_clear_user_folio(self.0.as_ptr(), address) };
        self.uptodate()
    }

    /// Copies one page from `src`; false leaves undefined contents.
    fn copy(&self, src: UserPtr) -> bool {
        let folio = self.0.as_ptr();
        // SAFETY: The folio is ours alone and one page long. The mapping is undone on this thread,
        // after any that the copy makes.
        let missed = unsafe {
            let to = bindings::uffd_kmap_local_folio(folio);
            let missed = bindings::uffd_copy_page_from_user(to, src.as_const_ptr());
            bindings::kunmap_local(to);
            missed
        };
        if missed != 0 {
            return false;
        }
        // SAFETY: The folio is ours.
        unsafe { bindings::uffd_flush_dcache_folio(folio) };
        true
    }

    /// Marks it filled. The write barrier inside comes between the contents and the page table
    /// entry that makes them reachable; its pair is the address dependency of whoever walks there.
    fn uptodate(self) -> UptodateFolio {
        // SAFETY: The folio is ours alone.
        unsafe { bindings::uffd_folio_mark_uptodate(self.0.as_ptr()) };
        UptodateFolio(self.0)
    }
}

impl UptodateFolio {
    /// The folio, to make something else of it.
    pub(super) fn into_folio(self) -> Folio {
        self.0
    }
}

// SAFETY: The folio was filled and has one page, which nobody else can see, so it is the VMA's to
// write. It is entered as an anonymous one.
unsafe impl MapFolio for UptodateFolio {
    fn folio(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    fn page(&self) -> *mut bindings::page {
        self.0.first_page()
    }

    fn is_writable_in(&self, _vma: &PageVma<'_>) -> bool {
        true
    }

    unsafe fn enter_rmap(&self, vma: &PageVma<'_>, address: usize) {
        let folio = self.0.as_ptr();
        // SAFETY: The folio is new, uptodate and nobody else's. By the safety requirements the VMA
        // covers the address and takes such folios as they are, so it is private and has an
        // `anon_vma`.
        unsafe {
            bindings::folio_add_new_anon_rmap(
                folio,
                vma.as_ptr(),
                address,
                bindings::RMAP_EXCLUSIVE,
            );
            bindings::folio_add_lru_vma(folio, vma.as_ptr());
        }
    }

    fn into_mapped(self) {
        let _page_tables = self.0.into_raw();
    }
}

/// While it lives, user accesses of the current thread fail where they would fault.
struct PageFaultsDisabled(kernel::types::NotThreadSafe);

impl PageFaultsDisabled {
    fn new() -> Self {
        // SAFETY: Nests, and `drop` undoes it on this thread.
        unsafe { bindings::uffd_pagefault_disable() };
        Self(kernel::types::NotThreadSafe)
    }
}

impl Drop for PageFaultsDisabled {
    fn drop(&mut self) {
        // SAFETY: Undoes `new`.
        unsafe { bindings::uffd_pagefault_enable() };
    }
}
