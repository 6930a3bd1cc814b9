// SPDX-License-Identifier: GPL-2.0-only

//! Reading and polling without a thread of one's own that waits.

use super::poll::poll_now;
use crate::harness::aio::Aio;
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::uring::{Operation, Uring};
use crate::harness::{
    blocking_uffd_with, env, expect_errno, registered, release, sleepers, tests, uffd_raw,
    uffd_with,
};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    uring_read_waits_for_a_fault;
    uring_read_of_a_blocking_descriptor;
    uring_read_takes_several_messages;
    uring_read_can_be_cancelled;
    uring_poll;
    uring_poll_fails_where_poll_does;
    aio_read;
    aio_read_blocks_as_read_does;
    aio_poll;
    epoll_oneshot;
    epoll_of_epoll;
    epoll_exclusive;
    closed_descriptor_leaves_epoll;
    duplicate_keeps_polling;
}

/// Length of a message.
const MSG: u32 = size_of::<UffdMsg>() as u32;
const POLLIN: u32 = libc::POLLIN as u32;
const POLLERR: i32 = libc::POLLERR as i32;

/// The address in a message that the kernel wrote to memory.
fn address_in(buffer: &Mapping, offset: u64) -> u64 {
    assert_eq!(buffer.read(offset), UFFD_EVENT_PAGEFAULT);
    let bytes = buffer.read_bytes(offset + 16, 8);
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn uring_read_waits_for_a_fault() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let (mut ring, buffer) = (Uring::new(2), Mapping::anon(1));
    let read = Operation::read(uffd.as_fd(), buffer.start(), 2 * MSG);
    // The ring polls, although the descriptor does not block: that one is for read(2).
    ring.submit(&read);
    assert_eq!(ring.completion(), None);
    let mut asleep = sleepers(&uffd, &target, [0]);
    assert_eq!(ring.wait(), (1, Ok(MSG as i32)));
    assert_eq!(address_in(&buffer, 0), target.start());
    // One that is there is read at once.
    asleep.extend(sleepers(&uffd, &target, [1]));
    ring.submit(&read);
    assert_eq!(ring.completion(), Some((1, Ok(MSG as i32))));
    assert_eq!(address_in(&buffer, 0), target.page(1));
    let short = Operation::read(uffd.as_fd(), buffer.start(), MSG - 1);
    expect_errno(ring.run(&short), Errno::EINVAL);
    release(&uffd, &target, asleep);
}

fn uring_read_of_a_blocking_descriptor() {
    // Polling fails there, so the ring cannot wait; what is there can be read.
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let (mut ring, buffer) = (Uring::new(2), Mapping::anon(1));
    let sleepers = sleepers(&uffd, &target, [0]);
    let read = Operation::read(uffd.as_fd(), buffer.start(), MSG);
    assert_eq!(ring.run(&read), Ok(MSG as i32));
    assert_eq!(address_in(&buffer, 0), target.start());
    release(&uffd, &target, sleepers);
}

fn uring_read_takes_several_messages() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let (mut ring, buffer) = (Uring::new(2), Mapping::anon(1));
    let sleepers = sleepers(&uffd, &target, 0..3);
    // Two and a half fit.
    let read = Operation::read(uffd.as_fd(), buffer.start(), 2 * MSG + 16);
    assert_eq!(ring.run(&read), Ok(2 * MSG as i32));
    assert_eq!(address_in(&buffer, 0), target.page(0));
    assert_eq!(address_in(&buffer, MSG.into()), target.page(1));
    assert_eq!(env::fdinfo(&uffd).pending, 1);
    release(&uffd, &target, sleepers);
}

fn uring_read_can_be_cancelled() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let (mut ring, buffer) = (Uring::new(4), Mapping::anon(1));
    ring.submit(&Operation::read(uffd.as_fd(), buffer.start(), MSG));
    ring.submit(&Operation::cancel(1));
    let mut results = [ring.wait(), ring.wait()];
    results.sort_by_key(|&(number, _)| number);
    assert_eq!(results, [(1, Err(Errno::ECANCELED)), (3, Ok(0))]);
    // It took no message along.
    let sleepers = sleepers(&uffd, &target, [0]);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(fault.address, target.start());
    release(&uffd, &target, sleepers);
}

fn uring_poll() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let mut ring = Uring::new(2);
    let wait = Operation::poll(uffd.as_fd(), POLLIN);
    ring.submit(&wait);
    assert_eq!(ring.completion(), None);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(ring.wait(), (2, Ok(POLLIN as i32)));
    // Still unread: a new request is over at once.
    assert_eq!(ring.run(&wait), Ok(POLLIN as i32));
    release(&uffd, &target, sleepers);
}

fn uring_poll_fails_where_poll_does() {
    let mut ring = Uring::new(2);
    let (raw, blocking) = (uffd_raw(libc::O_NONBLOCK), blocking_uffd_with(0));
    for uffd in [&raw, &blocking] {
        assert_eq!(poll_now(uffd), PollFlags::POLLERR);
        let wait = Operation::poll(uffd.as_fd(), POLLIN);
        assert_eq!(ring.run(&wait), Ok(POLLERR));
    }
    let buffer = Mapping::anon(1);
    let read = Operation::read(raw.as_fd(), buffer.start(), MSG);
    expect_errno(ring.run(&read), Errno::EINVAL);
}

fn aio_read() {
    let (uffd, aio, buffer) = (uffd_with(0), Aio::new(), Mapping::anon(1));
    let target = registered(Mapping::anon(1), &uffd);
    let read = |uffd: &Uffd, len, flags| {
        aio.read(uffd.as_fd(), buffer.start(), len, flags).unwrap();
        aio.done(true).unwrap()
    };
    expect_errno(read(&uffd, MSG.into(), 0), Errno::EAGAIN);
    expect_errno(read(&uffd, u64::from(MSG) - 1, 0), Errno::EINVAL);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(read(&uffd, MSG.into(), 0), Ok(MSG.into()));
    assert_eq!(address_in(&buffer, 0), target.start());
    // A request can ask not to wait where the descriptor would.
    let blocking = blocking_uffd_with(0);
    expect_errno(read(&blocking, MSG.into(), libc::RWF_NOWAIT), Errno::EAGAIN);
    release(&uffd, &target, sleepers);
}

fn aio_read_blocks_as_read_does() {
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let shared = Arc::clone(&uffd);
    let reader = Faulter::spawn(move || {
        let (aio, buffer) = (Aio::new(), Mapping::anon(1));
        aio.read(shared.as_fd(), buffer.start(), MSG.into(), 0)
            .unwrap();
        (aio.done(true).unwrap(), address_in(&buffer, 0))
    });
    wait_asleep_in(reader.tid(), libc::SYS_io_submit);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(reader.join(), (Ok(MSG.into()), target.start()));
    release(&uffd, &target, sleepers);
}

fn aio_poll() {
    let (uffd, aio) = (uffd_with(0), Aio::new());
    let target = registered(Mapping::anon(1), &uffd);
    aio.poll(uffd.as_fd(), POLLIN as u16).unwrap();
    assert_eq!(aio.done(false), None);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(aio.done(true), Some(Ok(POLLIN.into())));
    release(&uffd, &target, sleepers);
    for uffd in [uffd_raw(libc::O_NONBLOCK), blocking_uffd_with(0)] {
        aio.poll(uffd.as_fd(), POLLIN as u16).unwrap();
        assert_eq!(aio.done(true), Some(Ok(POLLERR.into())));
    }
}

/// An epoll instance that looks at the descriptor.
fn watching(fd: impl AsFd, flags: EpollFlags) -> Epoll {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll
        .add(fd, EpollEvent::new(EpollFlags::EPOLLIN | flags, 0))
        .unwrap();
    epoll
}

/// The events of the one descriptor, if there are any.
fn ready(epoll: &Epoll, timeout: EpollTimeout) -> EpollFlags {
    let mut events = [EpollEvent::empty()];
    match epoll.wait(&mut events, timeout).unwrap() {
        0 => EpollFlags::empty(),
        _ => events[0].events(),
    }
}

fn epoll_oneshot() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let epoll = watching(&uffd, EpollFlags::EPOLLONESHOT);
    let mut asleep = sleepers(&uffd, &target, [0]);
    assert_eq!(ready(&epoll, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    asleep.extend(sleepers(&uffd, &target, [1]));
    assert_eq!(ready(&epoll, EpollTimeout::ZERO), EpollFlags::empty());
    let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, 0);
    epoll.modify(&uffd, &mut event).unwrap();
    assert_eq!(ready(&epoll, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    release(&uffd, &target, asleep);
}

fn epoll_of_epoll() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let inner = watching(&uffd, EpollFlags::empty());
    let outer = watching(&inner.0, EpollFlags::empty());
    assert_eq!(ready(&outer, EpollTimeout::ZERO), EpollFlags::empty());
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(ready(&outer, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    assert_eq!(ready(&inner, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    release(&uffd, &target, sleepers);
    assert_eq!(ready(&outer, EpollTimeout::ZERO), EpollFlags::empty());
}

fn epoll_exclusive() {
    // Who asks to be woken alone still sees what is there.
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let epolls = [(); 2].map(|()| watching(&uffd, EpollFlags::EPOLLEXCLUSIVE));
    let sleepers = sleepers(&uffd, &target, [0]);
    let mut fds = epolls
        .each_ref()
        .map(|epoll| PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN));
    assert!(poll(&mut fds, PollTimeout::NONE).unwrap() >= 1);
    release(&uffd, &target, sleepers);
}

fn closed_descriptor_leaves_epoll() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let epoll = watching(&uffd, EpollFlags::empty());
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(ready(&epoll, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    drop(uffd);
    assert_eq!(ready(&epoll, EpollTimeout::ZERO), EpollFlags::empty());
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
}

fn duplicate_keeps_polling() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let twin: OwnedFd = uffd.as_fd().try_clone_to_owned().unwrap();
    let epoll = watching(&uffd, EpollFlags::empty());
    drop(uffd);
    // The set knows the open file, which the duplicate keeps.
    let uffd = Uffd::from(twin);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(ready(&epoll, EpollTimeout::NONE), EpollFlags::EPOLLIN);
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
    assert_eq!(ready(&epoll, EpollTimeout::ZERO), EpollFlags::empty());
}
