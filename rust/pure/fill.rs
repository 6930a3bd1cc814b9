// SPDX-License-Identifier: GPL-2.0-only

//! Filling a range: which mode bits each ioctl knows, what it reports, whom it wakes.
//!
//! `UFFDIO_COPY`, `ZEROPAGE`, `CONTINUE`, `POISON` and `MOVE` share one frame. In order:
//!
//! 1. mappings are changing: [`Report::mappings_changing`], before anything is copied in;
//! 2. the arguments are copied in (`EFAULT`), the ranges are checked (`EINVAL`), then the mode by
//!    [`FillKind::parse_mode`];
//! 3. the address space is pinned (`ESRCH`, which is returned and leaves the result field alone);
//! 4. page after page is filled, counted by [`Fill`], which ends in a [`Report`];
//! 5. the result field is written, and [`Report::conclude`] says the rest.

use super::errno::Errno;
use super::observe::Again;
use super::range::Range;

/// The ioctls that fill a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillKind {
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
}

/// The `mode` of a fill, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillMode {
    /// Wake the sleepers of what was filled.
    pub wake: bool,
    /// Map write-protected.
    pub write_protect: bool,
    /// Skip holes in the source.
    pub allow_src_holes: bool,
}

impl FillKind {
    /// `DONTWAKE` of every ioctl.
    const DONTWAKE: u64 = 1 << 0;
    /// `WP` of copy and continue; `ALLOW_SRC_HOLES` of move.
    const SECOND: u64 = 1 << 1;

    /// Reads the mode bits of this ioctl.
    ///
    /// # Errors
    ///
    /// `EINVAL`: a bit that this ioctl does not know.
    pub const fn parse_mode(self, mode: u64) -> Result<FillMode, Errno> {
        let (wp, holes) = match self {
            Self::Copy | Self::Continue => (true, false),
            Self::Move => (false, true),
            Self::Zeropage | Self::Poison => (false, false),
        };
        let second = mode & Self::SECOND != 0;
        if mode & !(Self::DONTWAKE | Self::SECOND) != 0 || (second && !wp && !holes) {
            return Err(Errno::EINVAL);
        }
        Ok(FillMode {
            wake: mode & Self::DONTWAKE == 0,
            write_protect: second && wp,
            allow_src_holes: second && holes,
        })
    }
}

/// What ended a fill or a change of protection early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Mappings are changing.
    Changing,
    /// Something else.
    Error(Errno),
}

impl Stop {
    /// What the caller is told: mappings that change are `EAGAIN`.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Changing => Errno::EAGAIN,
            Self::Error(errno) => errno,
        }
    }

    /// The reason for which the caller is told to try again, if it is.
    pub fn again(self) -> Option<Again> {
        match self {
            Self::Changing => Some(Again::Changing),
            Self::Error(Errno::EAGAIN) => Some(Again::Retry),
            Self::Error(_) => None,
        }
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// How far a fill has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    range: Range,
    /// Bytes filled; at most the size of the range.
    done: usize,
}

impl Fill {
    /// Starts at the beginning of the destination.
    pub const fn new(range: Range) -> Self {
        Self { range, done: 0 }
    }

    /// Bytes filled so far; also the offset of the next page in source and destination.
    pub const fn done(&self) -> usize {
        self.done
    }

    /// The rest of the destination, or `None` when it is full.
    pub fn rest(&self) -> Option<Range> {
        // OVERFLOW: `done` is at most the size of the range.
        Range::new(self.range.start() + self.done, self.range.end())
    }

    /// Counts `bytes` more as filled.
    pub fn advance(&mut self, bytes: usize) {
        self.done = self.done.saturating_add(bytes).min(self.range.size());
    }

    /// Ends the fill. `stop` is the error that ended it, if one did; it is reported only if nothing
    /// was filled before (return value of `mfill_atomic`).
    pub fn finish(self, stop: Option<Stop>) -> Report {
        match self.range.prefix(self.done) {
            Some(filled) => Report {
                field: filled.size() as i64,
                filled: Some(filled),
                result: if self.done == self.range.size() {
                    Ok(())
                } else {
                    Err(Stop::Error(Errno::EAGAIN))
                },
            },
            None => Report::failure(stop.unwrap_or(Stop::Error(Errno::EAGAIN))),
        }
    }
}

/// What a fill has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "user space has to be told"]
pub struct Report {
    /// For the result field of the ioctl's struct: bytes filled, never zero, or `-errno`.
    pub field: i64,
    filled: Option<Range>,
    result: Result<(), Stop>,
}

impl Report {
    /// Mappings are changing, so nothing was tried: `EAGAIN`, in the field and from the ioctl.
    pub const fn mappings_changing() -> Self {
        Self::failure(Stop::Changing)
    }

    /// Nothing was filled because of `stop`.
    const fn failure(stop: Stop) -> Self {
        let errno = stop.errno();
        Self {
            field: errno.negative() as i64,
            filled: None,
            result: Err(stop),
        }
    }

    /// The reason for which the caller is told to try again, if it is.
    pub fn again(&self) -> Option<Again> {
        match (self.result, self.filled) {
            (Ok(()), _) => None,
            (Err(_), Some(_)) => Some(Again::Partial),
            (Err(stop), None) => stop.again(),
        }
    }

    /// The last step: which range to wake and what the ioctl returns.
    ///
    /// `stored` tells whether the result field could be written. If not, nobody is woken, although
    /// pages may have been filled: that is how the ABI is.
    ///
    /// The ioctl returns `EFAULT` if the field could not be written, the error of the fill if it
    /// filled nothing, `EAGAIN` if it filled a part, whatever stopped it.
    pub fn conclude(self, stored: bool, wake: bool) -> (Option<Range>, Result<(), Errno>) {
        if !stored {
            return (None, Err(Errno::EFAULT));
        }
        (
            self.filled.filter(|_| wake),
            self.result.map_err(Stop::errno),
        )
    }
}
