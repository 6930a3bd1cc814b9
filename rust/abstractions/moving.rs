// SPDX-License-Identifier: GPL-2.0-only

//! Page table entries that move to another place, and the pages with them.
//!
//! What a change needs is a chain of types, and each link is the only way to the next:
//!
//! | type | what it stands for | may sleep |
//! |---|---|---|
//! | [`Place`](super::move_lock::Place) | both VMAs are locked | yes |
//! | [`PmdPair`] | the tables above both PTEs exist, and what the destination's PMD was | yes |
//! | [`Tables`] | there were tables of PTEs | yes |
//! | [`PtePair`] | both PTEs are mapped: an RCU read section | no |
//! | [`LockedPair`] | both tables are locked, and still the ones that were mapped | no |
//! | [`VacantPair`] | nothing is in the destination | no |
//! | [`Source`] | what there is in the source, with the changes that suit it | no |
//!
//! [`Tables::map`] borrows the tables exclusively, and so does everything that sleeps: waiting for
//! a folio's lock, splitting a folio, waiting for a migration. None of it compiles while a PTE is
//! mapped. What is learnt under the locks is used under them or thrown away, so no entry has to be
//! compared with what it was before.

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    move_lock::{
        MovePair,
        Place, //
    },
    pgtable::{
        alloc_pmd,
        find_pmd,
        PmdValue, //
    },
};

mod folio;
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
mod huge;
mod pair;
mod present;
#[cfg(CONFIG_SWAP)]
mod swap;

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
pub(crate) use huge::HugeSource;
#[cfg(CONFIG_SWAP)]
pub(crate) use swap::Relocation;
pub(crate) use {
    pair::Source,
    present::Claim, //
};

/// The PMDs of the next page, in source and destination.
///
/// # Invariants
///
/// `src` and `dst` are the PMDs of the two addresses of `place`; the lock of the VMAs keeps the
/// tables they lie in.
pub(crate) struct PmdPair<'v> {
    place: Place<'v>,
    src: NonNull<bindings::pmd_t>,
    dst: NonNull<bindings::pmd_t>,
    dst_seen: PmdValue,
}

impl<'v> PmdPair<'v> {
    /// Finds the PMD of the source, `None` if there is none, and sees to that of the destination.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for a table.
    pub(crate) fn establish(place: Place<'v>) -> Result<Option<Self>> {
        let mm = place.vmas().mm();
        // SAFETY: The address lies in a locked VMA, which is not hugetlbfs's.
        let Some(src) = (unsafe { find_pmd(mm, place.part().src) }) else {
            return Ok(None);
        };
        // SAFETY: As above.
        let dst = unsafe { alloc_pmd(mm, place.part().dst) }.ok_or(ENOMEM)?;
        // INVARIANT: Found for these addresses.
        Ok(Some(Self {
            place,
            src,
            dst,
            // SAFETY: The table stays while the VMA is locked.
            dst_seen: unsafe { PmdValue::read(dst) },
        }))
    }

    /// Whether a huge page is in the place of the destination's table, or on its way there.
    pub(crate) fn dst_is_huge(&self) -> bool {
        !self.dst_seen.is_none() && (!self.dst_seen.is_present() || self.dst_seen.is_leaf())
    }

    /// Whether nothing at all was below the destination's PMD.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(crate) fn dst_is_none(&self) -> bool {
        self.dst_seen.is_none()
    }

    /// Makes sure that the destination has a table of PTEs, too. `None`: the source has none. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for a table.
    pub(crate) fn tables(self) -> Result<Option<Tables<'v>>> {
        // SAFETY: The table of the PMD stays while the VMA is locked.
        if unsafe { PmdValue::read(self.src) }.is_none() {
            return Ok(None);
        }
        let mm = self.place.vmas().mm();
        // SAFETY: As above. `__pte_alloc` itself copes with a table that was put there meanwhile.
        unsafe {
            if PmdValue::read(self.dst).is_none()
                && bindings::__pte_alloc(mm, self.dst.as_ptr()) != 0
            {
                return Err(ENOMEM);
            }
        }
        Ok(Some(Tables(self)))
    }
}

/// The PMDs of the next page, which pointed to tables of PTEs when this was made. Huge pages may
/// take the place of the tables at any time.
pub(crate) struct Tables<'v>(PmdPair<'v>);

impl Tables<'_> {
    /// Where the move is.
    fn place(&self) -> &Place<'_> {
        &self.0.place
    }

    /// Sleeps until the page of the source is no longer being migrated, or does not sleep if it is
    /// not.
    pub(crate) fn wait_for_migration(&mut self) {
        // SAFETY: By the invariants of `PmdPair`. No PTE is mapped, as `self` is borrowed
        // exclusively.
        unsafe {
            bindings::uffd_migration_entry_wait(
                self.place().vmas().mm(),
                self.0.src.as_ptr(),
                self.place().part().src,
            );
        }
    }
}

/// While it lives, secondary MMUs (KVM guests, devices) do not use the pages that leave the source.
///
/// # Invariants
///
/// `range` was announced and its end is still to be.
pub(crate) struct SecondaryMmus<'v> {
    range: MaybeUninit<bindings::mmu_notifier_range>,
    _vmas: PhantomData<&'v MovePair<'v>>,
}

impl<'v> SecondaryMmus<'v> {
    /// Tells them to forget `len` bytes of the source of `place`. May sleep.
    pub(crate) fn exclude(place: &Place<'v>, len: usize) -> Self {
        let start = place.part().src;
        let mut range = MaybeUninit::uninit();
        // SAFETY: The first call writes all that the second one reads. The address space has users,
        // as its VMA is locked.
        unsafe {
            bindings::uffd_notify_clear_init(
                range.as_mut_ptr(),
                place.vmas().mm(),
                start,
                start.saturating_add(len),
            );
            bindings::uffd_notify_start(range.as_mut_ptr());
        }
        // INVARIANT: Just announced.
        Self {
            range,
            _vmas: PhantomData,
        }
    }
}

impl Drop for SecondaryMmus<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::uffd_notify_end(self.range.as_mut_ptr()) };
    }
}

/// Size of what one table of PTEs maps, in bytes.
pub(crate) const TABLE_SIZE: usize = bindings::UFFD_PMD_SIZE;
