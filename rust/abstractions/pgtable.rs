// SPDX-License-Identifier: GPL-2.0-only

//! Page tables of user memory: looking at an entry, and filling a vacant one.
//!
//! Whoever holds the read lock of a VMA, or the mmap lock, keeps the tables above the VMA's
//! addresses from being freed, down to the one of the PMDs. The tables below come and go: a huge
//! page may take the place of one at any time. So a PTE is reached in two steps, [`Pmd::establish`]
//! and [`Pmd::lock`], and the second can fail.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    mm::{
        virt::flags,
        MmWithUser, //
    },
    page::PAGE_MASK,
    prelude::*,
    types::NotThreadSafe, //
};

use super::{
    fill_lock::AnonVma,
    folio::UptodateFolio, //
};
use crate::pure::fault::Entry;

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// Whether this address space must not map the shared page of zeros (`mm_forbids_zeropage`).
pub(crate) fn forbids_zero_page(mm: &MmWithUser) -> bool {
    // SAFETY: `mm` is a reference.
    unsafe { bindings::uffd_mm_forbids_zeropage(mm.as_raw()) }
}

/// One look at a PMD.
#[derive(Clone, Copy)]
struct PmdValue(bindings::pmd_t);

impl PmdValue {
    /// Reads `pmd` without its lock.
    ///
    /// # Safety
    ///
    /// `pmd` lies in a table that is not freed meanwhile.
    unsafe fn read(pmd: NonNull<bindings::pmd_t>) -> Self {
        // SAFETY: By the safety requirements.
        Self(unsafe { bindings::uffd_pmdp_get_lockless(pmd.as_ptr()) })
    }

    fn is_none(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_none(self.0) }
    }

    fn is_present(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pmd_present(self.0) }
    }

    fn is_leaf(self) -> bool {
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
    /// Nothing at all is there.
    pub(crate) fn is_none(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pte_none(self.0) }
    }

    /// A marker is there that userfaultfd left.
    pub(crate) fn is_uffd_marker(self) -> bool {
        // SAFETY: Works on a value.
        unsafe { bindings::uffd_pte_is_uffd_marker(self.0) }
    }

    /// What it says to a fault.
    ///
    /// Bits such as "writable" mean something in an entry of a page only; in swap entries they
    /// belong to the offset.
    fn entry(self) -> Entry {
        if self.is_none() {
            return Entry::None;
        }
        if self.is_uffd_marker() {
            return Entry::Marker;
        }
        // SAFETY: Works on a value.
        if !unsafe { bindings::uffd_pte_present(self.0) } {
            return Entry::NotPresent;
        }
        // SAFETY: Works on a value, which is present.
        unsafe {
            Entry::Present {
                write: bindings::uffd_pte_write(self.0),
                protected: bindings::uffd_pte_protnone(self.0) && bindings::uffd_pte_uffd(self.0),
            }
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
unsafe fn find_pmd(
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
unsafe fn alloc_pmd(
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

/// A PMD that pointed to a table of PTEs when it was established.
///
/// # Invariants
///
/// `address` is page aligned and lies in `vma`; `pmd` is its PMD.
pub(crate) struct Pmd<'v> {
    pmd: NonNull<bindings::pmd_t>,
    vma: &'v AnonVma<'v>,
    address: usize,
}

impl<'v> Pmd<'v> {
    /// Makes sure that page tables reach down to `address` in `vma` (`mfill_establish_pmd`). May
    /// sleep.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the address does not lie in the VMA;
    /// - `ENOMEM`: no memory for a table;
    /// - `EEXIST`: a huge page is there, or was until just now;
    /// - `EFAULT`: the PMD is corrupt.
    pub(crate) fn establish(vma: &'v AnonVma<'_>, address: usize) -> Result<Self> {
        if !(vma.start()..vma.end()).contains(&address) {
            return Err(ENOENT);
        }
        let mm = vma.mm().as_raw();
        // SAFETY: The address lies in the VMA, which is locked, and anonymous.
        let pmd = unsafe { alloc_pmd(mm, address) }.ok_or(ENOMEM)?;
        // SAFETY: The table of PMDs stays while the VMA is locked; `__pte_alloc` itself copes with
        // a table that was put there meanwhile.
        let value = unsafe {
            if PmdValue::read(pmd).is_none() && bindings::__pte_alloc(mm, pmd.as_ptr()) != 0 {
                return Err(ENOMEM);
            }
            PmdValue::read(pmd)
        };
        if !value.is_present() || value.is_leaf() {
            return Err(EEXIST);
        }
        if value.is_bad() {
            return Err(EFAULT);
        }
        // INVARIANT: Checked above; a VMA starts on a page, so rounding down stays in it.
        Ok(Self {
            pmd,
            vma,
            address: address & PAGE_MASK,
        })
    }

    /// Maps the table of PTEs and locks it. `None`: the table is gone.
    pub(crate) fn lock(self) -> Option<PteGuard<'v>> {
        let mut ptl = ptr::null_mut();
        // SAFETY: By the type invariants, and the table of PMDs stays while the VMA is locked.
        let pte = unsafe {
            bindings::pte_offset_map_lock(
                self.vma.mm().as_raw(),
                self.pmd.as_ptr(),
                self.address,
                &mut ptl,
            )
        };
        // INVARIANT: Mapped and locked, unless it is null.
        NonNull::new(pte).map(|pte| PteGuard {
            pte,
            ptl,
            vma: self.vma,
            address: self.address,
            _nts: NotThreadSafe,
        })
    }
}

/// A PTE in a table that is mapped and locked. Dropping it unlocks and unmaps; nothing may sleep
/// until then.
///
/// # Invariants
///
/// `pte` is the PTE of the page at `address`, which lies in `vma`, and `ptl`, the lock of its
/// table, is held by the current thread.
#[must_use = "dropping it unlocks the page table"]
pub(crate) struct PteGuard<'v> {
    pte: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    vma: &'v AnonVma<'v>,
    address: usize,
    _nts: NotThreadSafe,
}

impl<'v> PteGuard<'v> {
    /// What is there now.
    pub(crate) fn get(&self) -> Pte {
        // SAFETY: By the type invariants.
        Pte(unsafe { bindings::uffd_ptep_get(self.pte.as_ptr()) })
    }

    /// Whether the VMA maps a file that has no such page (`mfill_file_over_size`).
    pub(crate) fn is_beyond_file(&self) -> bool {
        self.vma.ends_before(self.address)
    }

    /// The same PTE if nothing at all is there.
    pub(crate) fn empty(self) -> Option<VacantPte<'v>> {
        // INVARIANT: Checked here, and the lock keeps it so.
        self.get().is_none().then(|| VacantPte(self))
    }

    /// The same PTE if nothing is there, or a marker that userfaultfd left.
    ///
    /// A page may replace a marker: with both kinds of faults registered, a hole that was
    /// write-protected is still to be filled.
    pub(crate) fn empty_or_marker(self) -> Option<VacantPte<'v>> {
        let now = self.get();
        // INVARIANT: Checked here, and the lock keeps it so.
        (now.is_none() || now.is_uffd_marker()).then(|| VacantPte(self))
    }
}

impl Drop for PteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is mapped and locked, by this thread.
        unsafe { bindings::uffd_pte_unmap_unlock(self.pte.as_ptr(), self.ptl) };
    }
}

/// A locked PTE that can be overwritten.
///
/// # Invariants
///
/// No page and no swap slot is counted for the entry.
#[must_use = "dropping it unlocks the page table"]
pub(crate) struct VacantPte<'v>(PteGuard<'v>);

impl VacantPte<'_> {
    /// Maps `folio`, whose reference passes to the page table (`mfill_atomic_install_pte`, the
    /// anonymous half). It is as writable as its VMA, or write-protected for userfaultfd.
    pub(crate) fn install_anon(self, folio: UptodateFolio, write_protect: bool) {
        let vma = self.0.vma;
        // SAFETY: Values, but for the folio, which is ours, and the VMA, which is locked.
        let pte = unsafe {
            let mut pte = bindings::uffd_folio_mk_pte(folio.as_ptr(), vma.page_prot());
            pte = bindings::uffd_pte_mkdirty(pte);
            if vma.flags() & flags::WRITE != 0 {
                pte = bindings::uffd_pte_mkwrite(pte, vma.as_ptr());
            }
            if write_protect {
                pte = bindings::uffd_pte_mkuffd(pte);
            }
            pte
        };
        let folio = folio.into_raw();
        // SAFETY: The folio is new, uptodate and nobody else's; the VMA is locked, covers the
        // address and has an `anon_vma`; the reference goes with the entry that is set below.
        // The counter comes after the reverse map, which makes the folio an anonymous one.
        unsafe {
            bindings::folio_add_new_anon_rmap(
                folio,
                vma.as_ptr(),
                self.0.address,
                bindings::RMAP_EXCLUSIVE,
            );
            bindings::folio_add_lru_vma(folio, vma.as_ptr());
            bindings::uffd_inc_mm_counter(vma.mm().as_raw(), folio);
        }
        // SAFETY: The entry maps the folio, which was accounted for above.
        unsafe { self.set(pte) };
    }

    /// Maps the shared page of zeros, read-only (`mfill_atomic_pte_zeropage`). It is neither
    /// counted nor in the reverse map.
    pub(crate) fn install_zero_page(self) {
        // SAFETY: Works on values.
        let pte = unsafe { bindings::uffd_zero_page_pte(self.0.address, self.0.vma.page_prot()) };
        // SAFETY: A special entry, which nobody takes a reference for.
        unsafe { self.set(pte) };
    }

    /// Sets the entry and unlocks.
    ///
    /// # Safety
    ///
    /// What `pte` maps is accounted for as this address space's.
    unsafe fn set(self, pte: bindings::pte_t) {
        let Self(guard) = self;
        // SAFETY: By the invariants of the guard, and of `Self` nothing is lost by the overwriting.
        // Nothing was mapped before, so no TLB has to forget anything.
        unsafe {
            bindings::uffd_set_pte_at(
                guard.vma.mm().as_raw(),
                guard.address,
                guard.pte.as_ptr(),
                pte,
            );
            bindings::uffd_update_mmu_cache(guard.vma.as_ptr(), guard.address, guard.pte.as_ptr());
        }
    }
}
