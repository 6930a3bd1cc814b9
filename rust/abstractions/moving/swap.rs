// SPDX-License-Identifier: GPL-2.0-only

//! Pages of the source that were swapped out.

use core::ptr::NonNull;

use kernel::bindings;

use super::pair::VacantPair;
use crate::abstractions::{
    folio::{
        Folio,
        LockedFolio, //
    },
    pgtable::Pte, //
};

/// A source that names a page which was swapped out.
///
/// # Invariants
///
/// `pte` is the source's PTE, and `entry`, a swap entry, what is in it.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct SwapPte<'p> {
    pair: VacantPair<'p>,
    pte: Pte,
    entry: bindings::softleaf_t,
}

/// What became of the attempt to move a swap entry.
pub(crate) enum Relocation {
    /// It is in its new place.
    Moved,
    /// The lock of the folio in the swap cache has to be waited for.
    Contended(Folio),
    /// Look again.
    Retry,
    /// It cannot be moved.
    Busy,
}

impl<'p> SwapPte<'p> {
    /// # Safety
    ///
    /// `pte` is the source's PTE of `pair`, and `entry`, a swap entry, is what it holds.
    pub(super) unsafe fn new(pair: VacantPair<'p>, pte: Pte, entry: bindings::softleaf_t) -> Self {
        // INVARIANT: By the safety requirements.
        Self { pair, pte, entry }
    }

    /// Moves the entry, and the folio that the swap cache may have for it (`move_swap_pte`). `held`
    /// is the folio whose lock was waited for after an earlier look.
    ///
    /// A folio in the swap cache remembers where it was mapped, and a fault that finds it there
    /// trusts in that. So it has to be told of its new place. All that counts happens under the
    /// lock of the source's table:
    ///
    /// - the entry in the table keeps its swap slot, and with it the swap device;
    /// - the cache is looked at. To swap in and map a page, and so to give a folio a place that it
    ///   remembers, takes this lock. Without a folio in the cache now, none knows the old place.
    pub(crate) fn relocate(self, held: Option<LockedFolio>) -> Relocation {
        // SAFETY: Works on a value, a swap entry.
        if !unsafe { bindings::uffd_pte_swp_exclusive(self.pte.raw()) } {
            return Relocation::Busy;
        }
        // SAFETY: The entry is in a page table that is locked, which keeps it valid.
        let cached = unsafe { bindings::swap_cache_get_folio(self.entry) };
        let Some(cached) = NonNull::new(cached) else {
            self.set(None);
            return Relocation::Moved;
        };
        // SAFETY: The lookup took a reference.
        let folio = unsafe { Folio::from_raw(cached) };
        if folio.is_large() {
            // It cannot be split while it is not mapped.
            return Relocation::Busy;
        }
        let folio = match held {
            Some(held) if held.is(cached) => held,
            Some(_) => return Relocation::Retry,
            None => match folio.try_lock() {
                Ok(locked) => locked,
                Err(folio) => return Relocation::Contended(folio),
            },
        };
        // The folio could leave the cache until it was locked.
        // SAFETY: The folio is locked.
        if !unsafe { bindings::uffd_folio_matches_swap_entry(folio.as_ptr(), self.entry) } {
            return Relocation::Retry;
        }
        self.set(Some(&folio));
        Relocation::Moved
    }

    /// Moves the entry, with what is the only folio of the swap cache for it.
    fn set(self, cached: Option<&LockedFolio>) {
        let (vmas, part) = (self.pair.vmas(), self.pair.place().part());
        if let Some(folio) = cached {
            let folio = folio.as_ptr();
            // SAFETY: The folio is locked and nobody else's, as its entry is exclusive. The VMA has
            // an `anon_vma` and covers the address.
            unsafe {
                bindings::folio_move_anon_rmap(folio, vmas.dst());
                bindings::uffd_folio_set_anon_index(folio, vmas.dst(), part.dst);
            }
        }
        // SAFETY: By the invariants of the pair. The swap slot goes with the entry, in the same
        // address space.
        unsafe {
            let src = self.pair.src_ptep().as_ptr();
            let mut pte = bindings::uffd_ptep_get_and_clear(vmas.mm(), part.src, src);
            if bindings::uffd_supports_soft_dirty() {
                pte = bindings::uffd_pte_swp_mksoft_dirty(pte);
            }
            // Protection is left behind, as with a page; the bit would mean something else here.
            pte = if vmas.dst_is_rwp() {
                bindings::uffd_pte_swp_mkuffd(pte)
            } else {
                bindings::uffd_pte_swp_clear_uffd(pte)
            };
            bindings::uffd_set_pte_at(vmas.mm(), part.dst, self.pair.dst_ptep().as_ptr(), pte);
        }
    }
}
