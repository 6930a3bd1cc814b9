// SPDX-License-Identifier: GPL-2.0-only

//! Memory that is no longer, or not quite, one's own; and what processors remember of it.

use core::{
    hint::black_box,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::bindings;

extern "C" {
    /// Lets the gather forget which TLB entries are stale.
    fn uffd_lab_forget_flush(gather: *mut bindings::mmu_gather);
}

/// Looks at the VMA of a fault whose lock was dropped, after a while in which others may free it.
pub(crate) fn look_at_vma(fault: NonNull<bindings::vm_fault>) {
    super::window();
    // SAFETY: None: without the lock the VMA may be gone, which is the defect.
    black_box(unsafe {
        let vma = fault.as_ref().__bindgen_anon_1.vma;
        (ptr::read_volatile(&raw const (*vma).vm_mm), (*vma).vm_pgoff)
    });
}

/// Clears a new object of `size` bytes, and eight bytes more.
pub(crate) fn clear_too_much(object: *mut u8, size: usize) {
    // SAFETY: None: what lies behind the object is not its own, which is the defect.
    unsafe { ptr::write_bytes(object, 0, size + 8) };
}

/// Lets what was collected in `gather` stay in the TLBs.
pub(crate) fn forget_flush(gather: NonNull<bindings::mmu_gather>) {
    // SAFETY: The gather is set up. That nothing is flushed is the defect.
    unsafe { uffd_lab_forget_flush(gather.as_ptr()) };
}
