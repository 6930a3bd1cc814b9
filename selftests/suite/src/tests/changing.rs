// SPDX-License-Identifier: GPL-2.0-only

//! Requests while the mappings are changing, and requests on a process that is gone.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::raw::{Argument, UNTOUCHED};
use crate::harness::task::{until, Faulter};
use crate::harness::{expect_errno, remover, tests, uffd_raw, uffd_with, Need};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    change_refuses_requests [Need::Feature(CHANGING | REQUESTS)];
    change_is_seen_before_the_argument [Need::Feature(CHANGING | REQUESTS)];
    change_is_over_when_its_event_is_read [Need::Feature(CHANGING)];
    change_is_over_when_its_maker_is_killed [Need::Feature(UFFD_FEATURE_EVENT_REMOVE)];
    dead_process_is_told_apart;
    dead_process_is_told_apart_by_every_request [Need::Feature(REQUESTS)];
}

/// What [`Changing`] takes: without an event, no change lasts.
const CHANGING: u64 = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
/// What every request on ranges takes.
const REQUESTS: u64 = UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | UFFD_FEATURE_MINOR_SHMEM
    | UFFD_FEATURE_POISON
    | UFFD_FEATURE_MOVE;

/// A descriptor with an event that nobody has read, and the thread that waits for that.
struct Changing {
    uffd: Uffd,
    target: Arc<Mapping>,
    changer: Faulter<()>,
}

impl Changing {
    fn new() -> Changing {
        let offered = uffd_raw(0).api(0).unwrap().features;
        let uffd = uffd_with(UFFD_FEATURE_EVENT_REMOVE | offered & UFFD_FEATURE_RWP);
        let target = Arc::new(Mapping::anon(2));
        let mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
        uffd.register(target.start(), target.len(), mode).unwrap();
        let changer = remover(&target);
        Changing {
            uffd,
            target,
            changer,
        }
    }

    /// Reads the event, so that the thread goes on.
    fn finish(self) -> (Uffd, Arc<Mapping>) {
        let (start, end) = (self.target.page(1), self.target.end());
        assert_eq!(self.uffd.read_event(), Ok(Event::Remove { start, end }));
        self.changer.join();
        (self.uffd, self.target)
    }
}

/// The requests that change what is mapped and have a result field.
const FILLING: [(u64, usize); 5] = [
    (UFFDIO_COPY, 5),
    (UFFDIO_ZEROPAGE, 4),
    (UFFDIO_MOVE, 5),
    (UFFDIO_CONTINUE, 4),
    (UFFDIO_POISON, 4),
];

/// EAGAIN as a result field has it.
const AGAIN: u64 = (Errno::EAGAIN as u64).wrapping_neg();

/// The requests that protect, as far as the kernel has them.
fn protecting() -> Vec<u64> {
    let offered = uffd_raw(0).api(0).unwrap().features;
    let rwprotect = (offered & UFFD_FEATURE_RWP != 0).then_some(UFFDIO_RWPROTECT);
    [UFFDIO_WRITEPROTECT].into_iter().chain(rwprotect).collect()
}

fn change_refuses_requests() {
    let changing = Changing::new();
    let (uffd, start) = (&changing.uffd, changing.target.start());
    let argument = Argument::new();
    let source = Mapping::anon(1);
    for (request, count) in FILLING {
        let words = if count == 5 {
            vec![start, source.start(), PAGE, 0]
        } else {
            vec![start, PAGE, 0]
        };
        let given: Vec<u64> = words.iter().copied().chain([UNTOUCHED]).collect();
        let (result, left) = argument.call(uffd, request, &given);
        expect_errno(result, Errno::EAGAIN);
        assert_eq!(left, words.into_iter().chain([AGAIN]).collect::<Vec<_>>());
    }
    for request in protecting() {
        expect_errno(
            argument.call(uffd, request, &[start, PAGE, 0]).0,
            Errno::EAGAIN,
        );
    }
    // The rest does not care.
    uffd.wake(start, PAGE).unwrap();
    uffd.register(
        start,
        PAGE,
        UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
    )
    .unwrap();
    uffd.unregister(start, PAGE).unwrap();
    changing.finish();
}

fn change_is_seen_before_the_argument() {
    let changing = Changing::new();
    let (uffd, argument) = (&changing.uffd, Argument::new());
    for (request, count) in FILLING {
        // Nothing of the argument is read: only the result field needs to be there...
        let (result, field) = argument.call_cut_before(uffd, request, count);
        expect_errno(result, Errno::EAGAIN);
        assert_eq!(field, AGAIN);
        // ...and a range that cannot be one does not matter.
        let (result, left) = argument.call(uffd, request, &vec![1; count]);
        expect_errno(result, Errno::EAGAIN);
        assert_eq!(left[count - 1], AGAIN);
        // Without a result field there is no answer to store.
        expect_errno(
            argument.call_cut_behind(uffd, request, &vec![0; count], count as u64 - 1),
            Errno::EFAULT,
        );
    }
    for request in protecting() {
        // SAFETY: the kernel cannot write to address 0.
        expect_errno(unsafe { uffd.ioctl(request, 0) }, Errno::EAGAIN);
    }
    changing.finish();
}

fn change_is_over_when_its_event_is_read() {
    let (uffd, target) = Changing::new().finish();
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
    uffd.writeprotect(target.start(), PAGE, UFFDIO_WRITEPROTECT_MODE_WP)
        .unwrap();
}

/// The descriptor of another process.
fn take_from(pid: i32, fd: i32) -> Uffd {
    // SAFETY: integers only.
    let pidfd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).unwrap();
    // SAFETY: the call has just made the descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    // SAFETY: integers only.
    let taken =
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
            .unwrap();
    // SAFETY: the call has just made the descriptor.
    Uffd::from(unsafe { OwnedFd::from_raw_fd(taken as i32) })
}

/// A child that makes a descriptor, does something with it and then waits for its end; and the
/// descriptor.
fn child_with_descriptor(features: u64, body: impl FnOnce(&Uffd)) -> (Child, Uffd) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let child = Child::spawn(|| {
        let uffd = uffd_with(features);
        nix::unistd::write(&writer, &uffd.as_raw_fd().to_le_bytes()).unwrap();
        body(&uffd);
        nix::unistd::pause();
    });
    let mut number = [0; 4];
    assert_eq!(nix::unistd::read(&reader, &mut number), Ok(4));
    let uffd = take_from(child.pid().as_raw(), i32::from_le_bytes(number));
    (child, uffd)
}

fn change_is_over_when_its_maker_is_killed() {
    let (child, uffd) = child_with_descriptor(UFFD_FEATURE_EVENT_REMOVE, |uffd| {
        let memory = Mapping::anon(1);
        uffd.register(memory.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        memory.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    });
    let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::NONE), Ok(1));
    let source = Mapping::anon(1);
    expect_errno(uffd.copy(PAGE, source.start(), PAGE, 0), Errno::EAGAIN);
    child.signal(Signal::SIGKILL);
    child.wait();
    // The event went with the thread that waited for it, and the count with the event.
    until(|| matches!(uffd.read(), Err(Errno::EAGAIN)));
    expect_errno(uffd.copy(PAGE, source.start(), PAGE, 0), Errno::ESRCH);
}

/// The descriptor of a process that is dead.
fn dead_with_descriptor(features: u64) -> Uffd {
    let (child, uffd) = child_with_descriptor(features, |_| {});
    child.signal(Signal::SIGKILL);
    child.wait();
    uffd
}

/// Makes requests that need their process, and the same with a start that cannot be one.
fn check_dead(uffd: &Uffd, requests: impl IntoIterator<Item = (u64, Vec<u64>)>) {
    let argument = Argument::new();
    for (request, words) in requests {
        assert_eq!(
            argument.call(uffd, request, &words),
            (Err(Errno::ESRCH), words.clone()),
            "{request:#x}"
        );
        // Bad arguments are noticed before.
        let mut bad = words;
        bad[0] += 1;
        expect_errno(argument.call(uffd, request, &bad).0, Errno::EINVAL);
    }
}

fn dead_process_is_told_apart() {
    let uffd = dead_with_descriptor(0);
    let source = Mapping::anon(1);
    let start = source.start();
    check_dead(
        &uffd,
        [
            (UFFDIO_COPY, vec![start, start, PAGE, 0, UNTOUCHED]),
            (UFFDIO_ZEROPAGE, vec![start, PAGE, 0, UNTOUCHED]),
        ],
    );
    expect_errno(
        uffd.register(start, PAGE, UFFDIO_REGISTER_MODE_MISSING),
        Errno::ENOMEM,
    );
    expect_errno(uffd.unregister(start, PAGE), Errno::ENOMEM);
    uffd.wake(start, PAGE).unwrap();
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn dead_process_is_told_apart_by_every_request() {
    let offered = uffd_raw(0).api(0).unwrap().features;
    let features = offered & (UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC);
    let uffd = dead_with_descriptor(features);
    let source = Mapping::anon(1);
    let start = source.start();
    check_dead(
        &uffd,
        [
            (UFFDIO_CONTINUE, vec![start, PAGE, 0, UNTOUCHED]),
            (UFFDIO_POISON, vec![start, PAGE, 0, UNTOUCHED]),
            (UFFDIO_WRITEPROTECT, vec![start, PAGE, 0]),
        ],
    );
    if features & UFFD_FEATURE_RWP_ASYNC != 0 {
        expect_errno(uffd.rwprotect(start, PAGE, 0), Errno::ESRCH);
        expect_errno(uffd.set_mode(UFFD_FEATURE_RWP_ASYNC, 0), Errno::ESRCH);
    }
    // Moving is for one's own process, dead or not.
    expect_errno(uffd.move_pages(start, start, PAGE, 0), Errno::EINVAL);
}
