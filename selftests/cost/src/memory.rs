// SPDX-License-Identifier: GPL-2.0-only

//! Memory that the kernel takes in slabs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::sys::resource::{getrlimit, setrlimit, Resource};

use crate::measure::{rest, settle, Sample};
use crate::{call, open, Result};

const INFO: &str = "/proc/slabinfo";
const CACHES: &str = "/sys/kernel/slab";
/// Bytes of the smallest object.
const SMALLEST: f64 = 8.0;
/// Descriptors whose memory is added up; fewer than a process may have.
const DESCRIPTORS: usize = 4000;

/// Whether the kernel tells what is in its slabs.
pub fn is_told() -> bool {
    [INFO, CACHES].iter().all(|path| Path::new(path).exists())
}

/// Bytes of all objects in use in the kernel's slabs.
///
/// Free ones that processors keep at hand count as used, so they are given back first, as are those
/// that are free after a grace period.
pub fn slabs() -> Result<u64> {
    rest();
    let failed = |path: &str, error| format!("{path}: {error}");
    // Twice: the lists of free objects that the first round gives back lie in slabs, too.
    for _ in 0..2 {
        for cache in fs::read_dir(CACHES).map_err(|error| failed(CACHES, error))? {
            let cache = cache.map_err(|error| failed(CACHES, error))?;
            let shrink = cache.path().join("shrink");
            fs::write(&shrink, "1").map_err(|error| failed(&shrink.to_string_lossy(), error))?;
        }
    }
    let text = fs::read_to_string(INFO).map_err(|error| failed(INFO, error))?;
    // Two lines of headings; then name, objects in use, objects, bytes of one.
    let bytes = text.lines().skip(2).map(|line| {
        let mut words = line.split_whitespace();
        let used = words.nth(1)?.parse::<u64>().ok()?;
        let size = words.nth(1)?.parse::<u64>().ok()?;
        Some(used * size)
    });
    bytes
        .sum::<Option<u64>>()
        .ok_or_else(|| format!("{INFO} has a line that is no cache"))
}

/// What one of `count` things takes, in steps of the smallest slab object: less than half of one is
/// what else happened meanwhile.
pub fn sample(count: u64, before: u64, after: u64) -> Sample {
    let bytes = (after as f64 - before as f64) / count as f64;
    let steps = (bytes / SMALLEST).round() as i64;
    Sample {
        ops: count,
        cost: steps as f64 * SMALLEST,
        switches: 0.0,
        extra: BTreeMap::new(),
    }
}

/// Memory of the kernel for a descriptor that is ready for use.
pub fn descriptor(repeats: usize) -> Result<Vec<Sample>> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(call("getrlimit"))?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(call("setrlimit"))?;
    let sample = |_| {
        settle()?;
        let before = slabs()?;
        let descriptors = (0..DESCRIPTORS)
            .map(|_| open(0))
            .collect::<Result<Vec<_>>>()?;
        let after = slabs()?;
        drop(descriptors);
        Ok(self::sample(DESCRIPTORS as u64, before, after))
    };
    // The first makes the table of descriptors grow, and does not count.
    sample(0)?;
    (0..repeats).map(sample).collect()
}
