// SPDX-License-Identifier: GPL-2.0-only

//! Errors of decisions as the kernel's, and back.

use kernel::prelude::*;

use crate::pure::{
    errno::Errno,
    fill::Stop, //
};

impl From<Errno> for Error {
    #[inline]
    fn from(errno: Errno) -> Self {
        Self::from_errno(errno.negative())
    }
}

impl From<Error> for Errno {
    #[inline]
    fn from(error: Error) -> Self {
        // Errors of mm are errnos; what is none is not for user space.
        Self::from_negative(error.to_errno()).unwrap_or(Self::EINVAL)
    }
}

impl From<Stop> for Error {
    #[inline]
    fn from(stop: Stop) -> Self {
        stop.errno().into()
    }
}

impl From<Error> for Stop {
    #[inline]
    fn from(error: Error) -> Self {
        Self::Error(error.into())
    }
}
