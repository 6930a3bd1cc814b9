// SPDX-License-Identifier: GPL-2.0-only

//! The exit hook of the historical bug.
//!
//! It runs when a thread exits, while other threads of the process live on. It walks the VMAs
//! as if it was alone, and looks into the context of each. A context that another thread closes
//! meanwhile is taken out of the VMA, which this walk has passed by then, and freed.
//!
//! There is no hook of userfaultfd in exit any more, so this one is a probe of a tracepoint.

use core::{
    ffi::c_void,
    hint::black_box,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::ForeignOwnable, //
};

use crate::{
    abstractions::slab::SlabRef,
    uffd::context::Context, //
};

#[allow(improper_ctypes, reason = "nothing but its address is used")]
extern "C" {
    static __tracepoint_sched_process_exit: bindings::tracepoint;
}

/// Makes the hook run when threads exit.
pub(super) fn install() -> Result {
    // SAFETY: The tracepoint is built in. The probe has the arguments of its events.
    to_result(unsafe {
        bindings::tracepoint_probe_register(
            (&raw const __tracepoint_sched_process_exit).cast_mut(),
            on_exit as *mut c_void,
            ptr::null_mut(),
        )
    })
}

/// # Safety
///
/// Called by the kernel in a task that exits.
unsafe extern "C" fn on_exit(_: *mut c_void, _: *mut bindings::task_struct, _group_dead: bool) {
    let task = current!();
    let Some(mm) = task.mm() else {
        return;
    };
    let mut vmi = MaybeUninit::<bindings::vma_iterator>::uninit();
    // SAFETY: The address space is the task's. Nothing keeps its VMAs, nor what they are registered
    // with, which is the defect.
    unsafe {
        bindings::uffd_vma_iter_init(vmi.as_mut_ptr(), mm.as_raw(), 0);
        while let Some(vma) = NonNull::new(bindings::uffd_vma_find(vmi.as_mut_ptr(), usize::MAX)) {
            let context = ptr::read_volatile(&raw const (*vma.as_ptr()).vm_userfaultfd_ctx.ctx);
            if !context.is_null() {
                super::busy_window(200);
                let context = SlabRef::<Context>::borrow(context.cast());
                black_box(context.limits().task_size);
            }
        }
    }
}
