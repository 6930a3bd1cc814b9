// SPDX-License-Identifier: GPL-2.0-only

//! Errors: an errno, and for the filling calls also what the kernel put in the result field.

use core::fmt;
use nix::errno::Errno;

/// Result of a call whose only news on failure is the errno.
pub type Result<T> = core::result::Result<T, Errno>;

/// A filling call (COPY, ZEROPAGE, MOVE, CONTINUE, POISON) that did not do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// What the call returned.
    pub errno: Errno,
    /// The result field: bytes done if positive, a negated errno if negative, and 0 if the
    /// kernel failed before it wrote anything.
    pub result: i64,
}

impl fmt::Display for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (result field {})", self.errno, self.result)
    }
}

impl core::error::Error for Partial {}

impl From<Partial> for Errno {
    fn from(partial: Partial) -> Errno {
        partial.errno
    }
}
