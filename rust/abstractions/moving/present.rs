// SPDX-License-Identifier: GPL-2.0-only

//! Pages that are mapped in the source, and the batch that moves a run of them.

use core::ptr::NonNull;

use kernel::{
    bindings,
    page::PAGE_SIZE,
    types::NotThreadSafe,
    warn_on, //
};

use super::{
    folio::FolioLock,
    pair::VacantPair,
    TABLE_SIZE, //
};
use crate::abstractions::{
    folio::{
        Folio,
        LockedFolio, //
    },
    pgtable::Pte, //
};

/// A source that maps a page.
///
/// # Invariants
///
/// `pte` is the source's PTE; it is present, and not that of the page of zeros.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct PresentPte<'p> {
    pair: VacantPair<'p>,
    pte: Pte,
}

/// What is to be done about a page before it can move.
pub(crate) enum Claim<'p> {
    /// Nothing: it can move, and so perhaps those behind it.
    Ready(Batch<'p>),
    /// Wait for the lock of its folio; then look again.
    Contended(Folio),
    /// Split its folio; then look again.
    Large(LockedFolio),
    /// Look again.
    Retry,
    /// It belongs to others as well.
    Busy,
}

impl<'p> PresentPte<'p> {
    /// # Safety
    ///
    /// `pte` is the source's PTE of `pair`; it is present, and not that of the page of zeros.
    #[inline]
    pub(super) unsafe fn new(pair: VacantPair<'p>, pte: Pte) -> Self {
        // INVARIANT: By the safety requirements.
        Self { pair, pte }
    }

    /// Checks the page and locks its folio. `held` is the folio whose lock was waited for after an
    /// earlier look.
    ///
    /// Only a page that belongs to this entry alone may move, and one that nobody has pinned: who
    /// did expects it to stay where it is.
    pub(crate) fn claim(self, held: Option<LockedFolio>) -> Claim<'p> {
        let part = self.pair.place().part();
        // SAFETY: By the type invariants; the entry keeps its page while it is locked.
        let Some(page) = (unsafe { normal_page(&self.pair, part.src, self.pte) }) else {
            return Claim::Busy;
        };
        // SAFETY: As above.
        let folio = unsafe { folio_of(page) };
        // SAFETY: As above.
        let (anonymous, large) = unsafe {
            (
                bindings::uffd_folio_test_anon(folio.as_ptr()),
                bindings::uffd_folio_test_large(folio.as_ptr()),
            )
        };
        if !anonymous {
            // Nothing else is mapped in such VMAs.
            kernel::do_once_lite! { warn_on!(true); }
            return Claim::Busy;
        }
        // SAFETY: As above, and the page is anonymous.
        if !unsafe { is_exclusive(page) } {
            return Claim::Busy;
        }
        let lock = match held {
            // SAFETY: The entry keeps the folio as long as it is locked, which is for `'p`.
            Some(held) if held.is(folio) => unsafe { held.into_lock() },
            // Another page came here while the lock of the last one was waited for.
            Some(_) => return Claim::Retry,
            // SAFETY: As above.
            None => match unsafe { FolioLock::try_new(folio) } {
                Some(lock) => lock,
                None if large => return Claim::Retry,
                // SAFETY: As above.
                None => return Claim::Contended(unsafe { Folio::get(folio) }),
            },
        };
        if lock.may_be_pinned() {
            return Claim::Busy;
        }
        if large {
            return Claim::Large(LockedFolio::from_lock(lock));
        }
        // INVARIANT: Checked above.
        Claim::Ready(Batch {
            folio: lock,
            pair: self.pair,
        })
    }
}

/// A run of pages that move under one pair of locks, with one flush of the TLB.
///
/// # Invariants
///
/// `folio` has one page, which the source's PTE maps, and which belongs to this entry alone.
#[must_use = "dropping it unlocks the page tables"]
pub(crate) struct Batch<'p> {
    folio: FolioLock<'p>,
    pair: VacantPair<'p>,
}

impl Batch<'_> {
    /// Moves the page, and those behind it up to the end of either table, of the move, or of the
    /// pages that can go without further ado (`move_present_ptes`). Returns the bytes moved: zero
    /// if somebody has just pinned the first page.
    pub(crate) fn relocate(self) -> usize {
        let Self { folio, pair } = self;
        let limit = pair.place().part().within_tables(TABLE_SIZE);
        let (vma, start) = (pair.vmas().src(), pair.place().part().src);
        // SAFETY: The VMA is locked and covers the range.
        unsafe { bindings::uffd_flush_cache_range(vma, start, start + limit) };
        let mut moved = 0;
        {
            let _lazy = LazyMmu::enable();
            let rwp = pair.vmas().dst_is_rwp();
            let mut next = Some(folio);
            while let Some(folio) = next {
                // SAFETY: `moved` is less than `limit`. The first folio is that of the invariants,
                // the others come from `next_folio`.
                if !unsafe { relocate_page(&pair, moved, &folio, rwp) } {
                    break;
                }
                moved += PAGE_SIZE;
                drop(folio);
                next = if moved < limit {
                    // SAFETY: `moved` is less than `limit`.
                    unsafe { next_folio(&pair, moved) }
                } else {
                    None
                };
            }
        }
        if moved > 0 {
            // Before the tables are unlocked: who finds a page in its new place, to reclaim it for
            // one, must not be deceived by a processor that still writes to it by the old one.
            // SAFETY: The VMA is locked and covers the range.
            unsafe { bindings::uffd_glue_flush_tlb_range(vma, start, start + moved) };
        }
        moved
    }
}

/// The page that `pte` maps at `address`, `None` if it is a special one.
///
/// # Safety
///
/// `pte` is a present entry of the source of `pair`, for `address`.
#[inline]
unsafe fn normal_page(
    pair: &VacantPair<'_>,
    address: usize,
    pte: Pte,
) -> Option<NonNull<bindings::page>> {
    // SAFETY: By the safety requirements; the VMA is locked.
    NonNull::new(unsafe { bindings::vm_normal_page(pair.vmas().src(), address, pte.raw()) })
}

/// # Safety
///
/// Something keeps the page.
#[inline]
unsafe fn folio_of(page: NonNull<bindings::page>) -> NonNull<bindings::folio> {
    // SAFETY: By the safety requirements; a page is never without a folio.
    unsafe { NonNull::new_unchecked(bindings::uffd_page_folio(page.as_ptr())) }
}

/// Whether one process alone has the page.
///
/// # Safety
///
/// The page is anonymous and mapped by an entry whose table is locked.
#[inline]
unsafe fn is_exclusive(page: NonNull<bindings::page>) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { bindings::uffd_page_anon_exclusive(page.as_ptr()) }
}

/// Locks the folio of the page that is next in a batch, `offset` bytes behind its first one; `None`
/// if that page needs more than that, or if its destination is taken
/// (`check_ptes_for_batched_move`).
///
/// # Safety
///
/// The tables of `pair` reach as far as `offset`, on both sides.
#[inline]
unsafe fn next_folio<'p>(pair: &VacantPair<'p>, offset: usize) -> Option<FolioLock<'p>> {
    let index = offset / PAGE_SIZE;
    // SAFETY: By the safety requirements, and both tables are locked.
    let (dst, src) = unsafe {
        (
            Pte::read(pair.dst_ptep().add(index)),
            Pte::read(pair.src_ptep().add(index)),
        )
    };
    if !dst.is_none() || !src.is_present() || src.is_zero_page() {
        return None;
    }
    // SAFETY: A present entry, whose table is locked, which keeps its page. All pages in such a VMA
    // are anonymous.
    unsafe {
        let page = normal_page(pair, pair.place().part().src + offset, src)?;
        let folio = folio_of(page);
        if bindings::uffd_folio_test_large(folio.as_ptr()) || !is_exclusive(page) {
            return None;
        }
        FolioLock::try_new(folio)
    }
}

/// Moves one page, `offset` bytes behind the first one of a batch. False leaves it where it is:
/// somebody has pinned it, and will not find it if it goes.
///
/// # Safety
///
/// The tables of `pair` reach as far as `offset`, on both sides. There `folio` is what the source
/// maps, a single page that belongs to this entry alone, and the destination is empty.
#[inline]
unsafe fn relocate_page(
    pair: &VacantPair<'_>,
    offset: usize,
    folio: &FolioLock<'_>,
    rwp: bool,
) -> bool {
    let vmas = pair.vmas();
    let (mm, dst_vma) = (vmas.mm(), vmas.dst());
    let part = pair.place().part();
    let (src, dst) = (part.src + offset, part.dst + offset);
    let index = offset / PAGE_SIZE;
    // SAFETY: By the safety requirements.
    let (src_ptep, dst_ptep) = unsafe {
        (
            pair.src_ptep().add(index).as_ptr(),
            pair.dst_ptep().add(index).as_ptr(),
        )
    };
    // SAFETY: As above; the table is locked.
    let old = unsafe { bindings::uffd_ptep_get_and_clear(mm, src, src_ptep) };
    // Who pins a page without the lock of its table looks at the entry again afterwards. So either
    // they see that it is cleared, or this sees the pin.
    if folio.may_be_pinned() {
        // SAFETY: Puts back what was there.
        unsafe { bindings::uffd_set_pte_at(mm, src, src_ptep, old) };
        return false;
    }
    let folio = folio.as_ptr().as_ptr();
    // SAFETY: The folio is locked and exclusive, the VMA has an `anon_vma`, and covers the address.
    // The reference goes with the entry. The rest works on values.
    unsafe {
        bindings::folio_move_anon_rmap(folio, dst_vma);
        bindings::uffd_folio_set_anon_index(folio, dst_vma, dst);
        // CAST: A folio begins with its first page.
        let mut pte = bindings::uffd_mk_pte(folio.cast(), (*dst_vma).vm_page_prot);
        if bindings::uffd_supports_soft_dirty() {
            pte = bindings::uffd_pte_mksoft_dirty(pte);
        }
        if bindings::uffd_pte_dirty(old) {
            pte = bindings::uffd_pte_mkdirty(pte);
        }
        let mut pte = Pte::new(bindings::uffd_pte_mkwrite(pte, dst_vma));
        if rwp {
            pte = pte.read_write_protected();
        }
        bindings::uffd_set_pte_at(mm, dst, dst_ptep, pte.raw());
    }
    true
}

/// While it lives, changes of page tables may be collected and made at its end.
struct LazyMmu(NotThreadSafe);

impl LazyMmu {
    fn enable() -> Self {
        // SAFETY: The tables are locked, and `drop` undoes it on this thread.
        unsafe { bindings::uffd_lazy_mmu_mode_enable() };
        Self(NotThreadSafe)
    }
}

impl Drop for LazyMmu {
    fn drop(&mut self) {
        // SAFETY: Undoes `enable`.
        unsafe { bindings::uffd_lazy_mmu_mode_disable() };
    }
}
