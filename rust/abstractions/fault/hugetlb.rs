// SPDX-License-Identifier: GPL-2.0-only

//! Faults on hugetlbfs.

use kernel::bindings;

use super::super::hugetlb::locks::TablesLock;
use crate::pure::fault::Entry;

/// Looks at the entry of `address`, which lies in the VMA, without the lock of its page table
/// (the look of `userfaultfd_huge_must_wait`). Does not sleep. The answer may be old at once.
///
/// # Safety
///
/// `address` lies in the VMA.
pub(super) unsafe fn lookup(tables: &TablesLock, address: usize) -> Entry {
    let vma = tables.vma().as_ptr();
    // SAFETY: The lock keeps every table on the way; the address lies in the VMA.
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
        } else if bindings::uffd_pte_is_wp_marker(pte) {
            Entry::Marker
        } else if !bindings::uffd_pte_present(pte) {
            Entry::NotPresent
        } else {
            Entry::Present {
                write: bindings::uffd_huge_pte_write(pte),
                protected: bindings::uffd_pte_protnone(pte) && bindings::uffd_huge_pte_uffd(pte),
            }
        }
    }
}
