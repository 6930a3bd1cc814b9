// SPDX-License-Identifier: GPL-2.0-only

//! Ways to wait for messages.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::{opcode, types, IoUring};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use uffd::abi::UffdMsg;
use uffd::{Errno, Event, Uffd};

use crate::threads::die;
use crate::{call, Result};

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// In read().
    Read,
    /// In poll(), then read() without blocking.
    Poll,
    /// In epoll_wait(), then read() without blocking.
    Epoll,
    /// For a read of a ring of io_uring.
    Ring,
}

impl Waiting {
    /// Flags of a descriptor for it.
    pub fn flags(self) -> i32 {
        match self {
            Waiting::Read => 0,
            // A ring polls; descriptors that block cannot be polled.
            Waiting::Poll | Waiting::Epoll | Waiting::Ring => libc::O_NONBLOCK,
        }
    }
}

/// Whether the kernel has io_uring.
pub fn has_ring() -> bool {
    IoUring::new(1).is_ok()
}

/// Where a thread gets the messages of a descriptor.
pub struct Inbox<'a> {
    uffd: &'a Uffd,
    means: Means,
}

enum Means {
    Read,
    Poll,
    Epoll(Epoll),
    Ring(Box<IoUring>),
}

impl<'a> Inbox<'a> {
    /// One for the calling thread.
    pub fn new(uffd: &'a Uffd, waiting: Waiting) -> Result<Self> {
        let means = match waiting {
            Waiting::Read => Means::Read,
            Waiting::Poll => Means::Poll,
            Waiting::Epoll => {
                let epoll =
                    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(call("epoll_create1"))?;
                epoll
                    .add(uffd, EpollEvent::new(EpollFlags::EPOLLIN, 0))
                    .map_err(call("epoll_ctl"))?;
                Means::Epoll(epoll)
            }
            Waiting::Ring => {
                let ring = IoUring::new(1).map_err(|error| format!("io_uring_setup: {error}"))?;
                Means::Ring(Box::new(ring))
            }
        };
        Ok(Self { uffd, means })
    }

    /// Waits for a message and returns the address in it.
    pub fn next(&mut self) -> Result<u64> {
        loop {
            match self.read() {
                Ok(Event::Pagefault(fault)) => return Ok(fault.address),
                Ok(other) => return Err(format!("an event nobody asked for: {other:?}")),
                // Another one was quicker.
                Err(Errno::EAGAIN) if matches!(self.means, Means::Poll | Means::Epoll(_)) => {}
                Err(errno) => return Err(format!("waiting for a message: {errno}")),
            }
        }
    }

    fn read(&mut self) -> std::result::Result<Event, Errno> {
        match &mut self.means {
            Means::Read => {}
            Means::Poll => {
                let mut ready = [PollFd::new(self.uffd.as_fd(), PollFlags::POLLIN)];
                poll(&mut ready, PollTimeout::NONE)?;
            }
            Means::Epoll(epoll) => {
                let mut ready = [EpollEvent::empty()];
                epoll.wait(&mut ready, EpollTimeout::NONE)?;
            }
            Means::Ring(ring) => return ring_read(ring, self.uffd),
        }
        self.uffd.read_event()
    }
}

/// Reads a message through a ring on which nothing else is going on.
fn ring_read(ring: &mut IoUring, uffd: &Uffd) -> std::result::Result<Event, Errno> {
    let mut msg = UffdMsg::default();
    let entry = opcode::Read::new(
        types::Fd(uffd.as_raw_fd()),
        (&raw mut msg).cast(),
        size_of::<UffdMsg>() as u32,
    )
    .offset(u64::MAX)
    .build();
    // SAFETY: `msg` and the descriptor stay until the kernel is done with them: this function is
    // left after the completion, and otherwise the process ends.
    unsafe { ring.submission().push(&entry) }
        .unwrap_or_else(|error| die(&format!("io_uring: {error}")));
    if let Err(error) = ring.submit_and_wait(1) {
        die(&format!("io_uring_enter: {error}"));
    }
    let done = ring
        .completion()
        .next()
        .unwrap_or_else(|| die("io_uring_enter: no completion"));
    match done.result() {
        failed if failed < 0 => Err(Errno::from_raw(-failed)),
        len if len as usize == size_of::<UffdMsg>() => Ok(msg.decode()),
        _ => Err(Errno::EIO),
    }
}
