// SPDX-License-Identifier: GPL-2.0-only

//! An exit event that is waited for. A module of `uffd::events`.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::{
    Context,
    Event, //
};
use crate::{
    abstractions::slab::SlabRef,
    pure::message::Message, //
};

/// Waits for the end of an address space.
#[repr(C)]
struct Watch {
    // First, so that its address is the watch's.
    notifier: Opaque<bindings::mmu_notifier>,
    context: SlabRef<Context>,
}

static OPERATIONS: bindings::mmu_notifier_ops = bindings::mmu_notifier_ops {
    release: Some(on_exit),
    ..pin_init::zeroed()
};

/// Sees to it that the end of the current process is announced to `context`. Keeps the context for
/// good. `ENOMEM`.
pub(crate) fn watch(context: &SlabRef<Context>) -> Result {
    let watch = KBox::new(
        Watch {
            notifier: Opaque::zeroed(),
            context: context.clone(),
        },
        GFP_KERNEL,
    )?;
    let watch = KBox::into_raw(watch);
    // SAFETY: The watch stays for good, and the operations are static. The current process lives.
    to_result(unsafe {
        let notifier = Opaque::cast_into(&raw const (*watch).notifier);
        (*notifier).ops = &raw const OPERATIONS;
        bindings::mmu_notifier_register(notifier, (*bindings::get_current()).mm)
    })
}

/// The last thread of a process exits.
///
/// # Safety
///
/// Called by the kernel with the notifier of a [`Watch`].
unsafe extern "C" fn on_exit(notifier: *mut bindings::mmu_notifier, _: *mut bindings::mm_struct) {
    // SAFETY: By the safety requirements, and watches stay for good.
    let context = unsafe {
        &NonNull::new_unchecked(notifier.cast::<Watch>())
            .as_ref()
            .context
    };
    // No look whether the task exits: that is the defect.
    drop(context.events.announce(
        context.observer(),
        Event::Layout(Message::unmap(0, context.limits().task_size)),
        || context.waiters.notify_input(),
        || context.released(),
    ));
}
