// SPDX-License-Identifier: GPL-2.0-only

//! One entry of a page table, found, locked, and filled if it is vacant.
//!
//! A PTE is reached in two steps, [`Pmd::establish`] and [`Pmd::lock`]. The table that the first
//! one made sure of may be gone before the second, which then fails.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    mm::virt::flags,
    page::PAGE_MASK,
    prelude::*,
    types::NotThreadSafe, //
};

use super::{
    super::{
        folio::{
            MapFolio,
            UptodateFolio, //
        },
        memory::{
            PageVma,
            Pages, //
        },
        page_cache::FoundFolio, //
    },
    alloc_pmd,
    PmdValue,
    Pte, //
};

#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
#[path = "../../lab/entry.rs"]
mod lab_entry;

/// Makes sure that page tables reach down to `address` in `vma` (`mfill_establish_pmd`).
///
/// # Errors
///
/// Those of [`Pmd::establish`].
fn establish(vma: &PageVma<'_>, address: usize) -> Result<NonNull<bindings::pmd_t>> {
    if !(vma.start()..vma.end()).contains(&address) {
        return Err(ENOENT);
    }
    let mm = vma.mm().as_raw();
    // SAFETY: The address lies in the VMA, which is locked, and not hugetlbfs's.
    let pmd = unsafe { alloc_pmd(mm, address) }.ok_or(ENOMEM)?;
    // SAFETY: The table of PMDs stays while the VMA is locked; `__pte_alloc` itself copes with a
    // table that was put there meanwhile.
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
    Ok(pmd)
}

/// The place of a page: an address, and a PMD that pointed to a table of PTEs when it was
/// established.
///
/// # Invariants
///
/// `address` is page aligned and lies in `vma`; `pmd` is its PMD.
struct Place<'v> {
    pmd: NonNull<bindings::pmd_t>,
    vma: &'v PageVma<'v>,
    address: usize,
}

impl<'v> Place<'v> {
    /// Maps the table of PTEs and locks it (see [`Pmd::lock`]).
    fn lock(self) -> Result<PteGuard<'v>> {
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
        // INVARIANT: Mapped and locked.
        let guard = PteGuard {
            pte: NonNull::new(pte).ok_or(EAGAIN)?,
            ptl,
            vma: self.vma,
            address: self.address,
            _nts: NotThreadSafe,
        };
        if guard.vma.ends_before(guard.address) {
            return Err(EFAULT);
        }
        Ok(guard)
    }
}

/// A place in memory of a kind that is known.
///
/// # Invariants
///
/// The place lies in the VMA of `memory`.
pub(crate) struct Pmd<'v, V: Pages> {
    place: Place<'v>,
    memory: &'v V,
}

impl<'v, V: Pages> Pmd<'v, V> {
    /// Makes sure that page tables reach down to `address` in `memory`. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the address does not lie in the VMA;
    /// - `ENOMEM`: no memory for a table;
    /// - `EEXIST`: a huge page is there, or was until just now;
    /// - `EFAULT`: the PMD is corrupt.
    pub(crate) fn establish(memory: &'v V, address: usize) -> Result<Self> {
        let vma = memory.vma();
        // INVARIANT: Checked; a VMA starts on a page, so rounding down stays in it.
        Ok(Self {
            place: Place {
                pmd: establish(vma, address)?,
                vma,
                address: address & PAGE_MASK,
            },
            memory,
        })
    }

    /// Makes `folio` the memory's page at this place. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Pages::adopt`].
    pub(crate) fn adopt(self, folio: UptodateFolio) -> Result<Ready<'v, V::Folio<'v>>> {
        // INVARIANT: By the safety requirements of `Pages`.
        Ok(Ready {
            folio: self.memory.adopt(self.place.address, folio)?,
            place: self.place,
        })
    }

    /// Finds the page of this place in the file that is mapped. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there is no file, or none that can be asked. `EFAULT`: the file has no such page.
    /// `EIO`: the page is on broken memory.
    pub(crate) fn find(self) -> Result<Ready<'v, FoundFolio>> {
        let place = self.place;
        let ops = place.vma.ops().ok_or(EINVAL)?;
        // INVARIANT: The file's page for this place of the VMA.
        Ok(Ready {
            folio: ops.find(place.vma, place.address)?,
            place,
        })
    }

    /// Maps the table of PTEs and locks it. Nothing may sleep until it is unlocked.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the table is gone. `EFAULT`: the mapped file ends before the page
    /// (`mfill_file_over_size`).
    pub(crate) fn lock(self) -> Result<PteGuard<'v>> {
        self.place.lock()
    }
}

/// A page together with the place where it belongs. Dropping it undoes what made it ready.
///
/// # Invariants
///
/// `folio` may be mapped at the place.
#[must_use = "dropping it leaves the page unmapped"]
pub(crate) struct Ready<'v, F: MapFolio> {
    place: Place<'v>,
    folio: F,
}

impl<F: MapFolio> Ready<'_, F> {
    /// Maps the page (`mfill_atomic_install_pte`). It is as writable as its VMA, or write-protected
    /// for userfaultfd.
    ///
    /// What was mapped meanwhile wins. The page is then undone after its table was unlocked.
    ///
    /// # Errors
    ///
    /// Those of [`Pmd::lock`]; `EEXIST`: something is there, other than a marker that userfaultfd
    /// left.
    pub(crate) fn map(self, write_protect: bool) -> Result {
        defect!(
            EexistLeak,
            return lab_entry::map_or_leak(self, write_protect)
        );
        let Self { place, folio } = self;
        let pte = place.lock()?.empty_or_marker()?;
        // SAFETY: By the type invariants.
        unsafe { pte.install(folio, write_protect) };
        Ok(())
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
    vma: &'v PageVma<'v>,
    address: usize,
    _nts: NotThreadSafe,
}

impl<'v> PteGuard<'v> {
    /// What is there now.
    pub(crate) fn get(&self) -> Pte {
        // SAFETY: By the type invariants.
        Pte(unsafe { bindings::uffd_ptep_get(self.pte.as_ptr()) })
    }

    /// The same PTE. `EEXIST`: something is there, be it a marker.
    pub(crate) fn empty(self) -> Result<VacantPte<'v>> {
        if !self.get().is_none() {
            return Err(EEXIST);
        }
        // INVARIANT: Checked here, and the lock keeps it so.
        Ok(VacantPte(self))
    }

    /// The same PTE. `EEXIST`: something is there, other than a marker that userfaultfd left.
    ///
    /// A page may replace a marker: with both kinds of faults registered, a hole that was
    /// write-protected is still to be filled.
    fn empty_or_marker(self) -> Result<VacantPte<'v>> {
        let now = self.get();
        if !now.is_none() && !now.is_uffd_marker() {
            return Err(EEXIST);
        }
        defect!(EarlyUnlock, lab_entry::unlock_for_a_while(&self));
        // INVARIANT: Checked here, and the lock keeps it so.
        Ok(VacantPte(self))
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

impl<'v> VacantPte<'v> {
    /// Maps `folio`, whose reference passes to the page table.
    ///
    /// # Safety
    ///
    /// The folio was made or found for this place.
    unsafe fn install(self, folio: impl MapFolio, write_protect: bool) {
        let vma = self.0.vma;
        let writable = vma.flags() & flags::WRITE != 0 && folio.is_writable_in(vma);
        // SAFETY: Values, but for the page, whose folio is ours, and the VMA, which is locked.
        let pte = unsafe {
            let mut pte = bindings::uffd_mk_pte(folio.page(), vma.page_prot());
            pte = bindings::uffd_pte_mkdirty(pte);
            if writable {
                pte = bindings::uffd_pte_mkwrite(pte, vma.as_ptr());
            }
            if write_protect {
                pte = bindings::uffd_pte_mkuffd(pte);
            }
            pte
        };
        // SAFETY: By the safety requirements; the entry is set below, and its table is locked. The
        // counter comes after the reverse map, which makes an anonymous folio one.
        unsafe {
            folio.enter_rmap(vma, self.0.address);
            bindings::uffd_inc_mm_counter(vma.mm().as_raw(), folio.folio());
        }
        // SAFETY: The entry maps the folio's page, which was accounted for above.
        let _locked = unsafe { self.set(pte) };
        // Before the table is unlocked, which may then give the reference back to the last one.
        folio.into_mapped();
    }

    /// Maps the shared page of zeros, read-only (`mfill_atomic_pte_zeropage`). It is neither
    /// counted nor in the reverse map.
    pub(crate) fn install_zero_page(self) {
        // SAFETY: Works on values.
        let pte = unsafe { bindings::uffd_zero_page_pte(self.0.address, self.0.vma.page_prot()) };
        // SAFETY: A special entry, which nobody takes a reference for.
        drop(unsafe { self.set(pte) });
    }

    /// Makes every access fail as if the memory was broken (`mfill_atomic_pte_poison`).
    pub(crate) fn install_poison(self) {
        // SAFETY: Makes a value.
        let pte = unsafe { bindings::uffd_poison_marker() };
        // SAFETY: A marker, which nobody takes a reference for.
        drop(unsafe { self.set(pte) });
    }

    /// Sets the entry. It is not vacant any more, but still locked.
    ///
    /// # Safety
    ///
    /// What `pte` maps is accounted for as this address space's.
    unsafe fn set(self, pte: bindings::pte_t) -> PteGuard<'v> {
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
        guard
    }
}
