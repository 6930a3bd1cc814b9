// SPDX-License-Identifier: GPL-2.0-only

//! Protection changes and page-table lock pairs that other mm files call.

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_long,
        c_ulong, //
    },
    macros::export, //
};

/// Changes the write protection of a range inside a registered VMA. No VMA is registered for that
/// yet.
///
/// # Safety
///
/// The caller holds the mmap lock.
#[export]
pub(crate) unsafe extern "C" fn uffd_wp_range(
    _vma: *mut bindings::vm_area_struct,
    _start: c_ulong,
    _len: c_ulong,
    _enable_wp: bool,
) -> c_long {
    0
}

/// Changes the read-write protection of a range. No VMA is registered for that yet.
///
/// # Safety
///
/// The caller holds a reference on `ctx`.
#[export]
pub(crate) unsafe extern "C" fn mrwprotect_range(
    _ctx: *mut bindings::userfaultfd_ctx,
    _start: c_ulong,
    _len: c_ulong,
    _enable_rwp: bool,
) -> c_int {
    kernel::error::code::ENOENT.to_errno()
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
    let (first, second) = if ptl1 < ptl2 {
        (ptl1, ptl2)
    } else {
        (ptl2, ptl1)
    };
    // SAFETY: Both locks are initialised and not held, and taking them in the order of addresses
    // is the rule every taker of two page-table locks follows.
    unsafe {
        bindings::uffd_spin_lock(first);
        if first != second {
            bindings::uffd_spin_lock_nested(second);
        }
    }
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
    // SAFETY: The caller holds both locks.
    unsafe {
        bindings::uffd_spin_unlock(ptl1);
        if ptl1 != ptl2 {
            bindings::uffd_spin_unlock(ptl2);
        }
    }
}
