// SPDX-License-Identifier: GPL-2.0-only

//! Messages as Rust values.

use crate::abi::*;
use std::os::fd::RawFd;

/// A page fault that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pagefault {
    /// `UFFD_PAGEFAULT_FLAG_*`.
    pub flags: u64,
    /// The address, rounded down to its page unless `UFFD_FEATURE_EXACT_ADDRESS` was asked for.
    pub address: u64,
    /// The thread, as its own PID namespace numbers it, or 0 without `UFFD_FEATURE_THREAD_ID`.
    pub ptid: u32,
}

/// A decoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread sleeps in a fault.
    Pagefault(Pagefault),
    /// The process forked; the child's faults come through the descriptor, which reading the
    /// message has just installed and which the reader now owns.
    Fork(RawFd),
    /// mremap(2) moved a registered range.
    Remap {
        /// Old address.
        from: u64,
        /// New address.
        to: u64,
        /// Length of the range.
        len: u64,
    },
    /// The pages were dropped (madvise(2) and the like); the range is still registered.
    Remove {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// The range was unmapped.
    Unmap {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// An event number this crate does not know.
    Unknown(u8),
}

impl Event {
    /// The page fault, if it is one.
    pub fn pagefault(self) -> Option<Pagefault> {
        match self {
            Event::Pagefault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl core::fmt::Debug for UffdMsg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.decode().fmt(f)
    }
}

impl UffdMsg {
    /// Decodes the message.
    pub fn decode(&self) -> Event {
        let arg = self.arg;
        // SAFETY: every member of the union consists of integers, for which any bytes are
        // valid, and all of its 24 bytes are initialised: safe code only gets a message from
        // `default`, by copying, or from a read that filled it whole.
        unsafe {
            match self.event {
                UFFD_EVENT_PAGEFAULT => Event::Pagefault(Pagefault {
                    flags: arg.pagefault.flags,
                    address: arg.pagefault.address,
                    ptid: arg.pagefault.feat.ptid,
                }),
                UFFD_EVENT_FORK => Event::Fork(arg.fork.ufd as RawFd),
                UFFD_EVENT_REMAP => Event::Remap {
                    from: arg.remap.from,
                    to: arg.remap.to,
                    len: arg.remap.len,
                },
                UFFD_EVENT_REMOVE => Event::Remove {
                    start: arg.remove.start,
                    end: arg.remove.end,
                },
                UFFD_EVENT_UNMAP => Event::Unmap {
                    start: arg.remove.start,
                    end: arg.remove.end,
                },
                other => Event::Unknown(other),
            }
        }
    }

    /// The message as the bytes the kernel wrote.
    pub fn to_bytes(&self) -> [u8; size_of::<UffdMsg>()] {
        // SAFETY: the structure is packed and its union is as long as its longest member, so
        // it has no padding of its own, and see `decode` for the union being initialised.
        unsafe { core::mem::transmute(*self) }
    }
}
