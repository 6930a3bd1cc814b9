// SPDX-License-Identifier: GPL-2.0-only

//! fork, mremap, madvise and munmap of registered memory.
//!
//! No context can exist yet: nothing is registered, and the lists that mm hands over stay empty.

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    macros::export, //
};

/// fork copies `vma` into the child.
///
/// # Safety
///
/// The caller holds both mmap locks for writing.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd(
    _vma: *mut bindings::vm_area_struct,
    _contexts: *mut bindings::list_head,
) -> c_int {
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

/// mremap is about to move `vma`.
///
/// # Safety
///
/// The caller holds the mmap lock for writing.
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_prep(
    _vma: *mut bindings::vm_area_struct,
    _moved: *mut bindings::vm_userfaultfd_ctx,
) {
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
