// SPDX-License-Identifier: GPL-2.0-only

//! Programs that are managed from outside, as the one who manages sees them.

use super::mem::Mapping;
use super::process::Child;
use super::task::wait_process_in;
use super::uffd_with;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    recvmsg, sendmsg, socketpair, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags,
    SockFlag, SockType,
};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use uffd::abi::{UffdMsg, UFFDIO_REGISTER_MODE_MISSING};
use uffd::{Errno, Event, Uffd};

/// No message between a manager and its program is longer.
const LONGEST: usize = 8192;

/// One end of a socket between a manager and its program.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Both ends.
    #[track_caller]
    pub fn pair() -> (Link, Link) {
        let kind = (
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
        );
        let (one, two) = socketpair(kind.0, kind.1, None, kind.2).expect("socketpair");
        (Link(one), Link(two))
    }

    /// Sends a number.
    #[track_caller]
    pub fn say(&self, value: u64) {
        self.send(&value.to_le_bytes(), None);
    }

    /// Sends bytes, and a descriptor, which stays open here.
    #[track_caller]
    pub fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd>) {
        let fds: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&fds)];
        let sent = sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(bytes)],
            if fds.is_empty() { &[] } else { &control },
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent, Ok(bytes.len()), "sendmsg");
    }

    /// Waits for a number.
    #[track_caller]
    pub fn hear(&self) -> u64 {
        let mut bytes = [0; 8];
        let len = nix::unistd::read(&self.0, &mut bytes);
        assert_eq!(len, Ok(8), "the other side is there");
        u64::from_le_bytes(bytes)
    }

    /// Waits for a descriptor.
    #[track_caller]
    pub fn receive(&self) -> OwnedFd {
        let message = self.receive_with(MsgFlags::empty());
        message.expect("a message").1.expect("a descriptor")
    }

    /// Takes what is there. None if there is nothing, or nobody is left to send.
    pub fn try_receive(&self) -> Option<(Vec<u8>, Option<OwnedFd>)> {
        self.receive_with(MsgFlags::MSG_DONTWAIT)
    }

    fn receive_with(&self, flags: MsgFlags) -> Option<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; LONGEST];
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EAGAIN) => return None,
            message => message.expect("recvmsg"),
        };
        let control = message.cmsgs().expect("control messages").next();
        let descriptor = match control {
            // SAFETY: the call has just installed it.
            Some(ControlMessageOwned::ScmRights(fds)) => unsafe {
                Some(OwnedFd::from_raw_fd(fds[0]))
            },
            _ => None,
        };
        let len = message.bytes;
        bytes.truncate(len);
        (len > 0).then_some((bytes, descriptor))
    }
}

impl From<OwnedFd> for Link {
    fn from(socket: OwnedFd) -> Link {
        Link(socket)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A child process that does not serve its memory itself.
#[derive(Debug)]
pub struct Managed {
    child: Child,
    /// The one descriptor for its memory.
    pub uffd: Uffd,
    /// Goes to the program.
    pub link: Link,
}

impl Managed {
    /// Starts a program that registers its copy of these mappings for missing faults, hands the
    /// descriptor over, and then runs the function.
    #[track_caller]
    pub fn start(features: u64, targets: &[&Mapping], body: impl FnOnce(Link)) -> Managed {
        let (link, other) = Link::pair();
        let child = Child::spawn(|| {
            let uffd = uffd_with(features);
            for target in targets {
                let mode = UFFDIO_REGISTER_MODE_MISSING;
                uffd.register(target.start(), target.len(), mode)
                    .expect("UFFDIO_REGISTER");
            }
            other.send(&[0], Some(uffd.as_fd()));
            drop(uffd);
            // The descriptor is where it belongs, so that nothing can happen unnoticed.
            other.hear();
            body(other);
        });
        let uffd = link.receive().into();
        link.say(0);
        Managed { child, uffd, link }
    }

    /// The program's process.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Waits until the program sleeps in a system call.
    pub fn wait_in(&self, syscall: i64) {
        wait_process_in(self.pid().as_raw(), syscall);
    }

    /// Kills the program wherever it is, and waits for its end. The descriptor stays.
    #[track_caller]
    pub fn kill(self) -> Uffd {
        let pid = self.pid();
        self.child.signal(Signal::SIGKILL);
        let status = self.child.wait();
        assert_eq!(status, WaitStatus::Signaled(pid, Signal::SIGKILL, false));
        self.uffd
    }

    /// Waits for the program to end well. The descriptor stays.
    #[track_caller]
    pub fn end(self) -> Uffd {
        self.child.expect_success();
        self.uffd
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Child, Uffd, Link) {
        (self.child, self.uffd, self.link)
    }
}

/// Waits until there is a message on a non-blocking descriptor.
#[track_caller]
pub fn wait_input(uffd: &Uffd) {
    let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).expect("poll");
    assert_eq!(fds[0].revents(), Some(PollFlags::POLLIN));
}

/// Waits for the next message of a non-blocking descriptor with a single reader.
#[track_caller]
pub fn next_message(uffd: &Uffd) -> UffdMsg {
    wait_input(uffd);
    uffd.read().expect("read")
}

/// The same, decoded.
#[track_caller]
pub fn next_event(uffd: &Uffd) -> Event {
    next_message(uffd).decode()
}

/// Waits for a fork, and returns the child's descriptor.
#[track_caller]
pub fn next_fork(uffd: &Uffd) -> Uffd {
    match next_event(uffd) {
        Event::Fork(fd) => adopt(fd),
        other => panic!("{other:?} instead of a fork"),
    }
}

/// Waits for a fault, and returns its address.
#[track_caller]
pub fn next_fault(uffd: &Uffd) -> u64 {
    let event = next_event(uffd);
    let fault = event.pagefault();
    fault
        .unwrap_or_else(|| panic!("{event:?} instead of a fault"))
        .address
}

/// The descriptor that a message of a fork has brought.
pub fn adopt(fd: i32) -> Uffd {
    // SAFETY: reading the message has installed it, and each message is adopted once.
    unsafe { OwnedFd::from_raw_fd(fd) }.into()
}
