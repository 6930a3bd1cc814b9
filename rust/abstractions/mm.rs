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

/// What a range in `mm` is checked against.
pub(crate) fn limits(mm: &Mm) -> Limits {
    // SAFETY: `mm` is a reference; the size is set when the process starts its program.
    let task_size = unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size };
    Limits {
        page_size: PAGE_SIZE,
        task_size,
    }
}
