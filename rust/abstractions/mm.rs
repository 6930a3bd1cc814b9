// SPDX-License-Identifier: GPL-2.0-only

//! Facts about an address space.

use kernel::{
    mm::Mm,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};

use crate::pure::range::Limits;

/// A reference that keeps the current process's `mm_struct`, not its memory, in existence.
/// `ESRCH` for a kernel thread, which has none.
pub(crate) fn current_mm() -> Result<ARef<Mm>> {
    Ok(ARef::from(&**current!().mm().ok_or(ESRCH)?))
}

/// Whether `mm` is the address space of the current process.
pub(crate) fn is_own(mm: &Mm) -> bool {
    current!()
        .mm()
        .is_some_and(|own| core::ptr::eq(own.as_raw(), mm.as_raw()))
}

/// The structure of an address space that nobody uses.
#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
pub(crate) fn unused_mm() -> Result<ARef<Mm>> {
    // SAFETY: The result is null, or comes with the reference of a user.
    let mm = core::ptr::NonNull::new(unsafe { kernel::bindings::mm_alloc() }).ok_or(ENOMEM)?;
    // SAFETY: That reference is taken over. The type is transparent.
    let mm = unsafe { ARef::<kernel::mm::MmWithUser>::from_raw(mm.cast()) };
    Ok(ARef::from(&**mm))
}

/// What a range in `mm` is checked against.
pub(crate) fn limits(mm: &Mm) -> Limits {
    // SAFETY: `mm` is a reference; the size is set when the process starts its program.
    let task_size = unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size };
    Limits {
        page_size: PAGE_SIZE,
        task_size,
    }
}
