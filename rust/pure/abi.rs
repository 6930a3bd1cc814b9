// SPDX-License-Identifier: GPL-2.0-only

//! The numbers of `<linux/userfaultfd.h>` that decisions need, one type per kind of bit.

/// The only API version there is (`UFFD_API`).
pub const UFFD_API: u64 = 0xAA;

/// Defines a set of bits over `u64` whose operations are `const`.
macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u64);

        #[allow(
            dead_code,
            reason = "each set has all operations; the kernel crate does not need each of each"
        )]
        impl $name {
            /// No bit set.
            pub const NONE: Self = Self(0);
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// Takes the bits as they are, known or not.
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            /// The bits as user space sees them.
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any bit of `other` is set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The bits of both.
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits that `other` lacks.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that `other` has as well.
            pub const fn common(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
    };
}

bit_set! {
    /// `UFFD_FEATURE_*`: what a context can be asked for in `UFFDIO_API`.
    Features {
        /// Write-protect faults carry a flag; the feature behind `UFFDIO_WRITEPROTECT`.
        PAGEFAULT_FLAG_WP = 1 << 0;
        /// A child of fork is announced with a userfaultfd of its own.
        EVENT_FORK = 1 << 1;
        /// mremap is announced.
        EVENT_REMAP = 1 << 2;
        /// madvise that discards pages is announced.
        EVENT_REMOVE = 1 << 3;
        /// Missing faults on hugetlbfs.
        MISSING_HUGETLBFS = 1 << 4;
        /// Missing faults on shared memory.
        MISSING_SHMEM = 1 << 5;
        /// munmap is announced.
        EVENT_UNMAP = 1 << 6;
        /// A fault raises SIGBUS instead of a message.
        SIGBUS = 1 << 7;
        /// Messages name the faulting thread.
        THREAD_ID = 1 << 8;
        /// Minor faults on hugetlbfs.
        MINOR_HUGETLBFS = 1 << 9;
        /// Minor faults on shared memory.
        MINOR_SHMEM = 1 << 10;
        /// Messages carry the address with its offset in the page.
        EXACT_ADDRESS = 1 << 11;
        /// Write protection of hugetlbfs and shared memory.
        WP_HUGETLBFS_SHMEM = 1 << 12;
        /// Write protection reaches pages that are not there yet.
        WP_UNPOPULATED = 1 << 13;
        /// `UFFDIO_POISON`.
        POISON = 1 << 14;
        /// Write protection resolves itself.
        WP_ASYNC = 1 << 15;
        /// `UFFDIO_MOVE`.
        MOVE = 1 << 16;
        /// Read-write protection.
        RWP = 1 << 17;
        /// Read-write protection resolves itself.
        RWP_ASYNC = 1 << 18;
        /// Everything the ABI defines (`UFFD_API_FEATURES`).
        ALL = (1 << 19) - 1;
    }
}

bit_set! {
    /// `UFFDIO_REGISTER_MODE_*`: what a range is, or is to be, registered for.
    Modes {
        /// Faults on pages that are not there.
        MISSING = 1 << 0;
        /// Writes to write-protected pages.
        WP = 1 << 1;
        /// Faults on pages that are in the page cache but not mapped.
        MINOR = 1 << 2;
        /// Any access to read-write-protected pages.
        RWP = 1 << 3;
        /// Everything the ABI defines (`UFFD_API_REGISTER_MODES`).
        ALL = (1 << 4) - 1;
    }
}

bit_set! {
    /// One bit per ioctl number, as the `ioctls` fields answer them.
    Ioctls {
        /// `UFFDIO_REGISTER`.
        REGISTER = 1 << 0x00;
        /// `UFFDIO_UNREGISTER`.
        UNREGISTER = 1 << 0x01;
        /// `UFFDIO_WAKE`.
        WAKE = 1 << 0x02;
        /// `UFFDIO_COPY`.
        COPY = 1 << 0x03;
        /// `UFFDIO_ZEROPAGE`.
        ZEROPAGE = 1 << 0x04;
        /// `UFFDIO_MOVE`.
        MOVE = 1 << 0x05;
        /// `UFFDIO_WRITEPROTECT`.
        WRITEPROTECT = 1 << 0x06;
        /// `UFFDIO_CONTINUE`.
        CONTINUE = 1 << 0x07;
        /// `UFFDIO_POISON`.
        POISON = 1 << 0x08;
        /// `UFFDIO_RWPROTECT`.
        RWPROTECT = 1 << 0x09;
        /// `UFFDIO_SET_MODE`.
        SET_MODE = 1 << 0x0A;
        /// `UFFDIO_API`.
        API = 1 << 0x3F;
        /// What works on a context (`UFFD_API_IOCTLS`).
        CONTEXT = Self::REGISTER
            .with(Self::UNREGISTER)
            .with(Self::SET_MODE)
            .with(Self::API)
            .bits();
        /// What can work on a range (`UFFD_API_RANGE_IOCTLS`).
        RANGE = Self::WAKE
            .with(Self::COPY)
            .with(Self::ZEROPAGE)
            .with(Self::MOVE)
            .with(Self::WRITEPROTECT)
            .with(Self::CONTINUE)
            .with(Self::POISON)
            .with(Self::RWPROTECT)
            .bits();
        /// What can work on a range with huge pages in it (`UFFD_API_RANGE_IOCTLS_BASIC`).
        RANGE_HUGETLB = Self::RANGE.without(Self::ZEROPAGE).without(Self::MOVE).bits();
    }
}

bit_set! {
    /// `UFFD_PAGEFAULT_FLAG_*`: why a fault happened.
    FaultFlags {
        /// It was a write.
        WRITE = 1 << 0;
        /// The page was write-protected.
        WP = 1 << 1;
        /// The page was in the page cache.
        MINOR = 1 << 2;
        /// The page was read-write-protected.
        RWP = 1 << 3;
    }
}

/// `UFFD_EVENT_*`: the first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// A thread is waiting for a page.
    PageFault = 0x12,
    /// An address space was copied.
    Fork = 0x13,
    /// A mapping moved.
    Remap = 0x14,
    /// Pages were discarded.
    Remove = 0x15,
    /// A mapping went away.
    Unmap = 0x16,
}

/// Which registration a fault fell under; exactly one of [`Modes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The page is not there.
    Missing,
    /// The page is write-protected.
    WriteProtect,
    /// The page is in the page cache but not mapped.
    Minor,
    /// The page is read-write-protected.
    ReadWriteProtect,
}

impl Reason {
    /// The reason that `modes` names, or `None` unless exactly one known bit is set.
    pub fn from_modes(modes: Modes) -> Option<Self> {
        match modes {
            Modes::MISSING => Some(Self::Missing),
            Modes::WP => Some(Self::WriteProtect),
            Modes::MINOR => Some(Self::Minor),
            Modes::RWP => Some(Self::ReadWriteProtect),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Features, Ioctls, Modes, Reason};

    #[test]
    fn masks_match_the_header() {
        assert_eq!(Features::ALL.bits(), 0x7_ffff);
        assert_eq!(Ioctls::CONTEXT.bits(), 0x8000_0000_0000_0403);
        assert_eq!(Ioctls::RANGE.bits(), 0x3fc);
        assert_eq!(Ioctls::RANGE_HUGETLB.bits(), 0x3cc);
    }

    #[test]
    fn a_reason_is_one_mode() {
        let named = (0..32).filter(|&bits| Reason::from_modes(Modes::from_bits(bits)).is_some());
        assert!(named.eq([1, 2, 4, 8]));
    }
}
