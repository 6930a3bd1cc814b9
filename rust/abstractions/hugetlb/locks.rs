// SPDX-License-Identifier: GPL-2.0-only

//! The locks of hugetlbfs.
//!
//! Processes that map the same huge pages may share the page tables for them, and then the lock of
//! a VMA says nothing about tables that another process gives up. [`TablesLock`] does.

use core::ptr::NonNull;

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

use super::HugetlbVma;

/// The lock that keeps the page tables of a hugetlbfs VMA in place, held for reading until the
/// value is dropped.
///
/// # Invariants
///
/// `vma` is a hugetlbfs VMA that does not change, and the current thread holds its page table lock.
#[must_use = "dropping it unlocks the page tables"]
pub(in crate::abstractions) struct TablesLock {
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
    pub(in crate::abstractions) unsafe fn take(
        vma: NonNull<bindings::vm_area_struct>,
    ) -> Option<Self> {
        // SAFETY: By the safety requirements the VMA is valid and stays so.
        unsafe { bindings::uffd_vma_is_hugetlb(vma.as_ptr()).then(|| Self::lock(vma)) }
    }

    /// Takes the lock of `vma`, which may sleep.
    ///
    /// # Safety
    ///
    /// As for [`take`](Self::take), and the VMA is of hugetlbfs.
    pub(in crate::abstractions) unsafe fn lock(vma: NonNull<bindings::vm_area_struct>) -> Self {
        // SAFETY: By the safety requirements the VMA is valid and stays so.
        unsafe { bindings::hugetlb_vma_lock_read(vma.as_ptr()) };
        // INVARIANT: Just taken.
        Self {
            vma,
            _nts: NotThreadSafe,
        }
    }

    /// The VMA.
    pub(in crate::abstractions) fn vma(&self) -> NonNull<bindings::vm_area_struct> {
        self.vma
    }
}

impl Drop for TablesLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock, and the VMA is as it was.
        unsafe { bindings::hugetlb_vma_unlock_read(self.vma.as_ptr()) };
    }
}

/// The mutex that keeps other fills and faults from the same page of a file.
///
/// # Invariants
///
/// Held by the current thread.
#[must_use = "dropping it unlocks the page"]
pub(super) struct FaultMutex {
    mutex: NonNull<bindings::mutex>,
    _nts: NotThreadSafe,
}

impl FaultMutex {
    /// Locks it for the page at `address`, which lies in `vma`. May sleep.
    pub(super) fn lock(vma: &HugetlbVma<'_>, address: usize) -> Self {
        // SAFETY: The VMA is locked, hugetlbfs's, and holds a reference to its file. The hash is
        // that of an element of the table, which was made at boot.
        let mutex = unsafe {
            let index = bindings::uffd_hugetlb_linear_page_index(vma.as_ptr(), address);
            let mapping = (*(*vma.as_ptr()).vm_file).f_mapping;
            let hash = bindings::hugetlb_fault_mutex_hash(mapping, index);
            let table = NonNull::new_unchecked(bindings::hugetlb_fault_mutex_table);
            let mutex = table.add(hash as usize);
            bindings::mutex_lock(mutex.as_ptr());
            mutex
        };
        // INVARIANT: Just locked.
        Self {
            mutex,
            _nts: NotThreadSafe,
        }
    }
}

impl Drop for FaultMutex {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mutex_unlock(self.mutex.as_ptr()) };
    }
}
