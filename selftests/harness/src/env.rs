// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel is and what it says about descriptors and mappings.

use super::task::until;
use flate2::read::GzDecoder;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use uffd::Uffd;

/// Who answers userfaultfd(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The kernel's own.
    C,
    /// This project's.
    Rust,
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Implementation::C => "C",
            Implementation::Rust => "Rust",
        })
    }
}

/// Who answers here. Tests ask only where the C implementation has a defect that they state.
pub fn implementation() -> Implementation {
    if kernel_config().is_some_and(|config| {
        config
            .lines()
            .any(|line| line == "CONFIG_USERFAULTFD_RUST=y")
    }) {
        Implementation::Rust
    } else {
        Implementation::C
    }
}

/// The configuration the running kernel carries, if it does.
pub fn kernel_config() -> Option<String> {
    let mut config = String::new();
    let file = File::open("/proc/config.gz").ok()?;
    GzDecoder::new(file).read_to_string(&mut config).ok()?;
    Some(config)
}

/// Release of the running kernel.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The lines of a descriptor's fdinfo that userfaultfd adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdInfo {
    /// Faults that no reader has seen.
    pub pending: usize,
    /// Faults that sleep.
    pub total: usize,
    /// The rest of the line `API:`.
    pub api: String,
}

/// Reads a descriptor's fdinfo.
#[track_caller]
pub fn fdinfo(uffd: &Uffd) -> FdInfo {
    let text =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", uffd.as_raw_fd())).expect("fdinfo");
    let value = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {key} in fdinfo: {text:?}"))
    };
    FdInfo {
        pending: value("pending").parse().expect("number"),
        total: value("total").parse().expect("number"),
        api: value("API").to_owned(),
    }
}

/// Waits until this many faults sleep on the descriptor, read or not.
pub fn wait_queued(uffd: &Uffd, count: usize) {
    until(|| fdinfo(uffd).total == count);
}

/// One mapping as /proc/self/smaps describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// The two-letter flags.
    pub flags: Vec<String>,
}

impl Vma {
    /// Whether a flag is set: `um` missing, `uw` write-protect, `ui` minor.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }
}

/// The mappings of this process that overlap a range.
#[track_caller]
pub fn vmas(start: u64, end: u64) -> Vec<Vma> {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut found = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let (vma_start, vma_end) = range.take().expect("a range before its flags");
            if vma_start < end && start < vma_end {
                found.push(Vma {
                    start: vma_start,
                    end: vma_end,
                    flags: flags.split_whitespace().map(str::to_owned).collect(),
                });
            }
        } else if let Some(parsed) = parse_range(line) {
            range = Some(parsed);
        }
    }
    found
}

/// What smaps says of the mapping at an address in a line such as `Swap:`, in bytes.
#[track_caller]
pub fn smaps_bytes(address: u64, key: &str) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((start, end)) = parse_range(line) {
            inside = (start..end).contains(&address);
        } else if let Some(size) = line.strip_prefix(key).filter(|_| inside) {
            let number = size.trim().trim_end_matches(" kB");
            return number.parse::<u64>().expect("a size") << 10;
        }
    }
    panic!("no {key} for {address:#x}");
}

fn parse_range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}
