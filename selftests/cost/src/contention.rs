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
/// Where the processors say what they are.
const PROCESSORS: &str = "/proc/cpuinfo";
/// What those of a guest say. Its spinlocks are of a kind that has no event.
const GUEST: &str = "hypervisor";

/// Counts the waits of the whole system while it exists.
pub struct Watch(PathBuf);

impl Watch {
    /// Starts to count; `None` where the kernel does not tell.
    pub fn new() -> Option<Self> {
        if has_word(&fs::read_to_string(PROCESSORS).ok()?, GUEST) {
            return None;
        }
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
        let (spin, sleep) = waits(&fs::read_to_string(self.0.join("trace"))?);
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

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|found| found == word)
}

/// How many waits a trace has, for spinlocks and for others.
fn waits(trace: &str) -> (u64, u64) {
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
    (spin, sleep)
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Nothing can be done about one that stays.
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# tracer: nop
# contention_begin
 exe-66 [000] d..1. 4.747783: contention_begin: 00000000d6414473 (flags=SPIN)
 exe-66 [000] d..1. 4.747962: contention_end: 00000000d6414473 (ret=0)
 exe-67 [001] ..... 4.748000: contention_begin: 0000000067a8d8aa (flags=WRITE)
 exe-67 [001] ..... 4.749000: contention_begin: 0000000067a8d8aa (flags=SPIN|MUTEX)
 exe-67 [001] d.h3. 4.750000: contention_begin: 0000000067a8d8ab (flags=SPIN|READ)
";

    #[test]
    fn waits_are_told_apart() {
        assert_eq!(waits(TRACE), (2, 2));
        assert_eq!(waits(""), (0, 0));
    }

    #[test]
    fn a_guest_says_so() {
        assert!(has_word("flags\t\t: fpu hypervisor lahf_lm\n", GUEST));
        assert!(!has_word("flags\t\t: fpu hypervisors\n", GUEST));
    }
}
