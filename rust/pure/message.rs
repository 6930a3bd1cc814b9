// SPDX-License-Identifier: GPL-2.0-only

//! The 32 bytes that read() gives (`struct uffd_msg`).
//!
//! | bytes | page fault | fork | remap | remove, unmap |
//! |---|---|---|---|---|
//! | 0 | kind | kind | kind | kind |
//! | 8..16 | flags | new fd (4 bytes) | from | start |
//! | 16..24 | address | | to | end |
//! | 24..32 | thread (4 bytes) | | len | |
//!
//! A message is four words in native byte order, each built whole, so the bytes between fields are
//! zero and nothing of the kernel leaks through them.

use super::abi::{EventKind, FaultFlags, Features, Reason};
use super::features::ContextFeatures;

type Word = [u8; 8];

/// A message, as it is copied to user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message([Word; 4]);

/// A fault, as the fault path meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// Address of the page (`vmf->address`).
    pub address: usize,
    /// Address of the access (`vmf->real_address`).
    pub real_address: usize,
    /// It was a write.
    pub write: bool,
    /// What the VMA was registered for and now happened.
    pub reason: Reason,
    /// The faulting thread, as a number of its own pid namespace (`task_pid_vnr(current)`).
    pub thread: u32,
}

impl Message {
    /// Size in bytes.
    pub const SIZE: usize = 32;

    /// A thread is waiting for a page (`userfault_msg`).
    ///
    /// `features` are the context's: they choose the address and whether the thread is named.
    pub fn page_fault(fault: &PageFault, features: ContextFeatures) -> Self {
        let mut flags = match fault.reason {
            Reason::Missing => FaultFlags::NONE,
            Reason::WriteProtect => FaultFlags::WP,
            Reason::Minor => FaultFlags::MINOR,
            Reason::ReadWriteProtect => FaultFlags::RWP,
        };
        if fault.write {
            flags = flags.with(FaultFlags::WRITE);
        }
        let address = if features.contains(Features::EXACT_ADDRESS) {
            fault.real_address
        } else {
            fault.address
        };
        let thread = if features.contains(Features::THREAD_ID) {
            fault.thread
        } else {
            0
        };
        Self::new(
            EventKind::PageFault,
            flags.bits().to_ne_bytes(),
            (address as u64).to_ne_bytes(),
            half_word(thread),
        )
    }

    /// An address space was copied; `fd` is the new userfaultfd in the reader's file table.
    pub fn fork(fd: u32) -> Self {
        Self::new(EventKind::Fork, half_word(fd), [0; 8], [0; 8])
    }

    /// A mapping of `len` bytes moved.
    pub fn remap(from: usize, to: usize, len: usize) -> Self {
        Self::new(
            EventKind::Remap,
            (from as u64).to_ne_bytes(),
            (to as u64).to_ne_bytes(),
            (len as u64).to_ne_bytes(),
        )
    }

    /// The pages from `start` up to `end` were discarded.
    pub fn remove(start: usize, end: usize) -> Self {
        Self::range(EventKind::Remove, start, end)
    }

    /// The mapping from `start` up to `end` went away.
    pub fn unmap(start: usize, end: usize) -> Self {
        Self::range(EventKind::Unmap, start, end)
    }

    /// The address of a page fault as user space sees it, and will name when it resolves it.
    pub fn address(&self) -> usize {
        let [_, _, address, _] = self.0;
        u64::from_ne_bytes(address) as usize
    }

    /// Why the page fault happened.
    pub fn flags(&self) -> FaultFlags {
        let [_, flags, _, _] = self.0;
        FaultFlags::from_bits(u64::from_ne_bytes(flags))
    }

    /// Which registration the page fault fell under.
    pub fn reason(&self) -> Reason {
        let flags = self.flags();
        if flags.contains(FaultFlags::WP) {
            Reason::WriteProtect
        } else if flags.contains(FaultFlags::MINOR) {
            Reason::Minor
        } else if flags.contains(FaultFlags::RWP) {
            Reason::ReadWriteProtect
        } else {
            Reason::Missing
        }
    }

    /// What the message is about.
    pub fn kind(&self) -> EventKind {
        let [[kind, ..], ..] = self.0;
        [
            EventKind::Fork,
            EventKind::Remap,
            EventKind::Remove,
            EventKind::Unmap,
        ]
        .into_iter()
        .find(|&known| known as u8 == kind)
        .unwrap_or(EventKind::PageFault)
    }

    /// The three words behind the kind: what an event has to say, in the order of the table.
    pub fn words(&self) -> [u64; 3] {
        let [_, words @ ..] = self.0;
        words.map(u64::from_ne_bytes)
    }

    /// The bytes to copy out, [`Message::SIZE`] of them.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    fn range(kind: EventKind, start: usize, end: usize) -> Self {
        Self::new(
            kind,
            (start as u64).to_ne_bytes(),
            (end as u64).to_ne_bytes(),
            [0; 8],
        )
    }

    fn new(kind: EventKind, first: Word, second: Word, third: Word) -> Self {
        let head = [kind as u8, 0, 0, 0, 0, 0, 0, 0];
        Self([head, first, second, third])
    }
}

/// A word whose lower-addressed half is `value` and whose other half is zero.
fn half_word(value: u32) -> Word {
    let [a, b, c, d] = value.to_ne_bytes();
    [a, b, c, d, 0, 0, 0, 0]
}
