// SPDX-License-Identifier: GPL-2.0-only

//! Programs that fork while they are managed: the child has a descriptor of its own.

use super::*;
use crate::harness::env::{self};
use crate::harness::managed::{
    adopt, next_event, next_fault, next_fork, next_message, wait_input, Managed,
};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::slab::Ledger;

use crate::harness::{expect_errno, kind, tests, uffd_with, Need};
use crate::tests::process::{execute, sharing_child, USAGE};
use nix::fcntl::{fcntl, FcntlArg, FdFlag, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::wait::{waitpid, WaitStatus};
use std::os::fd::AsFd;
use uffd::{Errno, Event, Uffd};

tests! {
    fork_message [FORK];
    child_is_served_by_its_own_descriptor [FORK];
    features_are_inherited [Need::Feature(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE)];
    child_that_did_not_ask_is_not_told [Need::Feature(UFFD_FEATURE_EVENT_REMOVE)];
    fork_of_a_fork [FORK];
    fork_is_told_once_for_many_mappings [FORK];
    fork_is_told_to_each_descriptor [FORK];
    fills_wait_for_a_fork [FORK];
    two_hundred_forks [FORK, CONTEXTS];
    two_hundred_forks_at_once [FORK, CONTEXTS];
    vfork_is_not_told [FORK];
    child_in_this_address_space_is_not_told [FORK];
    exec_of_the_child [FORK, CONTEXTS];
    exec_of_the_parent [FORK, CONTEXTS];
    parent_that_ends_leaves_the_child_served [FORK, CONTEXTS];
}

fn fork_message() {
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| fork(|| {}));
    managed.wait_in(libc::SYS_clone);
    let before = descriptors();
    let bytes = next_message(&managed.uffd).to_bytes();
    assert_eq!(descriptors(), before + 1);
    let number = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    let mut want = [0; 32];
    want[0] = UFFD_EVENT_FORK;
    want[8..12].copy_from_slice(&number.to_le_bytes());
    assert_eq!(bytes, want);
    // It has the flags of its parent.
    let child = adopt(number as i32);
    let flags = fcntl(&child, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    assert!(flags.unwrap().contains(OFlag::O_NONBLOCK));
    assert_eq!(
        fcntl(&child, FcntlArg::F_GETFD),
        Ok(FdFlag::FD_CLOEXEC.bits())
    );
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    drop(child);
    managed.end();
}

fn child_is_served_by_its_own_descriptor() {
    let target = Mapping::anon(3);
    let managed = forking(&target, |_| {
        assert_eq!(target.read(0), 1);
        fork(|| {
            // What was there is there, and what was not is the child's own business.
            assert_eq!((target.read(0), target.read(PAGE)), (1, 2));
            target.write(2 * PAGE, 5);
        });
        assert_eq!(target.read(PAGE), 3);
    });
    serve(&managed.uffd, target.page(0), 1);
    let child = next_fork(&managed.uffd);
    serve(&child, target.page(1), 2);
    serve(&child, target.page(2), 4);
    serve(&managed.uffd, target.page(1), 3);
    let parent = managed.end();
    for uffd in [parent, child] {
        expect_errno(uffd.read(), Errno::EAGAIN);
        expect_gone(&uffd, &target);
    }
}

fn features_are_inherited() {
    let features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EXACT_ADDRESS;
    let target = Mapping::anon(2);
    let managed = Managed::start(features, &[&target], |_| {
        fork(|| {
            target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
            target.read(PAGE + 5);
        });
    });
    let child = next_fork(&managed.uffd);
    assert_eq!(env::fdinfo(&child).api, env::fdinfo(&managed.uffd).api);
    // There is no second handshake.
    expect_errno(child.api(0), Errno::EINVAL);
    let (start, end) = (target.page(0), target.page(1));
    assert_eq!(next_event(&child), Event::Remove { start, end });
    assert_eq!(next_fault(&child), end + 5);
    fill(&child, end, 1);
    managed.end();
}

fn child_that_did_not_ask_is_not_told() {
    let target = Mapping::anon(1);
    let managed = Managed::start(UFFD_FEATURE_EVENT_REMOVE, &[&target], |_| {
        fork(|| {
            target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
            assert_eq!(target.read(0), 0);
        });
    });
    let uffd = managed.end();
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn fork_of_a_fork() {
    const DEPTH: u8 = 5;
    fn descend(target: &Mapping, depth: u8) {
        if depth > 0 {
            fork(|| descend(target, depth - 1));
        }
        assert_eq!(target.read(0), depth);
    }
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| descend(&target, DEPTH));
    let mut line = vec![];
    for _ in 0..DEPTH {
        let child = next_fork(line.last().unwrap_or(&managed.uffd));
        line.push(child);
    }
    for (depth, uffd) in line.iter().rev().enumerate() {
        serve(uffd, target.start(), depth as u8);
    }
    serve(&managed.uffd, target.start(), DEPTH);
    managed.end();
}

fn fork_is_told_once_for_many_mappings() {
    let targets = [(); 3].map(|()| Mapping::lone(1));
    let all = targets.each_ref();
    let managed = Managed::start(UFFD_FEATURE_EVENT_FORK, &all, |_| {
        fork(|| {
            targets.iter().for_each(|target| {
                target.read(0);
            })
        });
    });
    let child = next_fork(&managed.uffd);
    for target in &targets {
        serve(&child, target.start(), 1);
    }
    expect_errno(managed.end().read(), Errno::EAGAIN);
}

fn fork_is_told_to_each_descriptor() {
    let (one, two) = (Mapping::lone(1), Mapping::lone(1));
    let managed = forking(&one, |link| {
        let uffd = uffd_with(UFFD_FEATURE_EVENT_FORK);
        uffd.register(two.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        link.send(&[0], Some(uffd.as_fd()));
        drop(uffd);
        link.hear();
        fork(|| assert_eq!((one.read(0), two.read(0)), (1, 2)));
    });
    let second: Uffd = managed.link.receive().into();
    managed.link.say(0);
    // In the order of their memory, the second when the first was read.
    let mut order = [(one.start(), &managed.uffd), (two.start(), &second)];
    order.sort_by_key(|(start, _)| *start);
    wait_input(order[0].1);
    expect_errno(order[1].1.read(), Errno::EAGAIN);
    let mut children = order.map(|(start, uffd)| (start, next_fork(uffd)));
    children.sort_by_key(|(start, _)| *start != one.start());
    for ((start, child), value) in children.iter().zip(1..) {
        serve(child, *start, value);
    }
    managed.end();
}

fn fills_wait_for_a_fork() {
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| fork(|| {}));
    wait_input(&managed.uffd);
    let refused = fill_error(&managed.uffd, target.start());
    assert_eq!(refused, Some(Errno::EAGAIN));
    let child = next_fork(&managed.uffd);
    // Not the child's: nothing of it is changing.
    drop(child);
    managed.end();
}

/// A descriptor, and the faults read from it that could not be answered yet.
struct Served {
    uffd: Uffd,
    unanswered: Vec<u64>,
}

impl Served {
    fn new(uffd: Uffd) -> Served {
        Served {
            uffd,
            unanswered: Vec::new(),
        }
    }

    /// Answers what can be.
    fn answer(&mut self, source: &Mapping) {
        let Served { uffd, unanswered } = self;
        unanswered.retain(|&address| {
            let result = uffd.copy(address, source.start(), PAGE, 0);
            match result.map_err(|partial| partial.errno) {
                Ok(_) => false,
                Err(Errno::EAGAIN) => true,
                other => panic!("{other:?}"),
            }
        });
    }
}

/// Serves a program and all that comes of it, with the same page, until all have ended. Returns
/// the number of forks.
fn serve_all(managed: Managed) -> usize {
    let (program, first, link) = managed.into_parts();
    let source = kind::stamped(PAGE, 1);
    let (mut served, mut forks) = (vec![Served::new(first)], 0);
    loop {
        let busy = served.iter().any(|one| !one.unanswered.is_empty());
        let timeout = if busy { 1u8.into() } else { PollTimeout::NONE };
        let mut fds: Vec<_> = served.iter().map(|one| one.uffd.as_fd()).collect();
        fds.push(link.as_fd());
        let mut fds: Vec<_> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, timeout).unwrap();
        let ready: Vec<_> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        if ready[served.len()] {
            program.expect_success();
            return forks;
        }
        let mut children = Vec::new();
        for (one, _) in served.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            match one.uffd.read_event() {
                Ok(Event::Fork(fd)) => children.push(Served::new(adopt(fd))),
                Ok(Event::Pagefault(fault)) => one.unanswered.push(fault.address),
                // Its process was killed meanwhile.
                Err(Errno::EAGAIN) => {}
                other => panic!("{other:?}"),
            }
        }
        forks += children.len();
        served.extend(children);
        served.iter_mut().for_each(|one| one.answer(&source));
    }
}

fn two_hundred_forks() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| {
        (0..200).for_each(|_| fork(|| assert_eq!(target.read(0), 1)));
    });
    assert_eq!(serve_all(managed), 200);
    ledger.settle();
}

fn two_hundred_forks_at_once() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| {
        let child = || Child::spawn(|| assert_eq!(target.read(0), 1));
        let children: Vec<_> = (0..200).map(|_| child()).collect();
        children.into_iter().for_each(Child::expect_success);
    });
    assert_eq!(serve_all(managed), 200);
    ledger.settle();
}

/// A child that shares the memory is served by the one descriptor, and is not told of.
fn expect_shared(flags: i32) {
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| {
        let (child, stack) = sharing_child(flags, &target);
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7)));
        drop(stack);
    });
    serve(&managed.uffd, target.start(), 7);
    expect_errno(managed.end().read(), Errno::EAGAIN);
}

fn vfork_is_not_told() {
    expect_shared(libc::CLONE_VFORK);
}

fn child_in_this_address_space_is_not_told() {
    expect_shared(0);
}

fn exec_of_the_child() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| {
        let child = Child::spawn(|| {
            target.read(0);
            execute();
        });
        let pid = child.pid();
        assert_eq!(child.wait(), WaitStatus::Exited(pid, USAGE));
        assert_eq!(target.read(0), 2);
    });
    let child = next_fork(&managed.uffd);
    serve(&child, target.start(), 1);
    serve(&managed.uffd, target.start(), 2);
    expect_gone(&child, &target);
    expect_errno(child.read(), Errno::EAGAIN);
    drop((child, managed.end()));
    ledger.settle();
}

fn exec_of_the_parent() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |link| {
        Child::spawn(|| {
            link.hear();
            link.say(target.read(0).into());
        });
        execute();
    });
    let child = next_fork(&managed.uffd);
    let (program, uffd, link) = managed.into_parts();
    let pid = program.pid();
    assert_eq!(program.wait(), WaitStatus::Exited(pid, USAGE));
    expect_gone(&uffd, &target);
    link.say(0);
    serve(&child, target.start(), 5);
    assert_eq!(link.hear(), 5);
    drop((child, uffd));
    ledger.settle();
}

fn parent_that_ends_leaves_the_child_served() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |link| {
        Child::spawn(|| {
            link.hear();
            link.say(target.read(0).into());
        });
    });
    let child = next_fork(&managed.uffd);
    let (program, uffd, link) = managed.into_parts();
    program.expect_success();
    drop(uffd);
    link.say(0);
    serve(&child, target.start(), 5);
    assert_eq!(link.hear(), 5);
    drop(child);
    ledger.settle();
}
