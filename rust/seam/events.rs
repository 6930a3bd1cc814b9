// SPDX-License-Identifier: GPL-2.0-only

//! fork, mremap, madvise and munmap of registered memory.
//!
//! No context has asked for events: the parent keeps its registrations, what is copied or moved
//! loses them, and the lists that mm hands over stay empty.

use core::ptr::NonNull;

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    macros::export, //
};

use crate::abstractions::vma::VmaWriteLocked;

/// Takes `vma` out of its context, if it has one. Leaves all locks as they are.
///
/// # Safety
///
/// The caller holds the mmap lock of `vma` for writing, and nobody else touches it.
unsafe fn reset_context(vma: *mut bindings::vm_area_struct) {
    // SAFETY: By the safety requirements.
    let mut vma = unsafe { VmaWriteLocked::adopt(NonNull::new_unchecked(vma)) };
    if vma.owner().is_some() {
        vma.reset_context();
    }
}

/// fork copied `vma` into the child: takes the copy out of its context. Both mmap locks stay held.
///
/// # Safety
///
/// The caller holds both mmap locks for writing; `vma` is the child's.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd(
    vma: *mut bindings::vm_area_struct,
    _contexts: *mut bindings::list_head,
) -> c_int {
    // SAFETY: As for this function.
    unsafe { reset_context(vma) };
    0
}

/// fork succeeded; no lock is held.
///
/// # Safety
///
/// `contexts` is the list that [`dup_userfaultfd`] filled.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd_complete(_contexts: *mut bindings::list_head) {}

/// fork failed; no lock is held.
///
/// # Safety
///
/// `contexts` is the list that [`dup_userfaultfd`] filled.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd_fail(_contexts: *mut bindings::list_head) {}

/// mremap moved memory to `vma`: takes it out of its context. The mmap lock stays held; may sleep.
///
/// # Safety
///
/// The caller holds the mmap lock for writing.
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_prep(
    vma: *mut bindings::vm_area_struct,
    _moved: *mut bindings::vm_userfaultfd_ctx,
) {
    // SAFETY: As for this function.
    unsafe { reset_context(vma) };
}

/// mremap moved memory; no lock is held.
///
/// # Safety
///
/// `moved` was filled by [`mremap_userfaultfd_prep`].
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_complete(
    _moved: *mut bindings::vm_userfaultfd_ctx,
    _from: c_ulong,
    _to: c_ulong,
    _len: c_ulong,
) {
}

/// mremap failed after [`mremap_userfaultfd_prep`]; no lock is held.
///
/// # Safety
///
/// `moved` was filled by [`mremap_userfaultfd_prep`].
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_fail(_moved: *mut bindings::vm_userfaultfd_ctx) {
}

/// madvise is about to drop pages of `vma`. Returns whether the mmap read lock is still held.
///
/// # Safety
///
/// The caller holds the mmap lock for reading.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_remove(
    _vma: *mut bindings::vm_area_struct,
    _start: c_ulong,
    _end: c_ulong,
) -> bool {
    true
}

/// munmap is about to take a range out of `vma`.
///
/// # Safety
///
/// The caller holds the mmap lock for writing.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_unmap_prep(
    _vma: *mut bindings::vm_area_struct,
    _start: c_ulong,
    _end: c_ulong,
    _unmaps: *mut bindings::list_head,
) -> c_int {
    0
}

/// munmap is done; no lock is held.
///
/// # Safety
///
/// `unmaps` is the list that [`userfaultfd_unmap_prep`] filled.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_unmap_complete(
    _mm: *mut bindings::mm_struct,
    _unmaps: *mut bindings::list_head,
) {
}
