// SPDX-License-Identifier: GPL-2.0-only

//! Crowds of threads in faults whose messages nobody has read.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::thread;

use uffd::abi::{UffdMsg, UFFDIO_REGISTER_MODE_MISSING};
use uffd::{Event, Uffd};

use crate::area::{Area, PAGE};
use crate::measure::{settle, Sample};
use crate::memory;
use crate::threads::{die, spawn, wait_asleep, PAUSE};
use crate::{call, open, Result};

/// Calls in a repeat that read one message.
const READS: u64 = 100;
/// Messages in a repeat that reads them all, where fewer wait.
const MESSAGES: u64 = 4096;
/// Threads whose memory is added up.
const MANY: u64 = 4096;

/// What read(2) of one message takes while `unread` wait.
///
/// Who was read is woken and faults again, so that there are as many each time.
pub fn read_one(repeats: usize, unread: u64) -> Result<Vec<Sample>> {
    let crowd = Crowd::new(unread)?;
    let round = || {
        let mut msg = [UffdMsg::default()];
        let sample = crowd.read(&mut msg)?;
        match msg[0].decode() {
            Event::Pagefault(fault) => crowd.send_back(fault.address, PAGE)?,
            other => return Err(format!("an event nobody asked for: {other:?}")),
        }
        Ok(sample)
    };
    crowd.gather(|| Ok(()), |()| rounds(repeats, READS, round))
}

/// What one of `unread` messages takes when one read(2) gets them all.
pub fn read_all(repeats: usize, unread: u64) -> Result<Vec<Sample>> {
    let crowd = Crowd::new(unread)?;
    let round = || {
        let sample = crowd.read(&mut crowd.messages())?;
        crowd.send_back(crowd.area.page(0), crowd.area.len())?;
        Ok(sample)
    };
    let count = (MESSAGES / unread).clamp(3, READS);
    crowd.gather(|| Ok(()), |()| rounds(repeats, count, round))
}

/// Memory of the kernel for a thread that sleeps in a fault, beyond that of any that sleeps.
pub fn memory(repeats: usize) -> Result<Vec<Sample>> {
    let sample = |_| {
        settle()?;
        let crowd = Crowd::new(MANY)?;
        let mut messages = crowd.messages();
        crowd.gather(memory::slabs, |before| {
            crowd.read(&mut messages)?;
            Ok(memory::sample(MANY, before, memory::slabs()?))
        })
    };
    (0..repeats).map(sample).collect()
}

/// Samples, each the middle of several rounds, after one that does not count.
fn rounds(repeats: usize, count: u64, round: impl Fn() -> Result<Sample>) -> Result<Vec<Sample>> {
    let sample = |_| {
        let rounds = (0..count).map(|_| round()).collect::<Result<Vec<_>>>()?;
        Sample::middle(rounds).ok_or_else(|| "a sample of no rounds".into())
    };
    sample(0)?;
    (0..repeats).map(sample).collect()
}

/// Threads that fault, each on a page of its own.
struct Crowd {
    uffd: Uffd,
    area: Area,
    threads: u64,
}

impl Crowd {
    fn new(threads: u64) -> Result<Self> {
        let uffd = open(libc::O_NONBLOCK)?;
        let area = Area::new(threads)?;
        uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
            .map_err(call("UFFDIO_REGISTER"))?;
        Ok(Self {
            uffd,
            area,
            threads,
        })
    }

    /// Calls `before` while all threads sleep elsewhere, then `work` while all sleep in faults.
    fn gather<T, R>(
        &self,
        before: impl FnOnce() -> Result<T>,
        work: impl FnOnce(T) -> Result<R>,
    ) -> Result<R> {
        let gate = Barrier::new(self.threads as usize + 1);
        thread::scope(|scope| {
            let threads = (0..self.threads).map(|page| {
                let gate = &gate;
                spawn(scope, move || {
                    gate.wait();
                    self.area.read(page);
                })
            });
            let steps = || {
                wait_asleep(&threads.collect::<Result<Vec<i32>>>()?);
                let state = before()?;
                gate.wait();
                self.wait_unread()?;
                let result = work(state)?;
                self.uffd
                    .zeropage(self.area.page(0), self.area.len(), 0)
                    .map_err(|partial| format!("UFFDIO_ZEROPAGE: {partial}"))?;
                Ok(result)
            };
            steps().or_else(|error: String| die(&error))
        })
    }

    /// Room for the messages of all.
    fn messages(&self) -> Vec<UffdMsg> {
        vec![UffdMsg::default(); self.threads as usize]
    }

    /// Reads as many messages as there is room for, with one call.
    fn read(&self, messages: &mut [UffdMsg]) -> Result<Sample> {
        let wanted = messages.len();
        Sample::take(wanted as u64, || {
            let found = self.uffd.read_many(messages).map_err(call("read"))?;
            if found != wanted {
                return Err(format!("read: {found} messages instead of {wanted}"));
            }
            Ok(())
        })
    }

    /// Wakes whoever sleeps in a range, where the pages are as missing as before.
    fn send_back(&self, start: u64, len: u64) -> Result<()> {
        self.uffd.wake(start, len).map_err(call("UFFDIO_WAKE"))?;
        self.wait_unread()
    }

    /// Waits until all threads have faulted and no message of theirs was read.
    fn wait_unread(&self) -> Result<()> {
        while self.unread()? != self.threads {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn unread(&self) -> Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.uffd.as_raw_fd());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix("pending:")?.trim().parse().ok())
            .ok_or_else(|| format!("{path} does not tell what is pending"))
    }
}
