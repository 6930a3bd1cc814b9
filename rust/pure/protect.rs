// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_WRITEPROTECT` and `UFFDIO_RWPROTECT`: what is asked for, and of which VMAs.

use super::abi::Modes;
use super::errno::Errno;
use super::range::Range;

/// Which accesses to a page are to fault. Page table entries have one bit for both, so a VMA is
/// registered for one of them at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Writes.
    Write,
    /// All accesses.
    ReadWrite,
}

impl Protection {
    /// The registration that a VMA needs.
    pub const fn mode(self) -> Modes {
        match self {
            Self::Write => Modes::WP,
            Self::ReadWrite => Modes::RWP,
        }
    }

    /// The protection that pages of a VMA with `modes` can have.
    pub const fn of(modes: Modes) -> Option<Self> {
        if modes.intersects(Modes::WP) {
            Some(Self::Write)
        } else if modes.intersects(Modes::RWP) {
            Some(Self::ReadWrite)
        } else {
            None
        }
    }

    /// Whether all VMAs of a range are looked at before one is changed. Otherwise a refusal leaves
    /// those below the refused VMA changed.
    pub const fn is_all_or_nothing(self) -> bool {
        matches!(self, Self::ReadWrite)
    }

    /// Decides whether the part of `range` that lies in a VMA can change (the loop bodies of
    /// `mwriteprotect_range` and `mrwprotect_range`). The VMA is registered for `modes` and has
    /// pages of `page_size` bytes.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the VMA is not registered for this protection;
    /// - `EINVAL`: the range starts or ends inside a page of this size.
    pub const fn admit(self, modes: Modes, page_size: usize, range: &Range) -> Result<(), Errno> {
        if !modes.intersects(self.mode()) {
            return Err(Errno::ENOENT);
        }
        if !range.is_aligned(page_size) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// What becomes of the pages of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are protected.
    Protect(Protection),
    /// They are as accessible again as their VMA.
    Resolve(Protection),
}

impl Change {
    /// The protection that is put on or taken off.
    pub const fn protection(self) -> Protection {
        match self {
            Self::Protect(protection) | Self::Resolve(protection) => protection,
        }
    }
}

/// A request that may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to change.
    pub change: Change,
    /// Whether to wake who sleeps in the range, afterwards.
    pub wake: bool,
}

/// `UFFDIO_WRITEPROTECT_MODE_WP`, `UFFDIO_RWPROTECT_MODE_RWP`.
const PROTECT: u64 = 1 << 0;
/// `UFFDIO_WRITEPROTECT_MODE_DONTWAKE`, `UFFDIO_RWPROTECT_MODE_DONTWAKE`.
const DONTWAKE: u64 = 1 << 1;

impl Request {
    /// Reads the `mode` word of the ioctl for `protection` (the checks in
    /// `userfaultfd_writeprotect` and `userfaultfd_rwprotect`).
    ///
    /// # Errors
    ///
    /// `EINVAL`: an unknown bit, or no wake-up after a change that never wakes.
    pub const fn parse(protection: Protection, mode: u64) -> Result<Self, Errno> {
        match mode {
            PROTECT => Ok(Self {
                change: Change::Protect(protection),
                wake: false,
            }),
            0 | DONTWAKE => Ok(Self {
                change: Change::Resolve(protection),
                wake: mode == 0,
            }),
            _ => Err(Errno::EINVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Errno, Modes, Protection, Request};

    #[test]
    fn one_bit_is_one_protection() {
        for protection in [Protection::Write, Protection::ReadWrite] {
            assert_eq!(Protection::of(protection.mode()), Some(protection));
            assert_eq!(
                Protection::of(protection.mode().with(Modes::MISSING)),
                Some(protection)
            );
        }
        assert_eq!(Protection::of(Modes::MISSING.with(Modes::MINOR)), None);
    }

    #[test]
    fn resolving_wakes_unless_told_not_to() {
        let protection = Protection::ReadWrite;
        let resolve = |wake| {
            Ok(Request {
                change: Change::Resolve(protection),
                wake,
            })
        };
        assert_eq!(Request::parse(protection, 0), resolve(true));
        assert_eq!(Request::parse(protection, 2), resolve(false));
        assert_eq!(
            Request::parse(protection, 1),
            Ok(Request {
                change: Change::Protect(protection),
                wake: false
            })
        );
        for mode in [3, 4, 5, 1 << 63] {
            assert_eq!(Request::parse(protection, mode), Err(Errno::EINVAL));
        }
    }
}
