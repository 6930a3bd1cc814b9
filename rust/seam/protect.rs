// SPDX-License-Identifier: GPL-2.0-only

//! Protection changes and page-table lock pairs that other mm files call.

use core::{
    mem::forget,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_long,
        c_ulong, //
    },
    macros::export,
    prelude::*,
    types::ForeignOwnable, //
};

use crate::{
    abstractions::{
        pt_lock::TableLocks,
        slab::SlabRef,
        vma::MmapVma, //
    },
    pure::{
        protect::{
            Change,
            Protection, //
        },
        range::Range, //
    },
    uffd::{
        self,
        context::Context, //
    }, //
};

fn change(protection: Protection, enable: bool) -> Change {
    if enable {
        Change::Protect(protection)
    } else {
        Change::Resolve(protection)
    }
}

/// The range of `len` bytes from `start`. `EINVAL` if it is empty or wraps around.
fn range(start: c_ulong, len: c_ulong) -> Result<Range> {
    Range::new(start, start.wrapping_add(len)).ok_or(EINVAL)
}

/// Changes the write protection of a page aligned range inside `vma`, which is registered for it.
/// Returns the number of pages that changed, or an errno. The mmap lock stays held; may sleep.
///
/// # Safety
///
/// The caller holds the mmap lock, for reading at least.
#[export]
pub(crate) unsafe extern "C" fn uffd_wp_range(
    vma: *mut bindings::vm_area_struct,
    start: c_ulong,
    len: c_ulong,
    enable_wp: bool,
) -> c_long {
    // SAFETY: By the safety requirements.
    let vma = unsafe { MmapVma::adopt(NonNull::new_unchecked(vma)) };
    match range(start, len)
        .and_then(|range| vma.change_protection(&range, change(Protection::Write, enable_wp)))
    {
        Ok(pages) => pages as c_long,
        Err(error) => error.to_errno() as c_long,
    }
}

/// Changes the read-write protection of a page aligned range. Entered and left with no lock held;
/// may sleep.
///
/// # Safety
///
/// The caller holds a reference on `ctx`.
#[export]
pub(crate) unsafe extern "C" fn mrwprotect_range(
    ctx: *mut bindings::userfaultfd_ctx,
    start: c_ulong,
    len: c_ulong,
    enable_rwp: bool,
) -> c_int {
    // SAFETY: Contexts are `Context`s, and the caller keeps this one.
    let context = unsafe { SlabRef::<Context>::borrow(ctx.cast()) };
    match range(start, len).and_then(|range| {
        let change = change(Protection::ReadWrite, enable_rwp);
        Ok(uffd::protect::change(context, &range, change)?)
    }) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Takes two page-table locks in the order of their addresses; the same lock once.
///
/// # Safety
///
/// Both point at initialised page-table locks that neither the caller nor this task holds.
/// Returns with both held.
#[export]
pub(crate) unsafe extern "C" fn double_pt_lock(
    ptl1: *mut bindings::spinlock_t,
    ptl2: *mut bindings::spinlock_t,
) {
    // SAFETY: Both are page-table locks that this task does not hold.
    forget(unsafe { TableLocks::lock(ptl1, ptl2) });
}

/// Drops the locks that [`double_pt_lock`] took.
///
/// # Safety
///
/// The caller holds both locks, taken by [`double_pt_lock`] with the same arguments.
#[export]
pub(crate) unsafe extern "C" fn double_pt_unlock(
    ptl1: *mut bindings::spinlock_t,
    ptl2: *mut bindings::spinlock_t,
) {
    // SAFETY: The caller holds both locks, which were forgotten when they were taken.
    drop(unsafe { TableLocks::adopt(ptl1, ptl2) });
}
