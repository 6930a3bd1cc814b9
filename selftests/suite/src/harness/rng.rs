// SPDX-License-Identifier: GPL-2.0-only

//! Random choices that can be made once more.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// Set to a number that a failed test printed, this repeats its choices.
const SEED: &str = "UFFD_SUITE_SEED";

/// How often to try, where one test tries several seeds.
const RUNS: &str = "UFFD_SUITE_SEEDS";

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A source of random numbers.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts with a seed from the environment or the clock, and prints it.
    pub fn new() -> Rng {
        Self::with_seed(Self::first_seed())
    }

    /// Starts with this seed, and prints it.
    pub fn with_seed(seed: u64) -> Rng {
        println!("{SEED}={seed}");
        Rng(seed)
    }

    /// Goes on by itself, in a way that depends on all that was before.
    pub fn fork(&mut self) -> Rng {
        Rng(self.next())
    }

    /// A seed from the environment or the clock, for the first of several runs.
    pub fn first_seed() -> u64 {
        number(SEED).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(1, |time| time.as_nanos() as u64)
        })
    }

    /// How many runs, each with the next seed, were asked for.
    pub fn runs(default: u64) -> u64 {
        number(RUNS).unwrap_or(default)
    }

    /// The next number: a counter with odd steps, mixed until each bit depends on all of it.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
            mixed = (mixed ^ mixed >> shift).wrapping_mul(factor);
        }
        mixed ^ mixed >> 31
    }

    /// A number of a range.
    pub fn below(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}
