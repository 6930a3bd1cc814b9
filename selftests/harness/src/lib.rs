// SPDX-License-Identifier: GPL-2.0-only

//! Memory, threads and processes to take page faults in.
//!
//! What the guest's programs share: the suite, which checks how faults behave, and the study, which
//! shows it. All of it fails by panicking. Memory that faults are played with comes from
//! [`mem::Mapping`] and is only touched through its volatile accessors. Nothing here waits for a
//! time to pass: [`task::until`] and what is built on it wait for the kernel to say so.

pub mod env;
pub mod handler;
pub mod isolated;
pub mod managed;
pub mod mem;
pub mod pagemap;
pub mod process;
pub mod smaps;
pub mod swap;
pub mod task;
pub mod tracing;
pub mod user;

use mem::Mapping;
use nix::errno::Errno;
use std::fmt::Debug;
use std::sync::Arc;
use task::Faulter;
use uffd::abi::UFFDIO_REGISTER_MODE_MISSING;
use uffd::Uffd;

/// Exit status of a process in which a thread panicked.
pub const EXIT_PANIC: i32 = 101;

/// Fails unless the result is this error.
#[track_caller]
pub fn expect_errno<T: Debug, E: Into<Errno>>(result: Result<T, E>, want: Errno) {
    match result {
        Ok(value) => panic!("expected {want:?}, but the call succeeded with {value:?}"),
        Err(error) => assert_eq!(error.into(), want),
    }
}

/// A descriptor after a handshake that asked for these features, non-blocking.
#[track_caller]
pub fn uffd_with(features: u64) -> Uffd {
    let uffd = uffd_raw(libc::O_NONBLOCK);
    uffd.api(features).expect("UFFDIO_API");
    uffd
}

/// The same, but blocking.
#[track_caller]
pub fn blocking_uffd_with(features: u64) -> Uffd {
    let uffd = uffd_raw(0);
    uffd.api(features).expect("UFFDIO_API");
    uffd
}

/// A descriptor with these flags (and `O_CLOEXEC`) before any handshake.
#[track_caller]
pub fn uffd_raw(flags: i32) -> Uffd {
    Uffd::from_syscall(libc::O_CLOEXEC | flags).expect("userfaultfd")
}

/// Registers a mapping for missing faults, and shares it with the threads to come.
#[track_caller]
pub fn registered(mapping: Mapping, uffd: &Uffd) -> Arc<Mapping> {
    let mode = UFFDIO_REGISTER_MODE_MISSING;
    uffd.register(mapping.start(), mapping.len(), mode)
        .expect("UFFDIO_REGISTER");
    Arc::new(mapping)
}

/// Threads that sleep in reads of the given pages, queued in that order.
pub fn sleepers(
    uffd: &Uffd,
    target: &Arc<Mapping>,
    pages: impl IntoIterator<Item = u64>,
) -> Vec<Faulter<u8>> {
    let before = env::fdinfo(uffd).total;
    (before + 1..)
        .zip(pages)
        .map(|(count, page)| {
            let faulter = Faulter::read(target, page * mem::PAGE);
            env::wait_queued(uffd, count);
            faulter.wait_asleep();
            faulter
        })
        .collect()
}

/// Gives the range back, which wakes everybody, and waits for them; nothing had been filled.
#[track_caller]
pub fn release(uffd: &Uffd, target: &Mapping, sleepers: Vec<Faulter<u8>>) {
    uffd.unregister(target.start(), target.len())
        .expect("UFFDIO_UNREGISTER");
    all_read(sleepers, 0);
}

/// Waits for the threads, each of which finds this value.
#[track_caller]
pub fn all_read(sleepers: Vec<Faulter<u8>>, value: u8) {
    for sleeper in sleepers {
        assert_eq!(sleeper.join(), value);
    }
}

/// A thread that gives the second page back, asleep until the event of that is read.
pub fn remover(target: &Arc<Mapping>) -> Faulter<()> {
    let memory = Arc::clone(target);
    let thread = Faulter::spawn(move || {
        memory
            .advise(mem::PAGE, mem::PAGE, libc::MADV_DONTNEED)
            .expect("MADV_DONTNEED");
    });
    task::wait_asleep_in(thread.tid(), libc::SYS_madvise);
    thread
}
