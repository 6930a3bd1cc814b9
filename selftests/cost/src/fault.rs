// SPDX-License-Identifier: GPL-2.0-only

//! Round trips: a fault, its message, its page, and the faulting thread running again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use uffd::abi::*;
use uffd::Uffd;

use crate::area::{Area, Kind, PAGE};
use crate::inbox::{Inbox, Waiting};
use crate::measure::Sample;
use crate::threads::{die, spawn, wait_asleep};
use crate::{call, open_with, Result};

/// The switches between new threads cost now more, now less, for a quarter of a second.
const WARM_UP: Duration = Duration::from_millis(400);

/// What faults are about, and how they are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A page is missing, and gets a copy.
    Copy,
    /// A page is missing in the page table, and the one of the file is mapped.
    Map,
    /// A page is protected against writing, and no longer.
    Unprotect,
    /// A page is protected against any access, and no longer.
    Admit,
}

impl Answer {
    /// Features to switch on.
    fn features(self) -> u64 {
        match self {
            Answer::Copy | Answer::Map | Answer::Unprotect => 0,
            Answer::Admit => UFFD_FEATURE_RWP,
        }
    }

    /// Mode of registration.
    fn mode(self) -> u64 {
        match self {
            Answer::Copy => UFFDIO_REGISTER_MODE_MISSING,
            Answer::Map => UFFDIO_REGISTER_MODE_MINOR,
            Answer::Unprotect => UFFDIO_REGISTER_MODE_WP,
            Answer::Admit => UFFDIO_REGISTER_MODE_RWP,
        }
    }

    /// Memory for such faults.
    fn area(self, pages: u64) -> Result<Area> {
        match self {
            Answer::Copy => Area::new(pages),
            Answer::Map => {
                let area = Area::of(Kind::Shared, pages)?;
                area.fill();
                Ok(area)
            }
            Answer::Unprotect | Answer::Admit => Area::filled(pages),
        }
    }

    /// The access that faults.
    fn touch(self, area: &Area, page: u64) {
        match self {
            Answer::Copy | Answer::Map | Answer::Admit => drop(area.read(page)),
            Answer::Unprotect => area.write(page),
        }
    }
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
        let (desk, area) = Desk::new(self.waiting, self.answer, self.sleepers + self.ops)?;
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
        desk.open(scope, self.readers)?;
        let touch = |pages: u64| {
            (self.sleepers..self.sleepers + pages).for_each(|page| self.answer.touch(area, page));
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
        desk.close(|| touch(self.readers))?;
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
        let mut inbox = desk.inbox()?;
        for _ in &sleepers {
            inbox.next()?;
        }
        wait_asleep(&sleepers);
        Ok(())
    }
}

/// Where faults are resolved.
pub struct Desk {
    uffd: Uffd,
    source: Area,
    /// From now on, whoever has resolved a fault leaves. Changes while no fault is pending.
    last: AtomicBool,
    waiting: Waiting,
    answer: Answer,
}

impl Desk {
    /// One for an area of so many pages, which is registered.
    pub fn new(waiting: Waiting, answer: Answer, pages: u64) -> Result<(Self, Area)> {
        let desk = Self {
            uffd: open_with(waiting.flags(), answer.features())?,
            source: Area::filled(1)?,
            last: AtomicBool::new(false),
            waiting,
            answer,
        };
        let area = answer.area(pages)?;
        desk.uffd
            .register(area.page(0), area.len(), answer.mode())
            .map_err(call("UFFDIO_REGISTER"))?;
        Ok((desk, area))
    }

    /// Starts threads that resolve faults, and waits until all of them sleep.
    pub fn open<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        threads: u64,
    ) -> Result<()> {
        let threads = (0..threads)
            .map(|_| spawn(scope, || self.serve().unwrap_or_else(|error| die(&error))))
            .collect::<Result<Vec<i32>>>()?;
        wait_asleep(&threads);
        Ok(())
    }

    /// Lets them leave, given as many faults as there are threads, while no others happen.
    pub fn close(&self, faults: impl FnOnce() -> Result<()>) -> Result<()> {
        self.last.store(true, Ordering::Relaxed);
        faults()
    }

    /// One for the calling thread.
    fn inbox(&self) -> Result<Inbox<'_>> {
        Inbox::new(&self.uffd, self.waiting)
    }

    /// Resolves faults until told to leave.
    fn serve(&self) -> Result<()> {
        let mut inbox = self.inbox()?;
        loop {
            let address = inbox.next()?;
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
            Answer::Map => self
                .uffd
                .continue_pages(address, PAGE, 0)
                .map(drop)
                .map_err(|partial| format!("UFFDIO_CONTINUE: {partial}")),
            Answer::Unprotect => self
                .uffd
                .writeprotect(address, PAGE, 0)
                .map_err(call("UFFDIO_WRITEPROTECT")),
            Answer::Admit => self
                .uffd
                .rwprotect(address, PAGE, 0)
                .map_err(call("UFFDIO_RWPROTECT")),
        }
    }

    /// Makes the pages from `first` on fault again.
    pub fn reset(&self, area: &Area, first: u64) -> Result<()> {
        let (start, len) = (area.page(first), area.len() - first * PAGE);
        match self.answer {
            Answer::Copy | Answer::Map => area.discard(first),
            Answer::Unprotect => self
                .uffd
                .writeprotect(start, len, UFFDIO_WRITEPROTECT_MODE_WP)
                .map_err(call("UFFDIO_WRITEPROTECT")),
            Answer::Admit => self
                .uffd
                .rwprotect(start, len, UFFDIO_RWPROTECT_MODE_RWP)
                .map_err(call("UFFDIO_RWPROTECT")),
        }
    }
}
