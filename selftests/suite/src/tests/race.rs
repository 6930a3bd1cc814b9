// SPDX-License-Identifier: GPL-2.0-only

//! Threads that get into each other's way: nobody hangs, and no message is lost.

use crate::harness::env::{fdinfo, implementation, Implementation};
use crate::harness::handler::Handler;
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::{until, wait_asleep_in, Faulter};
use crate::harness::{blocking_uffd_with, registered, release, sleepers, tests, uffd_with};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    readers_wake_one_each;
    signalled_readers_lose_nothing;
    bad_buffer_leaves_the_message_to_others;
    bad_buffers_lose_nothing;
    exclusive_pollers_beside_others;
    faults_while_registering;
    faults_while_closing;
}

/// Threads that each read all pages but begin at different ones, dropping each page afterwards
/// if told to.
fn touchers(target: &Arc<Mapping>, threads: u64, rounds: u64) -> Vec<Faulter<()>> {
    let pages = target.len() / PAGE;
    (0..threads)
        .map(|thread| {
            let target = Arc::clone(target);
            Faulter::spawn(move || {
                for round in 0..rounds {
                    let page = (thread * pages / threads + round) % pages;
                    target.read(page * PAGE);
                    target
                        .advise(page * PAGE, PAGE, libc::MADV_DONTNEED)
                        .unwrap();
                }
            })
        })
        .collect()
}

/// Answers a fault whatever others did to its page meanwhile.
fn answer(uffd: &Uffd, address: u64) {
    match uffd.zeropage(address, PAGE, 0) {
        Ok(_) => {}
        Err(failed) => {
            assert_eq!(failed.errno, Errno::EEXIST);
            uffd.wake(address, PAGE).unwrap();
        }
    }
}

fn address_of(msg: &UffdMsg) -> u64 {
    msg.decode().pagefault().expect("a page fault").address
}

fn readers_wake_one_each() {
    // As many readers as faults: each gets one message, and none is left without.
    const READERS: u64 = 32;
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(READERS), &uffd);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let uffd = Arc::clone(&uffd);
            let reader = Faulter::spawn(move || address_of(&uffd.read().unwrap()));
            wait_asleep_in(reader.tid(), libc::SYS_read);
            reader
        })
        .collect();
    // All at once, so that readers wake up while more messages come.
    let faulters: Vec<_> = (0..READERS)
        .map(|page| Faulter::read(&target, page * PAGE))
        .collect();
    let mut seen: Vec<u64> = readers.into_iter().map(Faulter::join).collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        (0..READERS)
            .map(|page| target.page(page))
            .collect::<Vec<_>>()
    );
    release(&uffd, &target, faulters);
}

extern "C" fn nothing(_: i32) {}

fn signalled_readers_lose_nothing() {
    const READERS: u64 = 4;
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(32), &uffd);
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (uffd, stop, sender) = (Arc::clone(&uffd), Arc::clone(&stop), sender.clone());
            Faulter::spawn(move || {
                sender.send(pthread_self()).unwrap();
                let (mut answered, mut interrupted) = (0u64, 0u64);
                while !stop.load(Ordering::SeqCst) {
                    match uffd.read() {
                        Ok(msg) => {
                            answer(&uffd, address_of(&msg));
                            answered += 1;
                        }
                        Err(Errno::EINTR) => interrupted += 1,
                        Err(errno) => panic!("read: {errno}"),
                    }
                }
                (answered, interrupted)
            })
        })
        .collect();
    let ids: Vec<_> = (0..READERS).map(|_| receiver.recv().unwrap()).collect();
    let faulters = touchers(&target, 4, 100);
    let signal = || {
        for &id in &ids {
            pthread_kill(id, Signal::SIGUSR1).unwrap();
        }
        thread::yield_now();
    };
    while !faulters.iter().all(Faulter::is_finished) {
        signal();
    }
    stop.store(true, Ordering::SeqCst);
    // A reader may have looked at the flag just before; the next signal ends its read.
    while !readers.iter().all(Faulter::is_finished) {
        signal();
    }
    faulters.into_iter().for_each(Faulter::join);
    let (answered, interrupted) = readers
        .into_iter()
        .map(Faulter::join)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(answered >= 32, "{answered} messages");
    assert!(interrupted > 0);
    assert_eq!(fdinfo(&uffd).total, 0);
}

/// read(2) of one message into memory that cannot be written.
fn read_into_nowhere(uffd: &Uffd) -> Result<(), Errno> {
    // SAFETY: nothing can be written to address 0.
    let ret = unsafe { libc::read(uffd.as_raw_fd(), std::ptr::null_mut(), size_of::<UffdMsg>()) };
    Errno::result(ret).map(drop)
}

fn bad_buffer_leaves_the_message_to_others() {
    // Whoever is asked first, the reader with a place for the message gets it.
    for bad_first in [true, false] {
        let uffd = Arc::new(blocking_uffd_with(0));
        let target = registered(Mapping::anon(2), &uffd);
        let spawn = |bad: bool| {
            let uffd = Arc::clone(&uffd);
            let reader = Faulter::spawn(move || {
                if bad {
                    read_into_nowhere(&uffd).map(|()| 0)
                } else {
                    uffd.read().map(|msg| address_of(&msg))
                }
            });
            wait_asleep_in(reader.tid(), libc::SYS_read);
            reader
        };
        let (first, second) = (spawn(bad_first), spawn(!bad_first));
        let (bad, good) = if bad_first {
            (first, second)
        } else {
            (second, first)
        };
        let mut asleep = sleepers(&uffd, &target, [0]);
        until(|| bad.is_finished() || good.is_finished());
        if bad.is_finished() && implementation() == Implementation::C {
            // There the message is lost, see `read::unwritable_buffer_keeps_the_message`.
            asleep.extend(sleepers(&uffd, &target, [1]));
            assert!([target.page(0), target.page(1)].contains(&good.join().unwrap()));
        } else {
            assert_eq!(good.join(), Ok(target.page(0)));
            asleep.extend(sleepers(&uffd, &target, [1]));
        }
        // By now the other one has met one of the messages, or meets the second.
        assert_eq!(bad.join(), Err(Errno::EFAULT));
        release(&uffd, &target, asleep);
    }
}

fn bad_buffers_lose_nothing() {
    // Two readers put back what they take, while a third one answers. C would lose messages.
    let bad_readers = match implementation() {
        Implementation::C => 0,
        Implementation::Rust => 2,
    };
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(32), &uffd);
    let handler = Handler::spawn(Arc::clone(&uffd), |uffd, event| {
        answer(uffd, event.pagefault().expect("a page fault").address);
    });
    let readers: Vec<_> = (0..bad_readers)
        .map(|_| {
            let uffd = Arc::clone(&uffd);
            Faulter::spawn(move || {
                let mut put_back = 0;
                while put_back < 50 {
                    match read_into_nowhere(&uffd) {
                        Err(Errno::EFAULT) => put_back += 1,
                        Err(Errno::EAGAIN) => thread::yield_now(),
                        result => panic!("read: {result:?}"),
                    }
                }
            })
        })
        .collect();
    let touch = || {
        touchers(&target, 4, 100)
            .into_iter()
            .for_each(Faulter::join);
    };
    touch();
    while !readers.iter().all(Faulter::is_finished) {
        touch();
    }
    readers.into_iter().for_each(Faulter::join);
    handler.stop();
    assert_eq!(fdinfo(&uffd).total, 0);
}

/// A thread in epoll_wait(2) on a set with nothing but the descriptor.
fn epoller(uffd: &Arc<Uffd>, flags: EpollFlags) -> Faulter<EpollFlags> {
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let events = EpollFlags::EPOLLIN | flags;
    epoll
        .add(uffd.as_ref(), EpollEvent::new(events, 0))
        .unwrap();
    // The set outlives the wait, so that it stands in the others' way.
    let epoller = Faulter::spawn(move || {
        let mut events = [EpollEvent::empty()];
        assert_eq!(epoll.wait(&mut events, EpollTimeout::NONE), Ok(1));
        std::mem::forget(epoll);
        events[0].events()
    });
    wait_asleep_in(epoller.tid(), libc::SYS_epoll_wait);
    epoller
}

fn exclusive_pollers_beside_others() {
    const EXCLUSIVE: usize = 3;
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(EXCLUSIVE as u64), &uffd);
    // The others stand before, among and behind the exclusive ones.
    let mut others = vec![epoller(&uffd, EpollFlags::empty())];
    let mut exclusive = Vec::new();
    for _ in 0..EXCLUSIVE {
        exclusive.push(epoller(&uffd, EpollFlags::EPOLLEXCLUSIVE));
        others.push(epoller(&uffd, EpollFlags::EPOLLET));
    }
    let plain = Arc::clone(&uffd);
    let poller = Faulter::spawn(move || {
        let mut fds = [PollFd::new(plain.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::NONE), Ok(1));
        fds[0].revents()
    });
    wait_asleep_in(poller.tid(), libc::SYS_poll);

    let mut asleep = sleepers(&uffd, &target, [0]);
    assert_eq!(poller.join(), Some(PollFlags::POLLIN));
    for other in others {
        assert_eq!(other.join(), EpollFlags::EPOLLIN);
    }
    // Each fault wakes an exclusive one that still waits, until none does.
    for done in 1..=EXCLUSIVE {
        until(|| exclusive.iter().filter(|one| one.is_finished()).count() >= done);
        if done < EXCLUSIVE {
            asleep.extend(sleepers(&uffd, &target, [done as u64]));
        }
    }
    for one in exclusive {
        assert_eq!(one.join(), EpollFlags::EPOLLIN);
    }
    release(&uffd, &target, asleep);
}

fn faults_while_registering() {
    // Nobody answers: whoever meets the registration sleeps until it is given back.
    const ROUNDS: u64 = 200;
    let uffd = uffd_with(0);
    let target = Arc::new(Mapping::anon(8));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let (target, stop) = (Arc::clone(&target), Arc::clone(&stop));
            Faulter::spawn(move || {
                let mut page = thread;
                while !stop.load(Ordering::SeqCst) {
                    page = (page + 3) % 8;
                    assert_eq!(target.read(page * PAGE), 0);
                    target
                        .advise(page * PAGE, PAGE, libc::MADV_DONTNEED)
                        .unwrap();
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        // All of it, or a part, so that mappings are split and merged under the faults.
        let (first, pages) = [(0, 8), (1, 4), (5, 2)][round as usize % 3];
        uffd.register(
            target.page(first),
            pages * PAGE,
            UFFDIO_REGISTER_MODE_MISSING,
        )
        .unwrap();
        if round % 4 == 0 {
            until(|| fdinfo(&uffd).total > 0);
        }
        uffd.unregister(target.start(), target.len()).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    if implementation() == Implementation::C {
        // There a fault may queue up between the wake-up and the lock that keeps faults away.
        uffd.wake(target.start(), target.len()).unwrap();
    }
    threads.into_iter().for_each(Faulter::join);
    assert_eq!(fdinfo(&uffd).total, 0);
}

fn faults_while_closing() {
    const ROUNDS: u64 = 50;
    let target = Arc::new(Mapping::anon(8));
    for round in 0..ROUNDS {
        let uffd = uffd_with(0);
        uffd.register(target.start(), target.len(), UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        let threads = touchers(&target, 4, 8);
        // Some sleep, some are on their way.
        until(|| fdinfo(&uffd).total as u64 > round % 4);
        drop(uffd);
        threads.into_iter().for_each(Faulter::join);
    }
}
