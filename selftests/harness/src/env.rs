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
