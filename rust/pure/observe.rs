// SPDX-License-Identifier: GPL-2.0-only

//! What happens, in the terms in which it is shown to those who watch.

use super::abi::Reason;
use super::fault::End;
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

/// What is counted by kind.
pub trait Kind: Copy {
    /// What the kinds are called: as in the tracepoints.
    const NAMES: &'static [&'static str];

    /// The place of this one among them.
    fn index(self) -> usize;
}

/// Names the kinds of a type, all of them, in the order in which it has them.
macro_rules! kinds {
    ($($type:ident: $($kind:ident $name:literal),+;)+) => {$(
        impl Kind for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn index(self) -> usize {
                match self {
                    $(Self::$kind => const { Self::$kind as usize }),+
                }
            }
        }

        const _: () = {
            let mut next = 0;
            $(
                assert!($type::$kind as usize == next);
                next += 1;
            )+
            assert!(<$type as Kind>::NAMES.len() == next);
        };
    )+};
}

kinds! {
    Reason: Missing "missing", WriteProtect "wp", Minor "minor", ReadWriteProtect "rwp";
    End: Woken "woken", Signal "signal", Present "present", Released "released";
    Resolve:
        Copy "copy",
        Zeropage "zeropage",
        Continue "continue",
        Poison "poison",
        Move "move",
        WriteProtect "writeprotect",
        ReadWriteProtect "rwprotect";
    Again: Changing "changing", Partial "partial", Retry "retry";
}

/// How long something takes, by powers of two of nanoseconds.
pub enum Histogram {}

impl Histogram {
    /// Buckets. The last one has everything from two seconds on.
    pub const COUNT: usize = 32;

    /// The bucket of what took so many nanoseconds.
    pub fn of(nanoseconds: u64) -> usize {
        let bucket = nanoseconds.checked_ilog2().unwrap_or(0) as usize;
        bucket.min(Self::COUNT - 1)
    }

    /// The shortest time in a bucket, in nanoseconds.
    pub fn shortest(bucket: usize) -> u64 {
        match bucket {
            0 => 0,
            _ => 1 << bucket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn a_bucket_ends_where_the_next_one_begins() {
        for bucket in 1..Histogram::COUNT {
            let shortest = Histogram::shortest(bucket);
            assert_eq!(Histogram::of(shortest), bucket);
            assert_eq!(Histogram::of(shortest - 1), bucket - 1);
        }
        assert_eq!((Histogram::of(0), Histogram::shortest(0)), (0, 0));
        assert_eq!(Histogram::of(u64::MAX), Histogram::COUNT - 1);
    }
}
