// SPDX-License-Identifier: GPL-2.0-only

//! Child processes of a test.

use super::kind::Memory;
use super::task::wait_process_in;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::os::fd::AsRawFd;
use uffd::Uffd;
pub use uffd_harness::process::{descriptor_of, Child};

/// A child process that has registered memory and only sleeps, and the descriptor for it.
#[derive(Debug)]
pub struct Target {
    child: Child,
    /// Its descriptor, which works on the child's memory.
    pub uffd: Uffd,
    /// Where the memory begins in the child.
    pub start: u64,
}

impl Target {
    /// Starts the child, which prepares its memory and the registration of it.
    #[track_caller]
    pub fn spawn(prepare: impl FnOnce() -> (Uffd, Memory)) -> Target {
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        let child = Child::spawn(|| {
            let (uffd, memory) = prepare();
            let mut message = [0; 16];
            message[..8].copy_from_slice(&memory.start().to_le_bytes());
            message[8..].copy_from_slice(&(uffd.as_raw_fd() as u64).to_le_bytes());
            nix::unistd::write(&writer, &message).expect("write");
            nix::unistd::pause();
        });
        drop(writer);
        let mut message = [0; 16];
        let len = nix::unistd::read(&reader, &mut message).expect("read");
        assert_eq!(len, message.len(), "the child is ready");
        // On its way there it may touch pages of the program, which count as its memory.
        wait_process_in(child.pid().as_raw(), libc::SYS_pause);
        let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().expect("a word"));
        Target {
            uffd: descriptor_of(child.pid(), word(8) as i32),
            child,
            start: word(0),
        }
    }

    /// The child's number.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Sends the child to its end, which may be still to come when this returns.
    pub fn kill(&self) {
        self.child.signal(Signal::SIGKILL);
    }

    /// Kills the child if need be, and waits until it has ended. The descriptor stays.
    #[track_caller]
    pub fn end(self) -> Uffd {
        self.kill();
        let status = self.child.wait();
        let killed = matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
        assert!(killed, "child ended with {status:?}");
        self.uffd
    }
}
