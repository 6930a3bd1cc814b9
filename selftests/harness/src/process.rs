// SPDX-License-Identifier: GPL-2.0-only

//! Child processes.

use super::EXIT_PANIC;
use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use uffd::Uffd;

/// A child process that runs a function.
#[derive(Debug)]
pub struct Child(Pid);

impl Child {
    /// Forks. The child runs the function and exits with 0, or with [`EXIT_PANIC`] if an
    /// assertion in it fails. Only the calling thread exists in the child: where other threads
    /// may hold a lock of the allocator, the function must not allocate.
    pub fn spawn(body: impl FnOnce()) -> Child {
        Self::try_spawn(body).expect("fork")
    }

    /// The same where forking may fail.
    pub fn try_spawn(body: impl FnOnce()) -> Result<Child, Errno> {
        // SAFETY: the child only runs `body`, for which the rule above is documented.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Child(child)),
            ForkResult::Child => {
                body();
                // SAFETY: _exit takes an integer and does not return.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Process number.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.0, signal).expect("kill");
    }

    /// Waits for the end and tells how it came.
    pub fn wait(self) -> WaitStatus {
        waitpid(self.0, None).expect("waitpid")
    }

    /// Waits for the end and fails unless the child has passed.
    #[track_caller]
    pub fn expect_success(self) {
        let status = self.wait();
        if let WaitStatus::Exited(_, EXIT_PANIC) = status {
            panic!("an assertion in the child failed");
        }
        assert!(
            matches!(status, WaitStatus::Exited(_, 0)),
            "child ended with {status:?}"
        );
    }
}

/// A descriptor of another process, by its number there.
#[track_caller]
pub fn descriptor_of(pid: Pid, number: i32) -> Uffd {
    let call = |nr, a: i32, b: i32| {
        // SAFETY: both calls take integers only.
        let fd = Errno::result(unsafe { libc::syscall(nr, a, b, 0) }).expect("a descriptor");
        // SAFETY: the call has just made it.
        unsafe { OwnedFd::from_raw_fd(fd as i32) }
    };
    let pidfd = call(libc::SYS_pidfd_open, pid.as_raw(), 0);
    call(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number).into()
}
