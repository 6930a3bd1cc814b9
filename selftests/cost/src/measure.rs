// SPDX-License-Identifier: GPL-2.0-only

//! What a piece of work costs.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{getrusage, UsageWho};

use crate::{call, Result};

/// Where the kernel says which clock it goes by.
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// The one that it takes at first.
const FIRST_CLOCK: &str = "tsc-early";
/// Pause between two looks at whether the process has become quiet.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the kernel gets to clear up after threads and memory that have gone.
const REST: Duration = Duration::from_millis(50);

/// From now on, woken threads queue up behind the one that wakes them.
///
/// Otherwise the scheduler decides each time anew who runs first, and with it how often a fault
/// switches threads: the figures would tell about that.
pub fn run_in_turn() -> Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is valid for reads, and the kernel only reads it.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) })
        .map(drop)
        .map_err(call("sched_setscheduler"))
}

/// From now on, memory lies where it lies in every run; starts the program anew if it does not.
///
/// Where the mappings start decides how many page tables there are, which a fork copies.
pub fn fix_layout() -> Result<()> {
    let persona = personality::get().map_err(call("personality"))?;
    if persona.contains(Persona::ADDR_NO_RANDOMIZE) {
        return Ok(());
    }
    personality::set(persona | Persona::ADDR_NO_RANDOMIZE).map_err(call("personality"))?;
    let error = Command::new("/proc/self/exe")
        .args(env::args_os().skip(1))
        .exec();
    Err(format!("cannot start again: {error}"))
}

/// Waits until the kernel has changed to the clock that it keeps, a second after it has started.
///
/// With it comes the timer of high resolution, which makes each sleep dearer.
pub fn wait_for_clock() {
    while fs::read_to_string(CLOCK).is_ok_and(|name| name.trim() == FIRST_CLOCK) {
        thread::sleep(PAUSE);
    }
}

/// Waits until nothing is left to do for what was measured before.
pub fn settle() -> Result<()> {
    let alone = || {
        fs::read_dir("/proc/self/task")
            .map(|tasks| tasks.count() == 1)
            .map_err(|error| format!("/proc/self/task: {error}"))
    };
    while !alone()? {
        thread::sleep(PAUSE);
    }
    rest();
    Ok(())
}

/// Gives the kernel time for what it has put off, such as to free what a grace period has kept.
pub fn rest() {
    thread::sleep(REST);
}

/// What one repeat took.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Operations done.
    pub ops: u64,
    /// What one of them took, in the unit of the row.
    pub cost: f64,
    /// Voluntary context switches of all threads of the process, per operation.
    pub switches: f64,
    /// What else was counted.
    pub extra: BTreeMap<&'static str, f64>,
}

impl Sample {
    /// Does `ops` operations and takes the time.
    pub fn take(ops: u64, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let switches = switches()?;
        let start = Instant::now();
        work()?;
        let nanoseconds = start.elapsed().as_nanos();
        Ok(Self {
            ops,
            cost: nanoseconds as f64 / ops as f64,
            switches: (self::switches()? - switches) as f64 / ops as f64,
            extra: BTreeMap::new(),
        })
    }

    /// The middle of several pieces of the same work, each too short for the timer's interrupt to
    /// fall into many of them.
    pub fn middle(mut parts: Vec<Self>) -> Option<Self> {
        let ops = parts.iter().map(|part| part.ops).sum();
        let middle = parts.len() / 2;
        parts.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let part = parts.into_iter().nth(middle)?;
        Some(Self { ops, ..part })
    }
}

/// Voluntary context switches so far: the kernel adds up the same counters that it shows in
/// /proc/self/task/*/status, and those of threads that have ended.
fn switches() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(call("getrusage"))?;
    Ok(usage.voluntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(cost: f64) -> Sample {
        Sample {
            ops: 3,
            cost,
            switches: cost,
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn an_interrupt_is_not_in_the_middle() {
        let found = Sample::middle([5.0, 4.0, 900.0].map(part).into()).unwrap();
        assert_eq!((found.ops, found.cost, found.switches), (9, 5.0, 5.0));
        assert!(Sample::middle(Vec::new()).is_none());
    }
}
