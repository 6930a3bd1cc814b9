// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for messages with poll(2) and epoll(7).

use crate::harness::mem::Mapping;
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::{blocking_uffd_with, registered, release, sleepers, tests, uffd_with};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::Uffd;

tests! {
    poll_tells_of_unread_faults;
    poll_of_a_blocking_descriptor;
    poll_follows_the_status_flags;
    poll_wakes_up;
    epoll_level_and_edge;
    every_poller_wakes_up;
}

/// What poll(2) says at once.
pub(super) fn poll_now(uffd: &Uffd) -> PollFlags {
    let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    fds[0].revents().expect("known flags")
}

fn poll_tells_of_unread_faults() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    assert_eq!(poll_now(&uffd), PollFlags::empty());
    let sleepers = sleepers(&uffd, &target, [0, 1]);
    for _ in 0..2 {
        assert_eq!(poll_now(&uffd), PollFlags::POLLIN);
        uffd.read().unwrap();
    }
    // Two sleep, but nothing is unread.
    assert_eq!(poll_now(&uffd), PollFlags::empty());
    release(&uffd, &target, sleepers);
    assert_eq!(poll_now(&uffd), PollFlags::empty());
}

fn poll_of_a_blocking_descriptor() {
    // A fault can be gone before it is read, so polling only makes sense without blocking.
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    assert_eq!(poll_now(&uffd), PollFlags::POLLERR);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(poll_now(&uffd), PollFlags::POLLERR);
    release(&uffd, &target, sleepers);
}

fn poll_follows_the_status_flags() {
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    for (flags, want) in [
        (OFlag::O_NONBLOCK, PollFlags::POLLIN),
        (OFlag::empty(), PollFlags::POLLERR),
    ] {
        fcntl(&uffd, FcntlArg::F_SETFL(flags)).unwrap();
        assert_eq!(poll_now(&uffd), want);
    }
    release(&uffd, &target, sleepers);
}

/// A thread in poll(2) without a timeout.
fn poller(uffd: &Arc<Uffd>) -> Faulter<PollFlags> {
    let uffd = Arc::clone(uffd);
    let poller = Faulter::spawn(move || {
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::NONE), Ok(1));
        fds[0].revents().expect("known flags")
    });
    wait_asleep_in(poller.tid(), libc::SYS_poll);
    poller
}

fn poll_wakes_up() {
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let poller = poller(&uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(poller.join(), PollFlags::POLLIN);
    release(&uffd, &target, sleepers);
}

fn every_poller_wakes_up() {
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let pollers: Vec<_> = (0..3).map(|_| poller(&uffd)).collect();
    let sleepers = sleepers(&uffd, &target, [0]);
    assert!(pollers
        .into_iter()
        .map(Faulter::join)
        .all(|flags| flags == PollFlags::POLLIN));
    release(&uffd, &target, sleepers);
}

fn epoll_level_and_edge() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let (level, edge) = (
        Epoll::new(EpollCreateFlags::empty()).unwrap(),
        Epoll::new(EpollCreateFlags::empty()).unwrap(),
    );
    level
        .add(&uffd, EpollEvent::new(EpollFlags::EPOLLIN, 1))
        .unwrap();
    edge.add(
        &uffd,
        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 2),
    )
    .unwrap();
    let ready = |epoll: &Epoll, timeout: EpollTimeout| {
        let mut events = [EpollEvent::empty(); 4];
        let count = epoll.wait(&mut events, timeout).unwrap();
        events[..count]
            .iter()
            .map(|event| (event.events(), event.data()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (
            ready(&level, EpollTimeout::ZERO),
            ready(&edge, EpollTimeout::ZERO)
        ),
        (vec![], vec![])
    );

    let (is_level, is_edge) = (
        vec![(EpollFlags::EPOLLIN, 1)],
        vec![(EpollFlags::EPOLLIN, 2)],
    );
    let mut asleep = sleepers(&uffd, &target, [0]);
    assert_eq!(ready(&level, EpollTimeout::NONE), is_level);
    assert_eq!(ready(&level, EpollTimeout::NONE), is_level, "still unread");
    assert_eq!(ready(&edge, EpollTimeout::NONE), is_edge);
    assert_eq!(ready(&edge, EpollTimeout::ZERO), vec![], "told already");
    // Each fault is an edge, whether or not the last one was read.
    asleep.extend(sleepers(&uffd, &target, [1]));
    assert_eq!(ready(&edge, EpollTimeout::NONE), is_edge);
    while uffd.read().is_ok() {}
    assert_eq!(
        (
            ready(&level, EpollTimeout::ZERO),
            ready(&edge, EpollTimeout::ZERO)
        ),
        (vec![], vec![])
    );
    asleep.extend(sleepers(&uffd, &target, [2]));
    assert_eq!(
        (
            ready(&level, EpollTimeout::NONE),
            ready(&edge, EpollTimeout::NONE)
        ),
        (is_level, is_edge)
    );
    release(&uffd, &target, asleep);
}
