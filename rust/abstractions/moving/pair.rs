// SPDX-License-Identifier: GPL-2.0-only

//! Two PTEs: mapped, locked, and what is in them.

use core::ptr::NonNull;

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

#[cfg(CONFIG_SWAP)]
use super::swap::SwapPte;
use super::{
    present::PresentPte,
    Tables, //
};
use crate::abstractions::{
    move_lock::{
        MovePair,
        Place, //
    },
    pgtable::{
        PmdValue,
        Pte, //
    },
    pt_lock::TableLocks, //
};

/// A PTE that is mapped. Dropping it unmaps. Mappings end in the reverse order.
///
/// # Invariants
///
/// `pte` was mapped from a table of PTEs that `pmd` pointed to when it read `seen`, `ptl` is the
/// lock of that table, and the current thread is in the RCU read section which that began.
struct MappedPte {
    pte: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    pmd: NonNull<bindings::pmd_t>,
    seen: PmdValue,
    _nts: NotThreadSafe,
}

impl MappedPte {
    /// Maps the PTE of `address`; `None` if there is no table of PTEs.
    ///
    /// # Safety
    ///
    /// `pmd` is the PMD of `address` in `mm`, in a table that is not freed meanwhile.
    unsafe fn map(
        mm: *mut bindings::mm_struct,
        pmd: NonNull<bindings::pmd_t>,
        address: usize,
    ) -> Option<Self> {
        let mut ptl = core::ptr::null_mut();
        let mut seen = bindings::pmd_t::default();
        // SAFETY: By the safety requirements.
        let pte = unsafe {
            bindings::pte_offset_map_rw_nolock(mm, pmd.as_ptr(), address, &mut seen, &mut ptl)
        };
        // INVARIANT: Just mapped, unless it is null.
        NonNull::new(pte).map(|pte| Self {
            pte,
            ptl,
            pmd,
            seen: PmdValue::new(seen),
            _nts: NotThreadSafe,
        })
    }

    /// Whether the table is still the one that is in use. That is certain only with its lock held.
    fn is_current(&self) -> bool {
        // SAFETY: By the type invariants; the table of the PMD outlives the mapping.
        unsafe { PmdValue::read(self.pmd) }.is_same(self.seen)
    }
}

impl Drop for MappedPte {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is mapped.
        unsafe { bindings::uffd_pte_unmap(self.pte.as_ptr()) };
    }
}

/// The PTEs of the next page, in source and destination, mapped. Dropping it unmaps; nothing may
/// sleep until then.
// The fields drop from the top: the mapping that was made last ends first.
#[must_use = "dropping it unmaps the page tables"]
pub(crate) struct PtePair<'t> {
    src: MappedPte,
    dst: MappedPte,
    tables: &'t Tables<'t>,
}

impl Tables<'_> {
    /// Maps both PTEs; `None` if a table is gone.
    pub(crate) fn map(&mut self) -> Option<PtePair<'_>> {
        let mm = self.place().vmas().mm();
        let part = self.place().part();
        // SAFETY: By the invariants of `PmdPair`.
        let dst = unsafe { MappedPte::map(mm, self.0.dst, part.dst) }?;
        // SAFETY: As above.
        let src = unsafe { MappedPte::map(mm, self.0.src, part.src) }?;
        Some(PtePair {
            src,
            dst,
            tables: self,
        })
    }
}

impl PtePair<'_> {
    /// Locks both tables; `None` if one was replaced since it was mapped.
    ///
    /// Such a table is kept by RCU, with its lock, but what is written to it is lost.
    pub(crate) fn lock(&mut self) -> Option<LockedPair<'_>> {
        // SAFETY: By the invariants of `MappedPte`. The result borrows the mappings exclusively, as
        // those do the tables, so these locks are not taken twice.
        let locks = unsafe { TableLocks::lock(self.dst.ptl, self.src.ptl) };
        // INVARIANT: Whoever replaces a table takes its lock to do so.
        (self.dst.is_current() && self.src.is_current()).then(|| LockedPair {
            pair: self,
            _locks: locks,
        })
    }
}

/// The PTEs of the next page in tables that are locked. Dropping it unlocks.
///
/// # Invariants
///
/// Both tables are in use, and their locks are held.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct LockedPair<'p> {
    pair: &'p PtePair<'p>,
    _locks: TableLocks,
}

impl<'p> LockedPair<'p> {
    /// The same PTEs if nothing at all is in the destination.
    #[inline]
    pub(crate) fn vacant(self) -> Option<VacantPair<'p>> {
        // SAFETY: By the type invariants.
        let dst = unsafe { Pte::read(self.pair.dst.pte) };
        // INVARIANT: Checked here, and the lock keeps it so.
        dst.is_none().then_some(VacantPair(self))
    }
}

/// Two locked PTEs of which that of the destination is empty. Dropping it unlocks.
///
/// # Invariants
///
/// The destination's PTE is none.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct VacantPair<'p>(LockedPair<'p>);

/// What is in the source, with the locks under which that holds.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) enum Source<'p> {
    /// Nothing at all.
    Hole,
    /// The shared page of zeros.
    ZeroPage(ZeroPte<'p>),
    /// A page.
    Present(PresentPte<'p>),
    /// A page that was swapped out.
    #[cfg(CONFIG_SWAP)]
    Swap(SwapPte<'p>),
    /// A page that is being migrated.
    Migrating,
    /// What cannot be moved: a marker, poison, memory of a device.
    Other,
}

impl<'p> VacantPair<'p> {
    /// Looks at the source.
    #[inline]
    pub(crate) fn source(self) -> Source<'p> {
        // SAFETY: By the invariants of `LockedPair`.
        let pte = unsafe { Pte::read(self.src_ptep()) };
        if pte.is_none() {
            return Source::Hole;
        }
        if pte.is_present() {
            return if pte.is_zero_page() {
                // INVARIANT: Checked here.
                Source::ZeroPage(ZeroPte(self))
            } else {
                // SAFETY: Just read: a present entry that is not of the page of zeros.
                Source::Present(unsafe { PresentPte::new(self, pte) })
            };
        }
        // SAFETY: Works on a value, which is not present.
        let (entry, migrating) = unsafe {
            let entry = bindings::uffd_softleaf_from_pte(pte.raw());
            (entry, bindings::uffd_softleaf_is_migration(entry))
        };
        if migrating {
            return Source::Migrating;
        }
        #[cfg(CONFIG_SWAP)]
        // SAFETY: Works on a value.
        if unsafe { bindings::uffd_softleaf_is_swap(entry) } {
            // SAFETY: Just read: a swap entry.
            return Source::Swap(unsafe { SwapPte::new(self, pte, entry) });
        }
        #[cfg(not(CONFIG_SWAP))]
        let _ = entry;
        Source::Other
    }

    /// Where the move is.
    pub(super) fn place(&self) -> &'p Place<'p> {
        self.0.pair.tables.place()
    }

    /// The VMAs of the move.
    pub(super) fn vmas(&self) -> &'p MovePair<'p> {
        self.place().vmas()
    }

    /// The PTE of the source.
    pub(super) fn src_ptep(&self) -> NonNull<bindings::pte_t> {
        self.0.pair.src.pte
    }

    /// The PTE of the destination.
    pub(super) fn dst_ptep(&self) -> NonNull<bindings::pte_t> {
        self.0.pair.dst.pte
    }
}

/// A source that maps the page of zeros.
///
/// # Invariants
///
/// The source's PTE maps the page of zeros.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct ZeroPte<'p>(VacantPair<'p>);

impl ZeroPte<'_> {
    /// Clears the source and maps the page of zeros in the destination (`move_zeropage_pte`).
    pub(crate) fn relocate(self) {
        let Self(pair) = self;
        let (vmas, part) = (pair.vmas(), pair.place().part());
        // SAFETY: The VMA is locked.
        let prot = unsafe { (*vmas.dst()).vm_page_prot };
        // SAFETY: Works on values.
        let mut pte = Pte::new(unsafe { bindings::uffd_zero_page_pte(part.dst, prot) });
        if vmas.dst_is_rwp() {
            pte = pte.read_write_protected();
        }
        // SAFETY: By the invariants of the pair. The page of zeros is neither counted nor in the
        // reverse map.
        unsafe {
            bindings::uffd_ptep_clear_flush(vmas.src(), part.src, pair.src_ptep().as_ptr());
            bindings::uffd_set_pte_at(vmas.mm(), part.dst, pair.dst_ptep().as_ptr(), pte.raw());
        }
    }
}
