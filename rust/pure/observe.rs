// SPDX-License-Identifier: GPL-2.0-only

//! What happens, in the terms in which it is shown to those who watch.

use super::fill::FillKind;
use super::protect::Protection;

/// The ioctls that resolve faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// `UFFDIO_COPY`.
    Copy,
    /// `UFFDIO_ZEROPAGE`.
    Zeropage,
    /// `UFFDIO_CONTINUE`.
    Continue,
    /// `UFFDIO_POISON`.
    Poison,
    /// `UFFDIO_MOVE`.
    Move,
    /// `UFFDIO_WRITEPROTECT`.
    WriteProtect,
    /// `UFFDIO_RWPROTECT`.
    ReadWriteProtect,
}

impl From<FillKind> for Resolve {
    fn from(kind: FillKind) -> Self {
        match kind {
            FillKind::Copy => Self::Copy,
            FillKind::Zeropage => Self::Zeropage,
            FillKind::Continue => Self::Continue,
            FillKind::Poison => Self::Poison,
            FillKind::Move => Self::Move,
        }
    }
}

impl From<Protection> for Resolve {
    fn from(protection: Protection) -> Self {
        match protection {
            Protection::Write => Self::WriteProtect,
            Protection::ReadWrite => Self::ReadWriteProtect,
        }
    }
}

/// Why the caller of a resolving ioctl is told to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Mappings are changing, and user space is yet to be told.
    Changing,
    /// A part of the range was done before something stopped it.
    Partial,
    /// The memory changed while it was not locked, or too many others have its lock.
    Retry,
}
