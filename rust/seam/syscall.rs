// SPDX-License-Identifier: GPL-2.0-only

//! userfaultfd(2).

use kernel::{
    error::code::ENOSYS,
    ffi::{
        c_int,
        c_long, //
    },
    macros::export, //
};

/// Body of userfaultfd(2): a new file descriptor, or a negative errno.
///
/// # Safety
///
/// Always safe to call; `#[export]` requires the `unsafe`.
#[export]
pub(crate) unsafe extern "C" fn uffd_rs_syscall(_flags: c_int) -> c_long {
    ENOSYS.to_errno() as c_long
}
