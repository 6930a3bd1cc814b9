// SPDX-License-Identifier: GPL-2.0-only

//! How often threads wait for locks of the kernel, where tracing tells.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where tracers get buffers of their own.
const INSTANCES: &str = "/sys/kernel/tracing/instances";
/// The event of a lock that somebody else has.
const EVENT: &str = "events/lock/contention_begin";

/// Counts the waits of the whole system while it exists.
pub struct Watch(PathBuf);

impl Watch {
    /// Starts to count; `None` where the kernel does not tell.
    pub fn new() -> Option<Self> {
        let watch = Self(Path::new(INSTANCES).join("uffd-cost"));
        fs::create_dir(&watch.0).ok()?;
        watch.write(&format!("{EVENT}/enable"), "1").ok()?;
        Some(watch)
    }

    /// Ends it: waits for each of so many operations, by the kind of lock.
    pub fn per(self, ops: u64) -> BTreeMap<&'static str, f64> {
        self.count(ops).unwrap_or_default()
    }

    fn count(&self, ops: u64) -> io::Result<BTreeMap<&'static str, f64>> {
        self.write("tracing_on", "0")?;
        let trace = fs::read_to_string(self.0.join("trace"))?;
        let (mut spin, mut sleep) = (0, 0);
        for line in trace
            .lines()
            .filter(|line| line.contains("contention_begin:"))
        {
            // The flags of a mutex that is spun for have both names.
            if line.contains("SPIN") && !line.contains("MUTEX") {
                spin += 1;
            } else {
                sleep += 1;
            }
        }
        let per_op = |count: u64| (count as f64 / ops as f64 * 1e4).round() / 1e4;
        Ok(BTreeMap::from([
            ("spinlock waits", per_op(spin)),
            ("other lock waits", per_op(sleep)),
        ]))
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(file), text)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Nothing can be done about one that stays.
        let _ = fs::remove_dir(&self.0);
    }
}
