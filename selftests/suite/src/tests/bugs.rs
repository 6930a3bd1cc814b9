// SPDX-License-Identifier: GPL-2.0-only

//! What went wrong in the kernel before, as far as private anonymous memory is concerned.
//!
//! Each test is named after the fix or the record of the bug. Those that need a race run it many
//! times with both sides let go at once; a debug kernel sees more in them than this program does.

use crate::harness::handler::Handler;
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::process::Child;
use crate::harness::task::{until, Faulter};
use crate::harness::{
    env, expect_errno, registered, sigbus, sleepers, smaps, tests, uffd_with, user, Need,
};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Uffd};

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

tests! {
    fix_5_7_dropping_pages_under_faults_is_no_sigbus;
    fix_5_9_11_faults_against_unmapping;
    next_20240805_splitting_and_merging;
    cve_2021_46988_source_and_destination_both_missing;
    cve_2022_50630_faults_against_replacing_the_mapping;
    cve_2024_50220_fork_that_fails [Need::Root];
    event_exit_was_rolled_back;
    exit_of_many_processes_at_once;
    close_against_filling;
    close_against_faults;
    close_against_registering;
    unregister_against_faults;
    filling_races_have_one_winner;
    message_has_no_old_bytes;
    wake_against_read_loses_nobody;
    mm_outlives_its_processes;
}

/// Runs functions in threads that start at once, and waits for all of them.
pub(super) fn together(bodies: Vec<Box<dyn FnOnce() + Send>>) {
    let start = Arc::new(Barrier::new(bodies.len()));
    let threads: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let start = Arc::clone(&start);
            Faulter::spawn(move || {
                start.wait();
                body();
            })
        })
        .collect();
    threads.into_iter().for_each(Faulter::join);
}

/// A handler that fills with zeroes what is still there and still missing.
fn tolerant_handler(uffd: &Arc<Uffd>) -> Handler {
    Handler::spawn(Arc::clone(uffd), |uffd, event| {
        let page = event.pagefault().unwrap().address;
        match uffd.zeropage(page, PAGE, 0).map_err(|error| error.errno) {
            Ok(_) => {}
            // Somebody else was there first, or took the memory away: look again.
            Err(Errno::EEXIST | Errno::EAGAIN | Errno::ENOENT) => uffd.wake(page, PAGE).unwrap(),
            Err(errno) => panic!("UFFDIO_ZEROPAGE: {errno}"),
        }
    })
}

fn fix_5_7_dropping_pages_under_faults_is_no_sigbus() {
    const ROUNDS: usize = 300;
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(2), &uffd);
    sigbus::catch();
    let handler = tolerant_handler(&uffd);
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for page in 0..2 {
        let memory = Arc::clone(&target);
        bodies.push(Box::new(move || {
            for _ in 0..ROUNDS {
                assert_eq!(memory.read(page * PAGE), 0);
            }
        }));
        let memory = Arc::clone(&target);
        bodies.push(Box::new(move || {
            for _ in 0..ROUNDS {
                memory
                    .advise(page * PAGE, PAGE, libc::MADV_DONTNEED)
                    .unwrap();
            }
        }));
    }
    together(bodies);
    handler.stop();
    assert_eq!(sigbus::caught().count, 0);
}

/// Takes faults in pages while another thread does something to the mapping, many times over.
fn fault_against(rounds: usize, change: impl Fn(&Uffd, &Mapping) + Send + Sync + 'static) {
    let change = Arc::new(change);
    for _ in 0..rounds {
        let uffd = Arc::new(uffd_with(0));
        let target = registered(Mapping::anon(4), &uffd);
        let handler = tolerant_handler(&uffd);
        let (sink_reader, sink) = nix::unistd::pipe().unwrap();
        let (memory, other, manager) =
            (Arc::clone(&target), Arc::clone(&target), Arc::clone(&uffd));
        let change = Arc::clone(&change);
        together(vec![
            Box::new(move || {
                // Inside a call, where memory that is gone is an error instead of a signal.
                for page in 0..4 {
                    let written = user::write(sink.as_fd(), memory.page(page), 1);
                    assert!(matches!(written, Ok(1) | Err(Errno::EFAULT)), "{written:?}");
                }
            }),
            Box::new(move || change(&manager, &other)),
        ]);
        drop(sink_reader);
        handler.stop();
        assert_eq!(env::fdinfo(&uffd).total, 0);
    }
}

fn fix_5_9_11_faults_against_unmapping() {
    // Each fault that sleeps must be woken by the handler after the memory is gone.
    fault_against(100, |uffd, target| {
        target.unmap(PAGE, 2 * PAGE);
        uffd.wake(target.start(), target.len()).unwrap();
    });
}

fn cve_2022_50630_faults_against_replacing_the_mapping() {
    fault_against(100, |uffd, target| {
        for page in 0..4 {
            target.map_over(page);
            uffd.wake(target.page(page), PAGE).unwrap();
        }
    });
}

fn unregister_against_faults() {
    fault_against(100, |uffd, target| {
        uffd.unregister(target.page(1), 2 * PAGE).unwrap();
        uffd.unregister(target.start(), target.len()).unwrap();
    });
}

fn next_20240805_splitting_and_merging() {
    const PAGES: u64 = 16;
    // A fixed walk over all kinds of sub-ranges: inside, at either edge, over several mappings.
    let (uffd, other) = (uffd_with(0), uffd_with(0));
    let target = Mapping::anon(PAGES);
    let mut owner = [None; PAGES as usize];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    println!("seed {state:#x}");
    for _ in 0..600 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let first = state % PAGES;
        let count = 1 + (state >> 8) % (PAGES - first);
        let who = (state >> 16) & 1;
        let (start, len) = (target.page(first), count * PAGE);
        let range = first as usize..(first + count) as usize;
        let by = [&uffd, &other][who as usize];
        if state >> 17 & 1 == 0 {
            let busy = owner[range.clone()]
                .iter()
                .any(|&owner| owner.is_some_and(|owner| owner != who));
            match by.register(start, len, MISSING) {
                Ok(_) => {
                    assert!(!busy);
                    owner[range].fill(Some(who));
                }
                Err(errno) => assert!(busy && errno == Errno::EBUSY, "{errno}"),
            }
        } else {
            let foreign = owner[range.clone()]
                .iter()
                .any(|&owner| owner.is_some_and(|owner| owner != who));
            match by.unregister(start, len) {
                Ok(()) => {
                    assert!(!foreign);
                    owner[range].fill(None);
                }
                Err(errno) => assert!(foreign && errno == Errno::EINVAL, "{errno}"),
            }
        }
        // The mappings are as few as they can be and say what the model says.
        let vmas = smaps::vmas(target.start(), target.end());
        for (page, owner) in (0..).zip(owner) {
            let at = target.page(page);
            let vma = vmas.iter().find(|vma| vma.start <= at && at < vma.end);
            assert_eq!(vma.expect("mapped").has("um"), owner.is_some());
        }
        let changes = owner.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(vmas.len(), changes + 1);
    }
}

fn cve_2021_46988_source_and_destination_both_missing() {
    // The source is in the same registered range as the destination: one handler thread copies,
    // another must fill the source for it.
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(4), &uffd);
    let handler = tolerant_handler(&uffd);
    for page in [1, 3] {
        let copied = uffd.copy(target.page(page), target.page(page - 1), PAGE, 0);
        assert_eq!(copied, Ok(PAGE));
        assert_eq!(target.read(page * PAGE), 0);
    }
    let seen = handler.stop();
    let pages: Vec<_> = seen
        .iter()
        .map(|event| event.pagefault().unwrap().address)
        .collect();
    assert_eq!(pages, [target.page(0), target.page(2)]);
}

fn cve_2024_50220_fork_that_fails() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    // The number asked for is taken, which is found out when the child has its address space.
    let taken = std::process::id();
    let mut args = [0u64; 11];
    args[4] = libc::SIGCHLD as u64;
    args[8] = user::address_of(&raw const taken);
    args[9] = 1;
    let (args_at, size) = (user::address_of(args.as_ptr()), size_of_val(&args) as u64);
    for _ in 0..10 {
        // SAFETY: there is never a child.
        let failed = unsafe { user::syscall(libc::SYS_clone3, [args_at, size, 0, 0, 0, 0]) };
        expect_errno(failed, Errno::EEXIST);
    }
    assert_eq!(env::fdinfo(&uffd).total, 1);
    crate::harness::release(&uffd, &target, asleep);
}

fn event_exit_was_rolled_back() {
    // A manager that never reads does not keep anybody from ending, threads in faults included.
    let target = Arc::new(Mapping::anon(2));
    let memory = Arc::clone(&target);
    Child::spawn(move || {
        let uffd = uffd_with(0);
        uffd.register(target.start(), target.len(), MISSING)
            .unwrap();
        for offset in [0, PAGE] {
            Faulter::read(&memory, offset).wait_asleep();
        }
        std::mem::forget(uffd);
    })
    .expect_success();
}

fn exit_of_many_processes_at_once() {
    const PROCESSES: usize = 200;
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let (gate, keeper) = nix::unistd::pipe().unwrap();
    let keeper_number = keeper.as_raw_fd();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Child::spawn(|| {
                let uffd = uffd_with(0);
                let target = Mapping::anon(8);
                for page in [0, 3, 6] {
                    uffd.register(target.page(page), PAGE, MISSING).unwrap();
                }
                uffd.zeropage(target.page(3), PAGE, 0).unwrap();
                nix::unistd::write(&writer, &[1]).unwrap();
                // All go on when the parent closes the other end.
                nix::unistd::close(keeper_number).unwrap();
                nix::unistd::read(&gate, &mut [0]).unwrap();
                target.leak();
                std::mem::forget(uffd);
            })
        })
        .collect();
    let mut arrived = 0;
    while arrived < PROCESSES {
        arrived += nix::unistd::read(&reader, &mut [0; PROCESSES]).unwrap();
    }
    drop(keeper);
    children.into_iter().for_each(Child::expect_success);
}

fn close_against_filling() {
    for _ in 0..100 {
        let uffd = uffd_with(0);
        let target = registered(Mapping::anon(8), &uffd);
        let source = Mapping::anon(8);
        source.fill(0, 1, 1);
        let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
        let (start, from) = (target.start(), source.start());
        together(vec![
            Box::new(move || {
                // The call holds the file, so it ends as if there was no close.
                assert_eq!(twin.copy(start, from, 8 * PAGE, 0), Ok(8 * PAGE));
            }),
            Box::new(move || drop(uffd)),
        ]);
        assert_eq!(target.read(7 * PAGE), 0);
    }
}

fn close_against_faults() {
    for _ in 0..100 {
        let uffd = uffd_with(0);
        let target = registered(Mapping::anon(4), &uffd);
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new(move || drop(uffd))];
        for page in 0..2 {
            let memory = Arc::clone(&target);
            bodies.push(Box::new(move || {
                // Before the close they sleep until it, after it nobody is asked.
                assert_eq!(memory.read(page * PAGE), 0);
                assert_eq!(memory.read((page + 2) * PAGE), 0);
            }));
        }
        together(bodies);
    }
}

fn close_against_registering() {
    for _ in 0..100 {
        let uffd = uffd_with(0);
        let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
        let target = Arc::new(Mapping::anon(4));
        let memory = Arc::clone(&target);
        together(vec![
            Box::new(move || {
                twin.register(memory.page(1), 2 * PAGE, MISSING).unwrap();
                drop(twin);
            }),
            Box::new(move || drop(uffd)),
        ]);
        // The last close has given everything up.
        let vmas = smaps::vmas(target.start(), target.end());
        assert!(vmas.iter().all(|vma| !vma.has("um")));
    }
}

fn filling_races_have_one_winner() {
    const FILLERS: u8 = 3;
    let uffd = Arc::new(uffd_with(0));
    for _ in 0..100 {
        let target = registered(Mapping::anon(1), &uffd);
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for value in 1..=FILLERS {
            let (uffd, start) = (Arc::clone(&uffd), target.start());
            let (source, sender) = (Mapping::anon(1), sender.clone());
            source.fill(0, PAGE, value);
            bodies.push(Box::new(move || {
                match uffd.copy(start, source.start(), PAGE, 0) {
                    Ok(_) => sender.send(value).unwrap(),
                    Err(partial) => assert_eq!(partial.errno, Errno::EEXIST),
                }
            }));
        }
        drop(sender);
        together(bodies);
        let winners: Vec<u8> = receiver.iter().collect();
        assert_eq!(winners, [target.read(PAGE - 1)]);
    }
}

fn message_has_no_old_bytes() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    let mut message = [0xff; 32];
    assert_eq!(nix::unistd::read(&uffd, &mut message), Ok(32));
    let mut want = [0; 32];
    want[0] = UFFD_EVENT_PAGEFAULT;
    want[16..24].copy_from_slice(&target.start().to_le_bytes());
    assert_eq!(message, want);
    crate::harness::release(&uffd, &target, asleep);
}

fn wake_against_read_loses_nobody() {
    // While a fault is being read it is neither unread nor read: a wake in that moment counts.
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let done = Arc::new(AtomicBool::new(false));
    let (reader, stop) = (Arc::clone(&uffd), Arc::clone(&done));
    let reader = Faulter::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            assert!(matches!(reader.read(), Ok(_) | Err(Errno::EAGAIN)));
            std::thread::yield_now();
        }
    });
    for _ in 0..300 {
        let faulter = Faulter::read(&target, 0);
        env::wait_queued(&uffd, 1);
        uffd.zeropage(target.start(), PAGE, 0).unwrap();
        assert_eq!(faulter.join(), 0);
        target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    }
    done.store(true, Ordering::SeqCst);
    reader.join();
}

fn mm_outlives_its_processes() {
    // The descriptor keeps the shell of the address space, and many of them must not be too many.
    let kept: Vec<_> = (0..32)
        .map(|_| {
            let (ready, go) = (Mapping::shared(1), Mapping::shared(1));
            let child = Child::spawn(|| {
                let uffd = uffd_with(0);
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let target = Mapping::new(PAGE, RW, flags, None, 0).unwrap();
                uffd.register(target.start(), PAGE, MISSING).unwrap();
                let number = uffd.as_raw_fd();
                ready.write(0, number as u8);
                until(|| go.read(0) == 1);
            });
            until(|| ready.read(0) != 0);
            let number = ready.read(0).into();
            let uffd = crate::harness::process::descriptor_of(child.pid(), number);
            go.write(0, 1);
            child.expect_success();
            uffd
        })
        .collect();
    for uffd in &kept {
        let partial = uffd.zeropage(PAGE, PAGE, 0).unwrap_err();
        assert_eq!(partial.errno, Errno::ESRCH);
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}
