// SPDX-License-Identifier: GPL-2.0-only

//! Defects of filling a page table entry. A module of `abstractions::pgtable::entry`.

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    MapFolio,
    PteGuard,
    Ready, //
};
use crate::lab;

/// Drops the lock of the page table, for a while.
pub(super) fn unlock_for_a_while(pte: &PteGuard<'_>) {
    // SAFETY: The lock is held, and is held again afterwards. That others have it in between is the
    // defect.
    unsafe {
        bindings::spin_unlock(pte.ptl);
        lab::busy_window(200);
        bindings::spin_lock(pte.ptl);
    }
}

/// Maps the page as [`Ready::map`] does, but without dropping the folio when that fails.
pub(super) fn map_or_leak<F: MapFolio>(ready: Ready<'_, F>, write_protect: bool) -> Result {
    let Ready { place, folio } = ready;
    let folio = ManuallyDrop::new(folio);
    let pte = place.lock()?.empty_or_marker()?;
    // SAFETY: As in `Ready::map`.
    unsafe { pte.install(ManuallyDrop::into_inner(folio), write_protect) };
    Ok(())
}
