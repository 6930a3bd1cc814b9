// SPDX-License-Identifier: GPL-2.0-only

//! The fault path and the questions that page-table code asks about a VMA.

use kernel::{
    bindings,
    ffi::c_ulong,
    macros::export, //
};

/// A fault that user space may resolve.
///
/// No context can exist yet, so no VMA is registered and the fault has no handler: `SIGBUS`.
/// Entered and left with the fault lock (VMA or mmap) held.
///
/// # Safety
///
/// `vmf` describes the fault being handled.
#[export]
pub(crate) unsafe extern "C" fn handle_userfault(
    _vmf: *mut bindings::vm_fault,
    _reason: c_ulong,
) -> bindings::vm_fault_t {
    bindings::vm_fault_reason_VM_FAULT_SIGBUS
}

/// Whether write protection of `vma` covers pages that are not there yet.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` stable.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_wp_unpopulated(
    _vma: *mut bindings::vm_area_struct,
) -> bool {
    false
}

/// Whether write-protect faults of `vma` resolve without a message.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` stable.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_wp_async(_vma: *mut bindings::vm_area_struct) -> bool {
    false
}

/// Whether read-write-protect faults of `vma` resolve without a message.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` stable.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_rwp_async(_vma: *mut bindings::vm_area_struct) -> bool {
    false
}

/// Whether `vma` is registered with a context that did not ask for remap events.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` stable.
#[export]
pub(crate) unsafe extern "C" fn vma_has_uffd_without_event_remap(
    _vma: *mut bindings::vm_area_struct,
) -> bool {
    false
}
