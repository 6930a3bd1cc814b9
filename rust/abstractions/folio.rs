// SPDX-License-Identifier: GPL-2.0-only

//! Folios on their way into a page table.
//!
//! A fresh folio holds whatever its last user left there. Only filling it makes an
//! [`UptodateFolio`] of a [`NewFolio`], and only that can be mapped, so stale memory cannot leak to
//! user space.

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

/// A folio of one page.
///
/// # Invariants
///
/// Owns one reference, and the folio has one page.
struct Folio(NonNull<bindings::folio>);

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give back.
        unsafe { bindings::uffd_folio_put(self.0.as_ptr()) };
    }
}

/// A folio that nobody else knows of, charged to the address space it is meant for, with undefined
/// contents.
#[must_use]
pub(crate) struct NewFolio(Folio);

/// A folio that nobody else knows of, filled and marked so.
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
    pub(crate) fn alloc(vma: &VmaRef, address: usize) -> Result<Self> {
        // SAFETY: The VMA is stable while `vma` is borrowed.
        let folio = unsafe { bindings::uffd_vma_alloc_folio(vma.as_ptr(), address) };
        // INVARIANT: Allocated with one reference, as one page.
        let folio = Folio(NonNull::new(folio).ok_or(ENOMEM)?);
        // SAFETY: The folio is new, hence not charged yet, and the VMA keeps its address space.
        let failed =
            unsafe { bindings::uffd_mem_cgroup_charge(folio.0.as_ptr(), vma.mm().as_raw()) };
        if failed != 0 {
            return Err(ENOMEM);
        }
        Ok(Self(folio))
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
        unsafe { bindings::uffd_clear_user_folio(self.0 .0.as_ptr(), address) };
        self.uptodate()
    }

    /// Copies one page from `src`; false leaves undefined contents.
    fn copy(&self, src: UserPtr) -> bool {
        let folio = self.0 .0.as_ptr();
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
        unsafe { bindings::uffd_folio_mark_uptodate(self.0 .0.as_ptr()) };
        UptodateFolio(self.0)
    }
}

impl UptodateFolio {
    /// Passes the reference to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::folio {
        ManuallyDrop::new(self.0).0.as_ptr()
    }

    /// The folio, still owned.
    pub(super) fn as_ptr(&self) -> *mut bindings::folio {
        self.0 .0.as_ptr()
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
