// SPDX-License-Identifier: GPL-2.0-only

//! As much of the old asynchronous I/O (`io_submit(2)`) as the tests need.

use super::mem::Mapping;
use super::user;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_POLL: u16 = 5;
const IOCB_SIZE: usize = 64;
const EVENT_SIZE: usize = 32;

/// A context for requests, of which the caller keeps track.
#[derive(Debug)]
pub struct Aio {
    context: u64,
    /// The request being handed over.
    control: Mapping,
}

impl Aio {
    /// Makes one; ends the test as skipped without such I/O.
    #[track_caller]
    pub fn new() -> Aio {
        let mut context = 0u64;
        let args = [8, user::address_of(&raw mut context), 0, 0, 0, 0];
        // SAFETY: the kernel writes the context's number.
        match unsafe { user::syscall(libc::SYS_io_setup, args) } {
            Ok(_) => Aio {
                context,
                control: Mapping::anon(1),
            },
            Err(Errno::ENOSYS) => super::skip("the kernel is without asynchronous I/O"),
            Err(errno) => panic!("io_setup: {errno}"),
        }
    }

    /// Reads into memory of a mapping; the call itself blocks if the descriptor does.
    pub fn read(&self, fd: BorrowedFd, address: u64, len: u64, flags: i32) -> Result<(), Errno> {
        self.submit(IOCB_CMD_PREAD, fd, address, len, flags)
    }

    /// Waits for events once.
    pub fn poll(&self, fd: BorrowedFd, events: u16) -> Result<(), Errno> {
        self.submit(IOCB_CMD_POLL, fd, events.into(), 0, 0)
    }

    fn submit(
        &self,
        command: u16,
        fd: BorrowedFd,
        buffer: u64,
        len: u64,
        flags: i32,
    ) -> Result<(), Errno> {
        let mut control = [0; IOCB_SIZE];
        control[12..16].copy_from_slice(&flags.to_le_bytes());
        control[16..18].copy_from_slice(&command.to_le_bytes());
        control[20..24].copy_from_slice(&fd.as_raw_fd().to_le_bytes());
        control[24..32].copy_from_slice(&buffer.to_le_bytes());
        control[32..40].copy_from_slice(&len.to_le_bytes());
        self.control.write_bytes(0, &control);
        let list = [self.control.start()];
        let args = [self.context, 1, user::address_of(list.as_ptr()), 0, 0, 0];
        // SAFETY: the kernel reads the request and gets at memory of mappings.
        unsafe { user::syscall(libc::SYS_io_submit, args) }.map(|count| assert_eq!(count, 1))
    }

    /// The result of a request that is over; with `wait`, of the next one that is.
    pub fn done(&self, wait: bool) -> Option<Result<i64, Errno>> {
        let mut event = [0u64; EVENT_SIZE / 8];
        let none = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let limit = if wait {
            0
        } else {
            user::address_of(&raw const none)
        };
        let args = [
            self.context,
            wait.into(),
            1,
            user::address_of(event.as_mut_ptr()),
            limit,
            0,
        ];
        // SAFETY: there is room for one event.
        let count = unsafe { user::syscall(libc::SYS_io_getevents, args) }.expect("io_getevents");
        let result = event[2] as i64;
        (count == 1).then(|| {
            if result < 0 {
                Err(Errno::from_raw(-result as i32))
            } else {
                Ok(result)
            }
        })
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the number alone is passed. Nothing is to be done about a failure.
        let _ = unsafe { user::syscall(libc::SYS_io_destroy, [self.context, 0, 0, 0, 0, 0]) };
    }
}
