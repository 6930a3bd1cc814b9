// SPDX-License-Identifier: GPL-2.0-only

//! Page tables of user memory: looking at an entry, and filling a vacant one ([`entry`]).
//!
//! Whoever holds the read lock of a VMA, or the mmap lock, keeps the tables above the VMA's
//! addresses from being freed, down to the one of the PMDs. The tables below come and go: a huge
//! page may take the place of one at any time.

use core::ptr::NonNull;

use kernel::bindings;

use crate::pure::fault::Entry;

pub(crate) mod entry;
#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// One look at a PMD.
#[derive(Clone, Copy)]
pub(super) struct PmdValue(bindings::pmd_t);

impl PmdValue {
    /// A look that somebody else took.
    pub(super) fn new(value: bindings::pmd_t) -> Self {
        Self(value)
    }

    /// The value as C has it.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(super) fn raw(self) -> bindings::pmd_t {
        self.0
    }

    /// Whether both looks saw the same.
    pub(super) fn is_same(self, other: Self) -> bool {
        // SAFETY: Works on values.
        unsafe { bindings::uffd_pmd_same(self.0, other.0) }
    }

    /// Reads `pmd` without its lock.
    ///
    /// # Safety
    ///
    /// `pmd` lies in a table that is not freed meanwhile.
    pub(super) unsafe fn read(pmd: NonNull<bindings::pmd_t>) -> Self {
        // SAFETY: By the safety requirements.
        Self(unsafe { bindings::uffd_pmdp_get_lockless(pmd.as_ptr()) })
    }

    pub(super) fn is_none(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_none(self.0) }
    }

    pub(super) fn is_present(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_present(self.0) }
    }

    pub(super) fn is_leaf(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_leaf(self.0) }
    }

    fn is_bad(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_bad(self.0) }
    }

    fn is_trans_huge(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_trans_huge(self.0) }
    }

    /// The entry of a huge page.
    fn huge_entry(self) -> Entry {
        // SAFETY: Works on a value, which is present.
        unsafe {
            Entry::Present {
                write: bindings::uffd_pmd_write(self.0),
                protected: bindings::uffd_pmd_protnone(self.0) && bindings::uffd_pmd_uffd(self.0),
            }
        }
    }
}

/// One look at a PTE.
#[derive(Clone, Copy)]
pub(crate) struct Pte(bindings::pte_t);

impl Pte {
    /// An entry as C has it.
    pub(super) fn new(pte: bindings::pte_t) -> Self {
        Self(pte)
    }

    /// Reads `pte`.
    ///
    /// # Safety
    ///
    /// `pte` is mapped.
    pub(super) unsafe fn read(pte: NonNull<bindings::pte_t>) -> Self {
        // SAFETY: By the safety requirements.
        Self(unsafe { bindings::uffd_ptep_get(pte.as_ptr()) })
    }

    /// The entry as C has it.
    pub(super) fn raw(self) -> bindings::pte_t {
        self.0
    }

    /// The entry of a page that no access may reach without a fault.
    pub(super) fn read_write_protected(self) -> Self {
        // SAFETY: Works on a value, which is present.
        Self(unsafe { bindings::uffd_pte_mkuffd(bindings::uffd_pte_mknone(self.0)) })
    }

    /// A page is mapped.
    pub(super) fn is_present(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pte_present(self.0) }
    }

    /// The page mapped is the shared one of zeros. The entry is present.
    pub(super) fn is_zero_page(self) -> bool {
        // SAFETY: Works on a value, which is present.
        unsafe { bindings::uffd_pte_is_zero_page(self.0) }
    }

    /// Nothing at all is there.
    pub(crate) fn is_none(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pte_none(self.0) }
    }

    /// A marker is there that userfaultfd left: of write protection, or of poison.
    pub(crate) fn is_uffd_marker(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pte_is_uffd_marker(self.0) }
    }

    /// What it says to a fault.
    ///
    /// Bits such as "writable" mean something in an entry of a page only; in swap entries they
    /// belong to the offset. Poison is an answer to the fault, so nobody waits for another. (C does:
    /// a thread that queues up behind the wake-up of `UFFDIO_POISON` sleeps on.)
    fn entry(self) -> Entry {
        if self.is_none() {
            return Entry::None;
        }
        if self.is_present() {
            // SAFETY: Works on a value, which is present.
            return unsafe {
                Entry::Present {
                    write: bindings::uffd_pte_write(self.0),
                    protected: bindings::uffd_pte_protnone(self.0)
                        && bindings::uffd_pte_uffd(self.0),
                }
            };
        }
        // SAFETY: Works on a value.
        if unsafe { bindings::uffd_pte_is_wp_marker(self.0) } {
            Entry::Marker
        } else {
            Entry::NotPresent
        }
    }
}

/// Looks at the entry of `address` without a lock of the page table (the walk of
/// `userfaultfd_must_wait`). Does not sleep.
///
/// The answer may be old at once.
///
/// # Safety
///
/// `address` lies in a VMA of `mm` that is not hugetlbfs's, and the VMA's lock or the mmap lock is
/// held, for reading at least.
// A call costs the fault path a third of what the walk does.
#[inline(always)]
pub(crate) unsafe fn lookup(mm: *mut bindings::mm_struct, address: usize) -> Entry {
    // SAFETY: By the safety requirements.
    let Some(pmd) = (unsafe { find_pmd(mm, address) }) else {
        return Entry::None;
    };
    loop {
        // SAFETY: By the safety requirements the table of PMDs stays.
        let value = unsafe { PmdValue::read(pmd) };
        if value.is_none() {
            return Entry::None;
        }
        if !value.is_present() {
            return Entry::NotPresent;
        }
        if value.is_trans_huge() {
            return value.huge_entry();
        }
        // SAFETY: As above. A table that is on its way out is kept by RCU until it is unmapped.
        let pte = unsafe { bindings::uffd_pte_offset_map(pmd.as_ptr(), address) };
        if pte.is_null() {
            // A huge page, or nothing, took the table's place after the look at the PMD.
            continue;
        }
        // SAFETY: Mapped above, unmapped once.
        let value = unsafe {
            let value = bindings::uffd_ptep_get(pte);
            bindings::uffd_pte_unmap(pte);
            value
        };
        return Pte(value).entry();
    }
}

/// Finds the PMD of `address`, or `None` if no table reaches down to it.
///
/// # Safety
///
/// As for [`lookup`].
#[inline(always)]
pub(super) unsafe fn find_pmd(
    mm: *mut bindings::mm_struct,
    address: usize,
) -> Option<NonNull<bindings::pmd_t>> {
    // SAFETY: By the safety requirements no table on the way is freed, and each is entered only if
    // the entry above says that it is there.
    unsafe {
        let pgd = bindings::uffd_pgd_offset(mm, address);
        if !bindings::uffd_pgd_present(pgd) {
            return None;
        }
        let p4d = bindings::uffd_p4d_offset(pgd, address);
        if !bindings::uffd_p4d_present(p4d) {
            return None;
        }
        let pud = bindings::uffd_pud_offset(p4d, address);
        if !bindings::uffd_pud_present(pud) {
            return None;
        }
        NonNull::new(bindings::uffd_pmd_offset(pud, address))
    }
}

/// Finds the PMD of `address`, with all tables above it, allocating what is missing
/// (`mm_alloc_pmd`). `None`: no memory.
///
/// # Safety
///
/// As for [`lookup`].
pub(super) unsafe fn alloc_pmd(
    mm: *mut bindings::mm_struct,
    address: usize,
) -> Option<NonNull<bindings::pmd_t>> {
    // SAFETY: By the safety requirements no table on the way is freed. Two threads that add the
    // same table settle it under the page table lock of `mm`.
    unsafe {
        let pgd = bindings::uffd_pgd_offset(mm, address);
        let p4d = NonNull::new(bindings::uffd_p4d_alloc(mm, pgd, address))?;
        let pud = NonNull::new(bindings::uffd_pud_alloc(mm, p4d.as_ptr(), address))?;
        NonNull::new(bindings::uffd_pmd_alloc(mm, pud.as_ptr(), address))
    }
}
