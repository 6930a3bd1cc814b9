// SPDX-License-Identifier: GPL-2.0-only

//! Round trips: a fault, its message, its page, and the faulting thread running again.

use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::unistd::gettid;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

use crate::area::{Area, PAGE};
use crate::measure::Sample;
use crate::{call, open, Result};

/// More than a thread of ours needs, and little enough for thousands of them.
const STACK: usize = 32 << 10;
/// Pause between two looks at a thread that is about to sleep.
const PAUSE: Duration = Duration::from_millis(1);

/// The switches between new threads cost now more, now less, for a quarter of a second.
const WARM_UP: Duration = Duration::from_millis(400);

/// How the threads that resolve faults wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// In read().
    Read,
    /// In poll(), then read() without blocking.
    Poll,
}

/// What faults are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A page is missing, and gets a copy.
    Copy,
    /// A page is protected against writing, and no longer.
    Unprotect,
}

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Threads that wait for messages, each of which resolves the fault that it reads.
    pub readers: u64,
    /// How they wait.
    pub waiting: Waiting,
    /// Threads that sleep in faults on pages of their own, which nobody resolves meanwhile.
    pub sleepers: u64,
    /// What they are about.
    pub answer: Answer,
    /// Faults in a repeat.
    pub ops: u64,
}

impl Fault {
    /// Measures round trips, one after the other.
    ///
    /// The pages of the sleepers come first in memory, then those whose faults are measured.
    pub fn run(&self, repeats: usize) -> Result<Vec<Sample>> {
        let uffd = open(match self.waiting {
            Waiting::Read => 0,
            Waiting::Poll => libc::O_NONBLOCK,
        })?;
        let pages = self.sleepers + self.ops;
        let (area, mode) = match self.answer {
            Answer::Copy => (Area::new(pages)?, UFFDIO_REGISTER_MODE_MISSING),
            Answer::Unprotect => (Area::filled(pages)?, UFFDIO_REGISTER_MODE_WP),
        };
        uffd.register(area.page(0), area.len(), mode)
            .map_err(call("UFFDIO_REGISTER"))?;
        let desk = Desk {
            uffd,
            source: Area::filled(1)?,
            last: AtomicBool::new(false),
            waiting: self.waiting,
            answer: self.answer,
        };
        thread::scope(|scope| {
            self.measure(scope, &desk, &area, repeats)
                .or_else(|error| die(&error))
        })
    }

    fn measure<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        desk: &'scope Desk,
        area: &'scope Area,
        repeats: usize,
    ) -> Result<Vec<Sample>> {
        self.put_to_sleep(scope, desk, area)?;
        let readers = (0..self.readers)
            .map(|_| spawn(scope, || desk.serve().unwrap_or_else(|error| die(&error))))
            .collect::<Result<Vec<i32>>>()?;
        wait_asleep(&readers);

        let touch = |pages: u64| {
            (self.sleepers..self.sleepers + pages).for_each(|page| match self.answer {
                Answer::Copy => drop(area.read(page)),
                Answer::Unprotect => area.write(page),
            });
            Ok(())
        };
        desk.reset(area, self.sleepers)?;
        let start = Instant::now();
        while start.elapsed() < WARM_UP {
            touch(self.ops)?;
            desk.reset(area, self.sleepers)?;
        }
        let mut samples = Vec::new();
        for _ in 0..repeats {
            desk.reset(area, self.sleepers)?;
            samples.push(Sample::take(self.ops, || touch(self.ops))?);
        }

        desk.reset(area, self.sleepers)?;
        desk.last.store(true, Ordering::Relaxed);
        touch(self.readers)?;
        if self.sleepers > 0 {
            desk.uffd
                .zeropage(area.page(0), self.sleepers * PAGE, 0)
                .map_err(|partial| format!("UFFDIO_ZEROPAGE: {partial}"))?;
        }
        Ok(samples)
    }

    /// Starts the sleepers, takes their messages, and waits until all of them sleep.
    fn put_to_sleep<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        desk: &Desk,
        area: &'scope Area,
    ) -> Result<()> {
        let sleepers = (0..self.sleepers)
            .map(|page| {
                spawn(scope, move || {
                    area.read(page);
                })
            })
            .collect::<Result<Vec<i32>>>()?;
        for _ in &sleepers {
            desk.next()?;
        }
        wait_asleep(&sleepers);
        Ok(())
    }
}

/// Where faults are resolved.
struct Desk {
    uffd: Uffd,
    source: Area,
    /// From now on, whoever has resolved a fault leaves. Changes while no fault is pending.
    last: AtomicBool,
    waiting: Waiting,
    answer: Answer,
}

impl Desk {
    /// Resolves faults until told to leave.
    fn serve(&self) -> Result<()> {
        loop {
            let address = self.next()?;
            // Only until the page is there is the thread that tells us to leave known to wait.
            let last = self.last.load(Ordering::Relaxed);
            self.resolve(address)?;
            if last {
                return Ok(());
            }
        }
    }

    /// Resolves a fault.
    fn resolve(&self, address: u64) -> Result<()> {
        match self.answer {
            Answer::Copy => self
                .uffd
                .copy(address, self.source.page(0), PAGE, 0)
                .map(drop)
                .map_err(|partial| format!("UFFDIO_COPY: {partial}")),
            Answer::Unprotect => self
                .uffd
                .writeprotect(address, PAGE, 0)
                .map_err(call("UFFDIO_WRITEPROTECT")),
        }
    }

    /// Makes the pages from `first` on fault again.
    fn reset(&self, area: &Area, first: u64) -> Result<()> {
        let len = area.len() - first * PAGE;
        match self.answer {
            Answer::Copy => area.discard(first),
            Answer::Unprotect => self
                .uffd
                .writeprotect(area.page(first), len, UFFDIO_WRITEPROTECT_MODE_WP)
                .map_err(call("UFFDIO_WRITEPROTECT")),
        }
    }

    /// Waits for a message and returns the address in it.
    fn next(&self) -> Result<u64> {
        loop {
            if self.waiting == Waiting::Poll {
                let mut ready = [PollFd::new(self.uffd.as_fd(), PollFlags::POLLIN)];
                poll(&mut ready, PollTimeout::NONE).map_err(call("poll"))?;
            }
            match self.uffd.read_event() {
                Ok(Event::Pagefault(fault)) => return Ok(fault.address),
                Ok(other) => return Err(format!("an event nobody asked for: {other:?}")),
                Err(Errno::EAGAIN) if self.waiting == Waiting::Poll => {}
                Err(errno) => return Err(format!("read: {errno}")),
            }
        }
    }
}

/// Ends the process: without one of its threads it would sleep for ever.
fn die(error: &str) -> ! {
    eprintln!("uffd-cost: {error}");
    std::process::exit(1)
}

/// Starts a thread with a small stack and returns its number.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    body: impl FnOnce() + Send + 'scope,
) -> Result<i32> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .stack_size(STACK)
        .spawn_scoped(scope, move || {
            // The receiver waits in this function.
            let _ = sender.send(gettid().as_raw());
            drop(sender);
            body();
        })
        .unwrap_or_else(|error| die(&format!("cannot start a thread: {error}")));
    receiver
        .recv()
        .map_err(|error| format!("a new thread: {error}"))
}

/// Waits until all these threads sleep.
fn wait_asleep(threads: &[i32]) {
    for thread in threads {
        while !is_asleep(*thread) {
            thread::sleep(PAUSE);
        }
    }
}

fn is_asleep(thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"))
        .unwrap_or_else(|error| die(&format!("thread {thread} has ended: {error}")));
    // The name may contain anything, so it ends at the last parenthesis.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['S', 'D']))
}
