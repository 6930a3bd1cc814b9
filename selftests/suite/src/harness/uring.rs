// SPDX-License-Identifier: GPL-2.0-only

//! As much of io_uring as the tests need.

use super::mem::{Mapping, RW};
use super::user;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

const IORING_OFF_SQ_RING: u64 = 0;
const IORING_OFF_SQES: u64 = 0x1000_0000;
const IORING_FEAT_SINGLE_MMAP: u32 = 1;
const IORING_ENTER_GETEVENTS: u64 = 1;
const IORING_REGISTER_BUFFERS: u64 = 0;
const IORING_UNREGISTER_BUFFERS: u64 = 1;
const IORING_OP_POLL_ADD: u8 = 6;
const IORING_OP_ASYNC_CANCEL: u8 = 14;
const IORING_OP_READ: u8 = 22;
const SQE_SIZE: u64 = 64;
const CQE_SIZE: u64 = 16;
const PARAMS_SIZE: usize = 120;

/// A request.
#[derive(Clone, Debug)]
pub struct Operation([u8; SQE_SIZE as usize]);

impl Operation {
    fn new(opcode: u8, fd: i32, address: u64, len: u32, flags: u32, user_data: u64) -> Operation {
        let mut entry = [0; SQE_SIZE as usize];
        entry[0] = opcode;
        entry[4..8].copy_from_slice(&fd.to_le_bytes());
        // The current position, for a descriptor that has one.
        let offset = if opcode == IORING_OP_READ {
            u64::MAX
        } else {
            0
        };
        entry[8..16].copy_from_slice(&offset.to_le_bytes());
        entry[16..24].copy_from_slice(&address.to_le_bytes());
        entry[24..28].copy_from_slice(&len.to_le_bytes());
        entry[28..32].copy_from_slice(&flags.to_le_bytes());
        entry[32..40].copy_from_slice(&user_data.to_le_bytes());
        Operation(entry)
    }

    /// read(2) into memory of a mapping, numbered 1.
    pub fn read(fd: BorrowedFd, address: u64, len: u32) -> Operation {
        Self::new(IORING_OP_READ, fd.as_raw_fd(), address, len, 0, 1)
    }

    /// Waiting for these events once, numbered 2.
    pub fn poll(fd: BorrowedFd, events: u32) -> Operation {
        Self::new(IORING_OP_POLL_ADD, fd.as_raw_fd(), 0, 0, events, 2)
    }

    /// Cancelling the request of this number, itself numbered 3.
    pub fn cancel(number: u64) -> Operation {
        Self::new(IORING_OP_ASYNC_CANCEL, -1, number, 0, 0, 3)
    }
}

/// A ring.
#[derive(Debug)]
pub struct Uring {
    fd: OwnedFd,
    rings: Mapping,
    entries: Mapping,
    params: [u8; PARAMS_SIZE],
}

impl Uring {
    /// Makes one that holds this many requests; ends the test as skipped without io_uring.
    #[track_caller]
    pub fn new(count: u32) -> Uring {
        let mut params = [0u8; PARAMS_SIZE];
        let args = [
            count.into(),
            user::address_of(params.as_mut_ptr()),
            0,
            0,
            0,
            0,
        ];
        // SAFETY: the kernel reads and writes the parameters, which are that long.
        let fd = match unsafe { user::syscall(libc::SYS_io_uring_setup, args) } {
            // SAFETY: the call has just made the descriptor.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
            Err(Errno::ENOSYS | Errno::EPERM) => super::skip("io_uring is switched off"),
            Err(errno) => panic!("io_uring_setup: {errno}"),
        };
        let word = |at: usize| u32::from_le_bytes(params[at..at + 4].try_into().expect("a word"));
        assert_ne!(word(20) & IORING_FEAT_SINGLE_MMAP, 0);
        let (submissions, completions) = (word(0), word(4));
        let rings_len =
            (word(40 + 24) + 4 * submissions).max(word(80 + 20) + completions * CQE_SIZE as u32);
        let map = |len: u64, offset| {
            Mapping::new(len, RW, libc::MAP_SHARED, Some(fd.as_fd()), offset).expect("mmap")
        };
        let rings = map(rings_len.into(), IORING_OFF_SQ_RING);
        let entries = map(u64::from(submissions) * SQE_SIZE, IORING_OFF_SQES);
        Uring {
            fd,
            rings,
            entries,
            params,
        }
    }

    /// A word of the parameters: where something lies in the rings.
    fn param(&self, at: usize) -> u64 {
        u32::from_le_bytes(self.params[at..at + 4].try_into().expect("a word")).into()
    }

    /// A word of the rings that the kernel shares.
    fn word(&self, offset: u64) -> &AtomicU32 {
        assert!(offset + 4 <= self.rings.len());
        // SAFETY: the word lies in the mapping, which lives as long as self, it is aligned, and
        // both sides access it atomically.
        unsafe { AtomicU32::from_ptr(user::pointer(self.rings.start() + offset)) }
    }

    /// Makes one range the only registered buffer.
    pub fn register_buffer(&self, address: u64, len: u64) -> Result<(), Errno> {
        let buffer = user::iovec(address, len);
        let args = [
            self.fd.as_raw_fd() as u64,
            IORING_REGISTER_BUFFERS,
            user::address_of(&raw const buffer),
            1,
            0,
            0,
        ];
        // SAFETY: the kernel reads one vector, and pins memory of a mapping.
        unsafe { user::syscall(libc::SYS_io_uring_register, args) }.map(drop)
    }

    /// Gives the registered buffer back.
    pub fn unregister_buffer(&self) -> Result<(), Errno> {
        let args = [
            self.fd.as_raw_fd() as u64,
            IORING_UNREGISTER_BUFFERS,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: nothing is read or written.
        unsafe { user::syscall(libc::SYS_io_uring_register, args) }.map(drop)
    }

    /// Hands a request to the kernel, without waiting for anything.
    #[track_caller]
    pub fn submit(&mut self, operation: &Operation) {
        let (tail_at, mask, array) = (self.param(44), self.param(48), self.param(64));
        let mask = self.word(mask).load(Ordering::Relaxed);
        let tail = self.word(tail_at).load(Ordering::Relaxed);
        let slot = u64::from(tail & mask);
        self.entries.write_bytes(slot * SQE_SIZE, &operation.0);
        self.word(array + 4 * slot)
            .store(slot as u32, Ordering::Relaxed);
        self.word(tail_at)
            .store(tail.wrapping_add(1), Ordering::Release);
        assert_eq!(self.enter(1, 0), Ok(1));
    }

    /// Waits for a completion: the number of the request and its result.
    pub fn wait(&mut self) -> (u64, Result<i32, Errno>) {
        loop {
            if let Some(done) = self.completion() {
                return done;
            }
            match self.enter(0, 1) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => panic!("io_uring_enter: {errno}"),
            }
        }
    }

    /// A completion that is there already.
    pub fn completion(&mut self) -> Option<(u64, Result<i32, Errno>)> {
        let (head_at, tail_at, mask, entries) = (
            self.param(80),
            self.param(84),
            self.param(88),
            self.param(100),
        );
        let mask = self.word(mask).load(Ordering::Relaxed);
        let head = self.word(head_at).load(Ordering::Relaxed);
        if head == self.word(tail_at).load(Ordering::Acquire) {
            return None;
        }
        let entry = entries + u64::from(head & mask) * CQE_SIZE;
        let bytes = self.rings.read_bytes(entry, 12);
        self.word(head_at)
            .store(head.wrapping_add(1), Ordering::Release);
        let number = u64::from_le_bytes(bytes[..8].try_into().expect("a long word"));
        let result = i32::from_le_bytes(bytes[8..].try_into().expect("a word"));
        let result = if result < 0 {
            Err(Errno::from_raw(-result))
        } else {
            Ok(result)
        };
        Some((number, result))
    }

    /// Submits a request and waits for its result.
    #[track_caller]
    pub fn run(&mut self, operation: &Operation) -> Result<i32, Errno> {
        self.submit(operation);
        self.wait().1
    }

    fn enter(&self, submit: u64, wait: u64) -> Result<i64, Errno> {
        let flags = if wait > 0 { IORING_ENTER_GETEVENTS } else { 0 };
        let fd = self.fd.as_raw_fd() as u64;
        // SAFETY: the kernel gets at what the requests name: memory of mappings.
        unsafe { user::syscall(libc::SYS_io_uring_enter, [fd, submit, wait, flags, 0, 0]) }
    }
}

/// Whether the ring can be polled, which tells of completions.
impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
