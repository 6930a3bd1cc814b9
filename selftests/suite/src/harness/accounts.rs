// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel has given out, to be compared before and after.

use super::slab;
use std::fs;
use std::io;

/// Bytes of memory that nobody uses, after what could be given back was.
#[track_caller]
pub fn free_memory() -> u64 {
    // Not everybody may; then the number is only less exact.
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let number = number.and_then(|number| number.parse::<u64>().ok());
    number.expect("MemFree") << 10
}

/// Prints contexts in use and free bytes, a line each.
pub fn print(out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "contexts {}", slab::objects(slab::CONTEXTS))?;
    writeln!(out, "free {}", free_memory())
}
