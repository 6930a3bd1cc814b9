// SPDX-License-Identifier: GPL-2.0-only

//! Faults that several processors have at once.

use std::sync::Barrier;
use std::thread;

use crate::contention::Watch;
use crate::fault::{Answer, Desk};
use crate::inbox::Waiting;
use crate::measure::Sample;
use crate::threads::{die, spawn};
use crate::Result;

/// In a second.
const NANOSECONDS: f64 = 1e9;
/// Faults of each thread in a repeat.
const FAULTS: u64 = 500;

/// Whether there are several processors.
pub fn has_processors() -> bool {
    thread::available_parallelism().is_ok_and(|count| count.get() > 1)
}

/// Faults per second of `threads` threads on pages of their own, which `readers` threads copy.
pub fn run(repeats: usize, threads: u64, readers: u64) -> Result<Vec<Sample>> {
    let (desk, area) = Desk::new(Waiting::Read, Answer::Copy, threads * FAULTS)?;
    // The faulting threads, and the one that takes the time.
    let gate = Barrier::new(threads as usize + 1);
    let round = || {
        desk.reset(&area, 0)?;
        let faults = threads * FAULTS;
        let watch = Watch::new();
        gate.wait();
        let sample = Sample::take(faults, || {
            gate.wait();
            Ok(())
        })?;
        Ok(Sample {
            cost: NANOSECONDS / sample.cost,
            extra: watch.map(|watch| watch.per(faults)).unwrap_or_default(),
            ..sample
        })
    };
    thread::scope(|scope| {
        let measure = || {
            desk.open(scope, readers)?;
            for thread in 0..threads {
                let (gate, area) = (&gate, &area);
                spawn(scope, move || {
                    // One round more than there are samples: the first does not count.
                    for _ in 0..=repeats {
                        gate.wait();
                        let first = thread * FAULTS;
                        (first..first + FAULTS).for_each(|page| {
                            area.read(page);
                        });
                        gate.wait();
                    }
                })?;
            }
            round()?;
            let samples = (0..repeats).map(|_| round()).collect::<Result<Vec<_>>>()?;
            desk.reset(&area, 0)?;
            desk.close(|| {
                (0..readers).for_each(|page| {
                    area.read(page);
                });
                Ok(())
            })?;
            Ok(samples)
        };
        measure().or_else(|error: String| die(&error))
    })
}
