// SPDX-License-Identifier: GPL-2.0-only

//! The fault path, and what page-table code asks about a VMA.

use core::ptr::NonNull;

use kernel::{
    bindings,
    ffi::c_ulong,
    macros::export,
    types::ForeignOwnable,
    warn_on, //
};

use crate::{
    abstractions::{
        fault::{
            self,
            LockedFault, //
        },
        slab::SlabRef, //
    },
    pure::abi::Features,
    uffd::{
        self,
        context::Context, //
    }, //
};

/// A fault that user space may resolve. Entered with the fault lock held (VMA or mmap); left with
/// it released if the answer is `VM_FAULT_RETRY` and the fault may wait, held otherwise.
///
/// # Safety
///
/// `vmf` is the fault that the current thread handles.
#[export]
pub(crate) unsafe extern "C" fn handle_userfault(
    vmf: *mut bindings::vm_fault,
    reason: c_ulong,
) -> bindings::vm_fault_t {
    // SAFETY: The caller passes the fault at hand, with its lock held; only `uffd::register` puts
    // contexts into VMAs, and they are `Context`s.
    let fault = unsafe { LockedFault::<Context>::adopt(NonNull::new_unchecked(vmf)) };
    match fault::reason(reason) {
        Some(reason) => uffd::fault::handle(fault, reason),
        // A bug in the caller.
        None => {
            kernel::do_once_lite! { warn_on!(true); }
            fault.sigbus()
        }
    }
    .into_raw()
}

/// Whether the context of `vma` has all of `features`; `None` if it has no context.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
unsafe fn context_has(vma: *mut bindings::vm_area_struct, features: Features) -> Option<bool> {
    // SAFETY: By the safety requirements the VMA is valid and stable.
    let context = unsafe { (*vma).vm_userfaultfd_ctx.ctx };
    if context.is_null() {
        return None;
    }
    // SAFETY: Contexts of VMAs are `Context`s, and live while a VMA is registered with them.
    let context = unsafe { SlabRef::<Context>::borrow(context.cast()) };
    Some(context.features().contains(features))
}

/// Whether write protection of `vma` covers pages that are not there yet. Changes no lock.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_wp_unpopulated(
    vma: *mut bindings::vm_area_struct,
) -> bool {
    // SAFETY: As for this function.
    unsafe { context_has(vma, Features::WP_UNPOPULATED) }.unwrap_or(false)
}

/// Whether write-protect faults of `vma` resolve without a message. Changes no lock.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_wp_async(vma: *mut bindings::vm_area_struct) -> bool {
    // SAFETY: As for this function.
    unsafe { context_has(vma, Features::WP_ASYNC) }.unwrap_or(false)
}

/// Whether read-write-protect faults of `vma` resolve without a message. Changes no lock.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_rwp_async(vma: *mut bindings::vm_area_struct) -> bool {
    // SAFETY: As for this function.
    unsafe { context_has(vma, Features::RWP_ASYNC) }.unwrap_or(false)
}

/// Whether `vma` is registered with a context that did not ask for remap events. Changes no lock.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
#[export]
pub(crate) unsafe extern "C" fn vma_has_uffd_without_event_remap(
    vma: *mut bindings::vm_area_struct,
) -> bool {
    // SAFETY: As for this function.
    let has_event = unsafe { context_has(vma, Features::EVENT_REMAP) };
    has_event == Some(false)
}
