// SPDX-License-Identifier: GPL-2.0-only

//! Memory of the current process, one word at a time.

use kernel::{
    bindings,
    prelude::*,
    uaccess::UserPtr, //
};

/// Writes `word` to `to`, in the current process (`put_user`). `EFAULT`. May fault, and so sleep.
///
/// For one word this costs a fraction of what a copy does.
pub(crate) fn put_word(to: UserPtr, word: u64) -> Result {
    // SAFETY: Any address may be tried: it is checked, and a fault ends in an error.
    match unsafe { bindings::uffd_put_user_u64(word, to.as_mut_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}
