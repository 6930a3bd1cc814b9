// SPDX-License-Identifier: GPL-2.0-only

//! Forks that fail, cannot be read, or are read by somebody who gives up.

use super::*;
use crate::harness::env::{self, Implementation};
use crate::harness::managed::{adopt, next_event, next_fork, wait_input, Managed};
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::process::Child;
use crate::harness::rng::Rng;
use crate::harness::setting::Setting;
use crate::harness::slab::Ledger;
use crate::harness::task::{until, wait_process_in, Faulter};

use crate::harness::{expect_errno, tests, user, Need};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, Signal};
use std::fs;
use std::os::fd::AsFd;
use std::sync::Barrier;
use uffd::{Errno, Event, Uffd};

tests! {
    no_descriptor_for_the_child [FORK];
    unread_fork_keeps_its_place [FORK];
    bad_buffer_for_a_fork [FORK];
    killed_while_its_fork_is_unread [FORK, CONTEXTS];
    killed_while_its_fork_cannot_be_read [FORK, CONTEXTS];
    readers_killed_while_they_read [FORK, CONTEXTS];
    cve_2017_15126_readers_that_give_up [FORK, CONTEXTS];
    cve_2024_50220_failed_fork_is_not_told [FORK, Need::Root, CONTEXTS];
    fork_that_fails_after_it_was_told [FORK, Need::Root, CONTEXTS];
}

fn no_descriptor_for_the_child() {
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| fork(|| assert_eq!(target.read(0), 1)));
    let before = descriptors();
    for _ in 0..3 {
        wait_input(&managed.uffd);
        expect_errno(without_room(|| managed.uffd.read()), Errno::EMFILE);
        assert_eq!(descriptors(), before);
        managed.wait_in(libc::SYS_clone);
    }
    let child = next_fork(&managed.uffd);
    assert_eq!(descriptors(), before + 1);
    serve(&child, target.start(), 1);
    managed.end();
}

fn unread_fork_keeps_its_place() {
    let features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE;
    let target = Mapping::anon(1);
    let managed = Managed::start(features, &[&target], |link| {
        // A fork holds the locks of the allocator, so the thread has to be well under way.
        let started = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                link.say(nix::unistd::gettid().as_raw() as u64);
                started.wait();
                link.hear();
                target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
            });
            started.wait();
            fork(|| {});
        });
    });
    let remover = managed.link.hear();
    managed.wait_in(libc::SYS_clone);
    managed.link.say(0);
    wait_process_in(remover as i32, libc::SYS_madvise);
    expect_errno(without_room(|| managed.uffd.read()), Errno::EMFILE);
    let events = [next_event(&managed.uffd), next_event(&managed.uffd)];
    let is_fork = events.map(|event| matches!(event, Event::Fork(_)));
    match env::implementation() {
        Implementation::Rust => assert_eq!(is_fork, [true, false]),
        // It went to the end.
        Implementation::C => assert_eq!(is_fork, [false, true]),
    }
    managed.end();
}

fn bad_buffer_for_a_fork() {
    let (target, hole) = (Mapping::anon(1), Mapping::with_hole());
    let managed = forking(&target, |_| {
        fork(|| {
            target.read(0);
        })
    });
    wait_input(&managed.uffd);
    let before = descriptors();
    for bad in [hole.page(1), hole.page(1) - 16] {
        let uffd = managed.uffd.as_fd();
        expect_errno(user::read(uffd, bad, 32), Errno::EFAULT);
        match env::implementation() {
            Implementation::Rust => assert_eq!(descriptors(), before),
            // Nobody knows the descriptor, and so the child is never served.
            Implementation::C => {
                assert_eq!(descriptors(), before + 1);
                expect_errno(managed.uffd.read(), Errno::EAGAIN);
                managed.kill();
                return;
            }
        }
        wait_input(&managed.uffd);
    }
    serve(&next_fork(&managed.uffd), target.start(), 1);
    managed.end();
}

fn killed_while_its_fork_is_unread() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| fork(|| {}));
    wait_input(&managed.uffd);
    let uffd = managed.kill();
    expect_errno(uffd.read(), Errno::EAGAIN);
    expect_gone(&uffd, &target);
    drop(uffd);
    ledger.settle();
}

fn killed_while_its_fork_cannot_be_read() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| fork(|| {}));
    wait_input(&managed.uffd);
    expect_errno(without_room(|| managed.uffd.read()), Errno::EMFILE);
    let uffd = managed.kill();
    expect_errno(uffd.read(), Errno::EAGAIN);
    expect_gone(&uffd, &target);
    drop(uffd);
    ledger.settle();
}

/// Whether there is a message now.
fn has_input(uffd: &Uffd) -> bool {
    let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

/// Lets some time pass, as the dice have it.
fn dawdle(rng: &mut Rng) {
    (0..rng.below(0..3000)).for_each(|_| std::hint::spin_loop());
}

fn readers_killed_while_they_read() {
    const ROUNDS: u64 = 40;
    let (ledger, mut rng) = (Ledger::open(&[]), Rng::new());
    let (target, mut lost) = (Mapping::anon(1), 0);
    for _ in 0..ROUNDS {
        let managed = forking(&target, |_| {
            fork(|| {
                target.read(0);
            })
        });
        wait_input(&managed.uffd);
        let reader = Child::spawn(|| {
            managed.uffd.read().unwrap();
            nix::unistd::pause();
        });
        dawdle(&mut rng);
        reader.signal(Signal::SIGKILL);
        reader.wait();
        // Either it is there, or it was the reader's, and its end released the child.
        if has_input(&managed.uffd) {
            serve(&next_fork(&managed.uffd), target.start(), 1);
        } else {
            lost += 1;
        }
        managed.end();
    }
    println!("{lost} of {ROUNDS} were read by who was killed");
    ledger.settle();
}

fn cve_2017_15126_readers_that_give_up() {
    const ROUNDS: u64 = 60;
    let (ledger, mut rng) = (Ledger::open(&[]), Rng::new());
    let target = Mapping::anon(1);
    for _ in 0..ROUNDS {
        let managed = forking(&target, |_| loop {
            if Child::try_spawn(|| {
                target.read(0);
            })
            .is_ok()
            {
                // Nobody waits for it: this is killed soon.
            }
        });
        let pid = managed.pid();
        let (limited, closes) = (rng.below(0..2) == 0, rng.below(0..3) == 0);
        wait_input(&managed.uffd);
        let reads = rng.below(1..6);
        let pause = rng.below(0..3000);
        let killer = Faulter::spawn(move || {
            (0..pause).for_each(|_| std::hint::spin_loop());
            kill(pid, Signal::SIGKILL).unwrap();
        });
        let read = || match managed.uffd.read_event() {
            Ok(Event::Fork(fd)) => drop(adopt(fd)),
            Err(Errno::EAGAIN | Errno::EMFILE) => {}
            other => panic!("{other:?}"),
        };
        for _ in 0..reads {
            if limited {
                without_room(read);
            } else {
                read();
            }
        }
        let (program, uffd, _link) = managed.into_parts();
        let uffd = (!closes).then_some(uffd);
        killer.join();
        program.wait();
        drop(uffd);
    }
    ledger.settle();
}

fn cve_2024_50220_failed_fork_is_not_told() {
    let ledger = Ledger::open(&[]);
    // More than fits a second time, behind the memory that is managed.
    let meminfo = |key: &str| -> u64 {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap() << 10
    };
    let room = meminfo("CommitLimit:") - meminfo("Committed_AS:");
    let len = room / 3 * 2 / PAGE * PAGE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let all = Mapping::new(len, libc::PROT_NONE, flags, None, 0).unwrap();
    all.protect(0, PAGE, RW).unwrap();
    let (start, target) = (all.start(), Mapping::lone(1));
    let managed = forking(&target, |link| {
        user::remap(target.start(), PAGE, PAGE, Some(start)).unwrap();
        all.protect(2 * PAGE, len - 2 * PAGE, RW).unwrap();
        link.say(0);
        link.hear();
        expect_errno(Child::try_spawn(|| {}), Errno::ENOMEM);
        link.say(0);
        link.hear();
        fork(|| assert_eq!(all.read(0), 1));
    });
    let Managed { uffd, link, .. } = &managed;
    link.hear();
    // Without the feature EVENT_REMAP the new place is registered once more.
    uffd.register(start, PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    let strict = Setting::set("/proc/sys/vm/overcommit_memory", "2");
    link.say(0);
    link.hear();
    drop(strict);
    expect_errno(uffd.read(), Errno::EAGAIN);
    fill(uffd, start, 1);
    link.say(0);
    let child = next_fork(uffd);
    drop((managed.end(), child));
    ledger.settle();
}

/// fork that fails at the last: no process can have this one's number.
fn fork_onto_myself() -> Errno {
    let number = nix::unistd::getpid().as_raw();
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls, numbers, their count
    let mut words = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 1];
    words[8] = user::address_of(&number);
    let args = [user::address_of(&words), 80, 0, 0, 0, 0];
    // SAFETY: the structure is valid. If there is a child it ends at once.
    match unsafe { user::syscall(libc::SYS_clone3, args) } {
        Err(errno) => errno,
        // SAFETY: _exit takes an integer and does not return.
        Ok(_) => unsafe { libc::_exit(1) },
    }
}

fn fork_that_fails_after_it_was_told() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::anon(1);
    let managed = forking(&target, |_| {
        assert_eq!(fork_onto_myself(), Errno::EEXIST);
        assert_eq!(target.read(0), 1);
    });
    let child = next_fork(&managed.uffd);
    serve(&managed.uffd, target.start(), 1);
    until(|| fill_error(&child, target.start()) == Some(Errno::ESRCH));
    expect_errno(child.read(), Errno::EAGAIN);
    drop((managed.end(), child));
    ledger.settle();
}
