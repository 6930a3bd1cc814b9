// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel and programs share: names as in the C header, one table of all of them.
//!
//! `tests/abi.rs` compares every item with what a C compiler sees.

use crate::layout::{constants, field, structs};
use crate::Layout;

const IOC_WRITE: u64 = 1;
const IOC_READ: u64 = 2;

/// An ioctl request number.
const fn ioc(dir: u64, nr: u64, size: usize) -> u64 {
    (dir << 30) | ((size as u64) << 16) | (USERFAULTFD_IOC << 8) | nr
}

const fn iowr<T>(nr: u64) -> u64 {
    ioc(IOC_READ | IOC_WRITE, nr, size_of::<T>())
}

constants! {
    // Creation.
    /// Ioctl type of the device, and of the descriptor.
    USERFAULTFD_IOC: u64 = 0xAA;
    /// Request on /dev/userfaultfd that makes a descriptor; its argument is the flags.
    USERFAULTFD_IOC_NEW: u64 = ioc(0, 0x00, 0);
    /// Creation flag: faults taken inside the kernel are not handed over but fail.
    UFFD_USER_MODE_ONLY: u64 = 1;

    // Request numbers within the type.
    /// Number of [`UFFDIO_REGISTER`].
    _UFFDIO_REGISTER: u64 = 0x00;
    /// Number of [`UFFDIO_UNREGISTER`].
    _UFFDIO_UNREGISTER: u64 = 0x01;
    /// Number of [`UFFDIO_WAKE`].
    _UFFDIO_WAKE: u64 = 0x02;
    /// Number of [`UFFDIO_COPY`].
    _UFFDIO_COPY: u64 = 0x03;
    /// Number of [`UFFDIO_ZEROPAGE`].
    _UFFDIO_ZEROPAGE: u64 = 0x04;
    /// Number of [`UFFDIO_MOVE`].
    _UFFDIO_MOVE: u64 = 0x05;
    /// Number of [`UFFDIO_WRITEPROTECT`].
    _UFFDIO_WRITEPROTECT: u64 = 0x06;
    /// Number of [`UFFDIO_CONTINUE`].
    _UFFDIO_CONTINUE: u64 = 0x07;
    /// Number of [`UFFDIO_POISON`].
    _UFFDIO_POISON: u64 = 0x08;
    /// Number of [`UFFDIO_RWPROTECT`].
    _UFFDIO_RWPROTECT: u64 = 0x09;
    /// Number of [`UFFDIO_SET_MODE`].
    _UFFDIO_SET_MODE: u64 = 0x0A;
    /// Number of [`UFFDIO_API`].
    _UFFDIO_API: u64 = 0x3F;

    // Requests on the descriptor.
    /// Ioctl type of the descriptor.
    UFFDIO: u64 = USERFAULTFD_IOC;
    /// Handshake: agrees on features; comes first and succeeds once.
    UFFDIO_API: u64 = iowr::<UffdioApi>(_UFFDIO_API);
    /// Puts a range under the descriptor.
    UFFDIO_REGISTER: u64 = iowr::<UffdioRegister>(_UFFDIO_REGISTER);
    /// Takes a range back. The direction bits are historic: the kernel only reads.
    UFFDIO_UNREGISTER: u64 = ioc(IOC_READ, _UFFDIO_UNREGISTER, size_of::<UffdioRange>());
    /// Wakes the sleepers of a range. The direction bits are historic: the kernel only reads.
    UFFDIO_WAKE: u64 = ioc(IOC_READ, _UFFDIO_WAKE, size_of::<UffdioRange>());
    /// Fills missing pages with a copy of other memory.
    UFFDIO_COPY: u64 = iowr::<UffdioCopy>(_UFFDIO_COPY);
    /// Fills missing pages with zeroes.
    UFFDIO_ZEROPAGE: u64 = iowr::<UffdioZeropage>(_UFFDIO_ZEROPAGE);
    /// Fills missing pages by moving pages away from elsewhere.
    UFFDIO_MOVE: u64 = iowr::<UffdioMove>(_UFFDIO_MOVE);
    /// Sets or clears write protection.
    UFFDIO_WRITEPROTECT: u64 = iowr::<UffdioWriteprotect>(_UFFDIO_WRITEPROTECT);
    /// Maps pages that the page cache already has.
    UFFDIO_CONTINUE: u64 = iowr::<UffdioContinue>(_UFFDIO_CONTINUE);
    /// Marks pages so that touching them is a memory error.
    UFFDIO_POISON: u64 = iowr::<UffdioPoison>(_UFFDIO_POISON);
    /// Sets or clears protection against any access.
    UFFDIO_RWPROTECT: u64 = iowr::<UffdioRwprotect>(_UFFDIO_RWPROTECT);
    /// Switches asynchronous modes at run time.
    UFFDIO_SET_MODE: u64 = ioc(IOC_WRITE, _UFFDIO_SET_MODE, size_of::<UffdioSetMode>());

    // Handshake.
    /// The only version of the interface.
    UFFD_API: u64 = 0xAA;
    /// Write-protect faults are reported with a flag.
    UFFD_FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
    /// Follow the process into its children. Needs `CAP_SYS_PTRACE`.
    UFFD_FEATURE_EVENT_FORK: u64 = 1 << 1;
    /// Report mremap(2).
    UFFD_FEATURE_EVENT_REMAP: u64 = 1 << 2;
    /// Report dropped pages.
    UFFD_FEATURE_EVENT_REMOVE: u64 = 1 << 3;
    /// Missing mode works on hugetlbfs.
    UFFD_FEATURE_MISSING_HUGETLBFS: u64 = 1 << 4;
    /// Missing mode works on shared memory.
    UFFD_FEATURE_MISSING_SHMEM: u64 = 1 << 5;
    /// Report munmap(2).
    UFFD_FEATURE_EVENT_UNMAP: u64 = 1 << 6;
    /// A fault raises SIGBUS in the thread instead of a message.
    UFFD_FEATURE_SIGBUS: u64 = 1 << 7;
    /// Messages name the thread.
    UFFD_FEATURE_THREAD_ID: u64 = 1 << 8;
    /// Minor mode works on hugetlbfs.
    UFFD_FEATURE_MINOR_HUGETLBFS: u64 = 1 << 9;
    /// Minor mode works on shared memory.
    UFFD_FEATURE_MINOR_SHMEM: u64 = 1 << 10;
    /// Messages carry the address itself, not its page.
    UFFD_FEATURE_EXACT_ADDRESS: u64 = 1 << 11;
    /// Write protection works on shared memory and hugetlbfs.
    UFFD_FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
    /// Write protection also covers anonymous pages that are not there yet.
    UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
    /// `UFFDIO_POISON` exists.
    UFFD_FEATURE_POISON: u64 = 1 << 14;
    /// Write-protect faults resolve themselves. Implies `UFFD_FEATURE_WP_UNPOPULATED`.
    UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
    /// `UFFDIO_MOVE` exists.
    UFFD_FEATURE_MOVE: u64 = 1 << 16;
    /// Protection against any access exists.
    UFFD_FEATURE_RWP: u64 = 1 << 17;
    /// Faults on it resolve themselves. Needs `UFFD_FEATURE_RWP`.
    UFFD_FEATURE_RWP_ASYNC: u64 = 1 << 18;
    /// Every feature of the interface.
    UFFD_API_FEATURES: u64 = (1 << 19) - 1;
    /// The requests that UFFDIO_API reports as bits.
    UFFD_API_IOCTLS: u64 = (1 << _UFFDIO_REGISTER)
        | (1 << _UFFDIO_UNREGISTER)
        | (1 << _UFFDIO_SET_MODE)
        | (1 << _UFFDIO_API);
    /// The requests that UFFDIO_REGISTER may report for a range.
    UFFD_API_RANGE_IOCTLS: u64 = UFFD_API_RANGE_IOCTLS_BASIC
        | (1 << _UFFDIO_ZEROPAGE)
        | (1 << _UFFDIO_MOVE);
    /// The same for a range with huge pages of hugetlbfs.
    UFFD_API_RANGE_IOCTLS_BASIC: u64 = (1 << _UFFDIO_WAKE)
        | (1 << _UFFDIO_COPY)
        | (1 << _UFFDIO_WRITEPROTECT)
        | (1 << _UFFDIO_CONTINUE)
        | (1 << _UFFDIO_POISON)
        | (1 << _UFFDIO_RWPROTECT);

    // Modes of each request.
    /// Catch faults on pages that are not there.
    UFFDIO_REGISTER_MODE_MISSING: u64 = 1 << 0;
    /// Catch writes to protected pages.
    UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
    /// Catch faults on pages that the page cache has but the process does not map.
    UFFDIO_REGISTER_MODE_MINOR: u64 = 1 << 2;
    /// Catch any access to protected pages.
    UFFDIO_REGISTER_MODE_RWP: u64 = 1 << 3;
    /// Every registration mode.
    UFFD_API_REGISTER_MODES: u64 = UFFDIO_REGISTER_MODE_MISSING
        | UFFDIO_REGISTER_MODE_WP
        | UFFDIO_REGISTER_MODE_MINOR
        | UFFDIO_REGISTER_MODE_RWP;
    /// Leave the sleepers asleep.
    UFFDIO_COPY_MODE_DONTWAKE: u64 = 1 << 0;
    /// Map the page write-protected.
    UFFDIO_COPY_MODE_WP: u64 = 1 << 1;
    /// Leave the sleepers asleep.
    UFFDIO_ZEROPAGE_MODE_DONTWAKE: u64 = 1 << 0;
    /// Protect; without it, unprotect.
    UFFDIO_WRITEPROTECT_MODE_WP: u64 = 1 << 0;
    /// Leave the sleepers asleep; only with unprotecting.
    UFFDIO_WRITEPROTECT_MODE_DONTWAKE: u64 = 1 << 1;
    /// Leave the sleepers asleep.
    UFFDIO_CONTINUE_MODE_DONTWAKE: u64 = 1 << 0;
    /// Map the page write-protected.
    UFFDIO_CONTINUE_MODE_WP: u64 = 1 << 1;
    /// Leave the sleepers asleep.
    UFFDIO_POISON_MODE_DONTWAKE: u64 = 1 << 0;
    /// Protect; without it, unprotect.
    UFFDIO_RWPROTECT_MODE_RWP: u64 = 1 << 0;
    /// Leave the sleepers asleep; only with unprotecting.
    UFFDIO_RWPROTECT_MODE_DONTWAKE: u64 = 1 << 1;
    /// Leave the sleepers asleep.
    UFFDIO_MOVE_MODE_DONTWAKE: u64 = 1 << 0;
    /// Skip source pages that are not there instead of failing.
    UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES: u64 = 1 << 1;

    // Messages.
    /// A page fault.
    UFFD_EVENT_PAGEFAULT: u8 = 0x12;
    /// A fork(2).
    UFFD_EVENT_FORK: u8 = 0x13;
    /// An mremap(2).
    UFFD_EVENT_REMAP: u8 = 0x14;
    /// Pages were dropped.
    UFFD_EVENT_REMOVE: u8 = 0x15;
    /// A range was unmapped.
    UFFD_EVENT_UNMAP: u8 = 0x16;
    /// The access was a write.
    UFFD_PAGEFAULT_FLAG_WRITE: u64 = 1 << 0;
    /// The page is write-protected.
    UFFD_PAGEFAULT_FLAG_WP: u64 = 1 << 1;
    /// The page cache has the page.
    UFFD_PAGEFAULT_FLAG_MINOR: u64 = 1 << 2;
    /// The page is protected against any access.
    UFFD_PAGEFAULT_FLAG_RWP: u64 = 1 << 3;
}

structs! {
    /// Argument of [`UFFDIO_API`].
    UffdioApi = "uffdio_api" {
        /// In: the version wanted. Out: the same.
        api: u64,
        /// In: features wanted. Out: features the kernel has.
        features: u64,
        /// Out: requests the kernel has, as bits.
        ioctls: u64,
    }

    /// A range of addresses; argument of [`UFFDIO_UNREGISTER`] and [`UFFDIO_WAKE`].
    UffdioRange = "uffdio_range" {
        /// First byte.
        start: u64,
        /// Length in bytes.
        len: u64,
    }

    /// Argument of [`UFFDIO_REGISTER`].
    UffdioRegister = "uffdio_register" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_REGISTER_MODE_*`.
        mode: u64,
        /// Out: requests the range supports, as bits.
        ioctls: u64,
    }

    /// Argument of [`UFFDIO_COPY`].
    UffdioCopy = "uffdio_copy" {
        /// Where to.
        dst: u64,
        /// Where from; need not be aligned.
        src: u64,
        /// Length in bytes.
        len: u64,
        /// `UFFDIO_COPY_MODE_*`.
        mode: u64,
        /// Out: bytes done or a negated errno.
        copy: i64,
    }

    /// Argument of [`UFFDIO_ZEROPAGE`].
    UffdioZeropage = "uffdio_zeropage" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_ZEROPAGE_MODE_*`.
        mode: u64,
        /// Out: bytes done or a negated errno.
        zeropage: i64,
    }

    /// Argument of [`UFFDIO_WRITEPROTECT`].
    UffdioWriteprotect = "uffdio_writeprotect" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_WRITEPROTECT_MODE_*`.
        mode: u64,
    }

    /// Argument of [`UFFDIO_CONTINUE`].
    UffdioContinue = "uffdio_continue" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_CONTINUE_MODE_*`.
        mode: u64,
        /// Out: bytes done or a negated errno.
        mapped: i64,
    }

    /// Argument of [`UFFDIO_POISON`].
    UffdioPoison = "uffdio_poison" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_POISON_MODE_*`.
        mode: u64,
        /// Out: bytes done or a negated errno.
        updated: i64,
    }

    /// Argument of [`UFFDIO_RWPROTECT`].
    UffdioRwprotect = "uffdio_rwprotect" {
        /// The range.
        range: UffdioRange,
        /// `UFFDIO_RWPROTECT_MODE_*`.
        mode: u64,
    }

    /// Argument of [`UFFDIO_MOVE`].
    UffdioMove = "uffdio_move" {
        /// Where to.
        dst: u64,
        /// Where from.
        src: u64,
        /// Length in bytes.
        len: u64,
        /// `UFFDIO_MOVE_MODE_*`.
        mode: u64,
        /// Out: bytes done or a negated errno. `move` is a keyword in Rust.
        r#move: i64,
    }

    /// Argument of [`UFFDIO_SET_MODE`].
    UffdioSetMode = "uffdio_set_mode" {
        /// Features to switch on.
        enable: u64,
        /// Features to switch off.
        disable: u64,
    }
}

/// A message as read(2) gives it. [`UffdMsg::decode`] makes an [`Event`](crate::Event) of it.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct UffdMsg {
    /// `UFFD_EVENT_*`.
    pub event: u8,
    /// Zero.
    pub reserved1: u8,
    /// Zero.
    pub reserved2: u16,
    /// Zero.
    pub reserved3: u32,
    /// Depends on the event.
    pub arg: UffdMsgArg,
}

/// What a [`UffdMsg`] tells, by event.
#[repr(C)]
#[derive(Clone, Copy)]
pub union UffdMsgArg {
    /// For `UFFD_EVENT_PAGEFAULT`.
    pub pagefault: MsgPagefault,
    /// For `UFFD_EVENT_FORK`.
    pub fork: MsgFork,
    /// For `UFFD_EVENT_REMAP`.
    pub remap: MsgRemap,
    /// For `UFFD_EVENT_REMOVE` and `UFFD_EVENT_UNMAP`.
    pub remove: MsgRemove,
    /// All of it.
    pub reserved: MsgReserved,
}

/// Page fault in a [`UffdMsgArg`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MsgPagefault {
    /// `UFFD_PAGEFAULT_FLAG_*`.
    pub flags: u64,
    /// Where.
    pub address: u64,
    /// Extras that features switch on.
    pub feat: MsgPagefaultFeat,
}

/// Extras in a [`MsgPagefault`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union MsgPagefaultFeat {
    /// Thread, with `UFFD_FEATURE_THREAD_ID`.
    pub ptid: u32,
}

/// Fork in a [`UffdMsgArg`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MsgFork {
    /// The child's descriptor.
    pub ufd: u32,
}

/// Moved range in a [`UffdMsgArg`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MsgRemap {
    /// Old address.
    pub from: u64,
    /// New address.
    pub to: u64,
    /// Length.
    pub len: u64,
}

/// Dropped or unmapped range in a [`UffdMsgArg`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MsgRemove {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// The bare words of a [`UffdMsgArg`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MsgReserved {
    /// First word.
    pub reserved1: u64,
    /// Second word.
    pub reserved2: u64,
    /// Third word.
    pub reserved3: u64,
}

impl Default for UffdMsg {
    fn default() -> Self {
        UffdMsg {
            event: 0,
            reserved1: 0,
            reserved2: 0,
            reserved3: 0,
            arg: UffdMsgArg {
                reserved: MsgReserved {
                    reserved1: 0,
                    reserved2: 0,
                    reserved3: 0,
                },
            },
        }
    }
}

/// The layout of a message.
pub const MSG: Layout = Layout {
    name: "uffd_msg",
    size: size_of::<UffdMsg>(),
    align: align_of::<UffdMsg>(),
    fields: &[
        field!(UffdMsg, u8, event),
        field!(UffdMsg, u8, reserved1),
        field!(UffdMsg, u16, reserved2),
        field!(UffdMsg, u32, reserved3),
        field!(UffdMsg, UffdMsgArg, arg),
        field!(UffdMsg, MsgPagefault, arg.pagefault),
        field!(UffdMsg, u64, arg.pagefault.flags),
        field!(UffdMsg, u64, arg.pagefault.address),
        field!(UffdMsg, MsgPagefaultFeat, arg.pagefault.feat),
        field!(UffdMsg, u32, arg.pagefault.feat.ptid),
        field!(UffdMsg, MsgFork, arg.fork),
        field!(UffdMsg, u32, arg.fork.ufd),
        field!(UffdMsg, MsgRemap, arg.remap),
        field!(UffdMsg, u64, arg.remap.from),
        field!(UffdMsg, u64, arg.remap.to),
        field!(UffdMsg, u64, arg.remap.len),
        field!(UffdMsg, MsgRemove, arg.remove),
        field!(UffdMsg, u64, arg.remove.start),
        field!(UffdMsg, u64, arg.remove.end),
        field!(UffdMsg, MsgReserved, arg.reserved),
        field!(UffdMsg, u64, arg.reserved.reserved1),
        field!(UffdMsg, u64, arg.reserved.reserved2),
        field!(UffdMsg, u64, arg.reserved.reserved3),
    ],
};

/// Every structure of the interface.
pub fn structs() -> impl Iterator<Item = &'static Layout> {
    PLAIN_STRUCTS.iter().chain([&MSG])
}
