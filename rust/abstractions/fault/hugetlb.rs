// SPDX-License-Identifier: GPL-2.0-only

//! Faults on hugetlbfs.
//!
//! Processes that map the same huge pages may share the page tables for them, and then the lock of
//! a VMA says nothing about tables that another process gives up. A lock of hugetlbfs does.

use core::ptr::NonNull;

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

use crate::pure::fault::Entry;

/// The lock that keeps the page tables of a hugetlbfs VMA in place, held for reading until the
/// value is dropped.
///
/// # Invariants
///
/// `vma` is a hugetlbfs VMA that does not change, and the current thread holds its page table lock.
#[must_use = "dropping it unlocks the page tables"]
pub(super) struct TablesLock {
    vma: NonNull<bindings::vm_area_struct>,
    _nts: NotThreadSafe,
}

impl TablesLock {
    /// Takes the lock of `vma` (`hugetlb_vma_lock_read`), which may sleep. `None`: it is not of
    /// hugetlbfs, and has no such lock.
    ///
    /// # Safety
    ///
    /// Until the value is dropped, the VMA's lock or the mmap lock is held, for reading at least.
    pub(super) unsafe fn take(vma: NonNull<bindings::vm_area_struct>) -> Option<Self> {
        // SAFETY: By the safety requirements the VMA is valid and stays so.
        unsafe {
            if !bindings::uffd_vma_is_hugetlb(vma.as_ptr()) {
                return None;
            }
            bindings::hugetlb_vma_lock_read(vma.as_ptr());
        }
        // INVARIANT: Just checked, and taken.
        Some(Self {
            vma,
            _nts: NotThreadSafe,
        })
    }

    /// Looks at the entry of `address`, which lies in the VMA, without the lock of its page table
    /// (the look of `userfaultfd_huge_must_wait`). Does not sleep. The answer may be old at once.
    ///
    /// # Safety
    ///
    /// `address` lies in the VMA.
    pub(super) unsafe fn lookup(&self, address: usize) -> Entry {
        let vma = self.vma.as_ptr();
        // SAFETY: By the type invariants no table on the way is freed; the address lies in the VMA.
        let ptep = unsafe { bindings::uffd_hugetlb_walk(vma, address) };
        if ptep.is_null() {
            return Entry::None;
        }
        // SAFETY: The entry was found, and its table stays.
        let pte = unsafe { bindings::uffd_huge_ptep_get((*vma).vm_mm, address, ptep) };
        // SAFETY: Work on a value. What a swap entry has in place of the last three bits is not
        // looked at.
        unsafe {
            if bindings::uffd_huge_pte_none(pte) {
                Entry::None
            } else if bindings::uffd_pte_is_uffd_marker(pte) {
                Entry::Marker
            } else if !bindings::uffd_pte_present(pte) {
                Entry::NotPresent
            } else {
                Entry::Present {
                    write: bindings::uffd_huge_pte_write(pte),
                    protected: bindings::uffd_pte_protnone(pte)
                        && bindings::uffd_huge_pte_uffd(pte),
                }
            }
        }
    }
}

impl Drop for TablesLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock, and the VMA is as it was.
        unsafe { bindings::hugetlb_vma_unlock_read(self.vma.as_ptr()) };
    }
}
