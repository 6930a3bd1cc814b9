// SPDX-License-Identifier: GPL-2.0-only

//! Forks, of which a descriptor tells.

use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;

use nix::sys::wait::waitpid;
use nix::unistd::{fork, ForkResult};
use uffd::abi::{UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_EVENT_FORK};
use uffd::{Event, Uffd};

use crate::area::Area;
use crate::measure::Sample;
use crate::request::repeat_call;
use crate::threads::{die, spawn, wait_asleep};
use crate::{call, open_with, Result};

/// Forks in a repeat.
const FORKS: u64 = 200;

/// The same with the event, read by another thread that closes the descriptor in it.
pub fn watched_fork(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::filled(1)?;
    let uffd = open_with(0, UFFD_FEATURE_EVENT_FORK)?;
    uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
        .map_err(call("UFFDIO_REGISTER"))?;
    // One round more than there are samples: the first does not count.
    let events = (repeats as u64 + 1) * FORKS;
    thread::scope(|scope| {
        let manager = spawn(scope, || {
            take_events(&uffd, events).unwrap_or_else(|error| die(&error));
        })?;
        wait_asleep(&[manager]);
        fork_alone(repeats).or_else(|error| die(&error))
    })
}

/// A child that ends at once.
pub fn fork_alone(repeats: usize) -> Result<Vec<Sample>> {
    repeat_call(repeats, FORKS, one_fork)
}

fn one_fork() -> Result<()> {
    // SAFETY: the child calls nothing but _exit.
    match unsafe { fork() }.map_err(call("fork"))? {
        // SAFETY: _exit takes an integer.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => waitpid(child, None).map(drop).map_err(call("waitpid")),
    }
}

fn take_events(uffd: &Uffd, events: u64) -> Result<()> {
    (0..events).try_for_each(|_| match uffd.read_event().map_err(call("read"))? {
        Event::Fork(child) => {
            // SAFETY: reading the event has made the descriptor, and given it to us.
            drop(unsafe { OwnedFd::from_raw_fd(child) });
            Ok(())
        }
        other => Err(format!("an event nobody asked for: {other:?}")),
    })
}
