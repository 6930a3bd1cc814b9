// SPDX-License-Identifier: GPL-2.0-only

//! userfaultfd(2).

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_long, //
    },
    macros::export, //
};

use crate::uffd::context::Context;

/// Body of userfaultfd(2): a new file descriptor, or a negative errno. Takes and holds no lock.
///
/// # Safety
///
/// Always safe to call; `#[export]` requires the `unsafe`.
#[export]
pub(crate) unsafe extern "C" fn uffd_rs_syscall(flags: c_int) -> c_long {
    // SAFETY: The glue's variable is there for ever; reading it races with the administrator only.
    let unprivileged = unsafe { bindings::uffd_glue_unprivileged() };
    match Context::create_checked(flags as u32, unprivileged) {
        Ok(descriptor) => descriptor as c_long,
        Err(error) => error.to_errno() as c_long,
    }
}
