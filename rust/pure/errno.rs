// SPDX-License-Identifier: GPL-2.0-only

//! Error numbers as a type.

use core::fmt;

/// An error number between 1 and 4095, as `-errno` travels through the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u16);

/// Largest number the kernel accepts as an error (`MAX_ERRNO`).
const MAX: i32 = 4095;

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// No such entry: here, no registered VMA spans the range.
    pub const ENOENT: Self = Self(2);
    /// No such process: the address space is gone.
    pub const ESRCH: Self = Self(3);
    /// A fatal signal ended the work early.
    pub const EINTR: Self = Self(4);
    /// Try again.
    pub const EAGAIN: Self = Self(11);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// Bad user address.
    pub const EFAULT: Self = Self(14);
    /// Another userfaultfd, or a mode that cannot be dropped, is in the way.
    pub const EBUSY: Self = Self(16);
    /// A page is already there.
    pub const EEXIST: Self = Self(17);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// A signal interrupted the call, which may be restarted; never seen by user space.
    pub const ERESTARTSYS: Self = Self(512);

    /// Takes over `-errno` as C functions and `kernel::error::Error::to_errno` give it.
    ///
    /// `None` for anything outside `-4095..=-1`.
    pub const fn from_negative(code: i32) -> Option<Self> {
        if code < 0 && code >= -MAX {
            Some(Self(code.unsigned_abs() as u16))
        } else {
            None
        }
    }

    /// The negative number, always in `-4095..=-1`, for `kernel::error::Error::from_errno`.
    pub const fn negative(self) -> i32 {
        -(self.0 as i32)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn negative_round_trip() {
        for code in -4095..0 {
            assert_eq!(Errno::from_negative(code).map(Errno::negative), Some(code));
        }
        for code in [i32::MIN, -4096, 0, 1, i32::MAX] {
            assert_eq!(Errno::from_negative(code), None);
        }
    }
}
