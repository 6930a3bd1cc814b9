// SPDX-License-Identifier: GPL-2.0-only

//! What a test may need of the machine.

use super::env::{kernel_config, kernel_release};
use super::{pool, swap};
use std::fs;
use std::path::Path;
use uffd::abi::*;
use uffd::Uffd;

/// Something a test needs; checked in the test's own process just before it runs.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// To be root.
    Root,
    /// This many processors.
    Cpus(usize),
    /// This many huge pages of 2 MiB that nobody has or was promised; root gets them from the
    /// kernel.
    Hugetlb(u64),
    /// What the handshake offers of `UFFD_FEATURE_*`, as a mask. Modes, kinds of memory and
    /// requests beyond missing faults on private anonymous memory all have a feature.
    Feature(u64),
    /// A kernel of this release or a later one.
    Release(u32, u32),
    /// Swap of a test's own: a kernel that swaps, and the device for it.
    Swap,
    /// A file or device that exists.
    Path(&'static str),
    /// An option of the kernel, which says nothing of it elsewhere.
    Option(&'static str),
}

impl Need {
    /// Why the need is not met, if it is not.
    pub fn missing(&self) -> Option<String> {
        match *self {
            Need::Root => (!nix::unistd::geteuid().is_root()).then(|| "needs root".to_owned()),
            Need::Cpus(want) => {
                let have = std::thread::available_parallelism().map_or(1, usize::from);
                (have < want).then(|| format!("needs {want} processors, there are {have}"))
            }
            Need::Hugetlb(want) => {
                let have = free_huge_pages(want);
                (have < want).then(|| format!("needs {want} huge pages, there are {have}"))
            }
            Need::Feature(want) => {
                let lacking = want & !offered_features()?;
                (lacking != 0).then(|| format!("not offered: {}", feature_names(lacking)))
            }
            Need::Release(major, minor) => {
                let release = kernel_release();
                let mut parts = release.split(|c: char| !c.is_ascii_digit());
                let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
                let have: (u32, u32) = (number(), number());
                (have < (major, minor))
                    .then(|| format!("needs Linux {major}.{minor}, this is {release}"))
            }
            Need::Swap => [swap::CONTROL, "/proc/swaps"].iter().find_map(missing),
            Need::Path(path) => missing(&path),
            Need::Option(name) => (!has_option(name)).then(|| format!("needs CONFIG_{name}")),
        }
    }
}

/// What is wrong if a file does not exist.
fn missing(path: &&str) -> Option<String> {
    (!Path::new(path).exists()).then(|| format!("needs {path}"))
}

/// Whether the kernel was built with an option. One that does not tell may have it.
fn has_option(name: &str) -> bool {
    let line = format!("CONFIG_{name}=y");
    kernel_config().is_none_or(|config| config.lines().any(|other| other == line))
}

/// Whether the handshake offers all of these features, for tests that go by it.
pub fn offers(features: u64) -> bool {
    offered_features().is_some_and(|offered| features & !offered == 0)
}

/// Whether the kernel has a request. What it does not offer is unknown to it.
pub fn has_request(request: u64) -> bool {
    offers(match request {
        UFFDIO_WRITEPROTECT => UFFD_FEATURE_PAGEFAULT_FLAG_WP,
        UFFDIO_CONTINUE => UFFD_FEATURE_MINOR_SHMEM,
        UFFDIO_POISON => UFFD_FEATURE_POISON,
        UFFDIO_MOVE => UFFD_FEATURE_MOVE,
        UFFDIO_RWPROTECT => UFFD_FEATURE_RWP,
        UFFDIO_SET_MODE => UFFD_FEATURE_RWP_ASYNC,
        _ => 0,
    })
}

/// The features of the kernel. None if it does not say, so that the test runs and shows why.
pub fn offered_features() -> Option<u64> {
    let uffd = Uffd::from_syscall(libc::O_CLOEXEC | UFFD_USER_MODE_ONLY as i32).ok()?;
    uffd.api(0).ok().map(|api| api.features)
}

/// The names of features without their prefix, in the order of their bits.
pub fn feature_names(mask: u64) -> String {
    let names: Vec<_> = CONSTANTS
        .iter()
        .filter(|item| mask & item.value != 0)
        .filter_map(|item| item.name.strip_prefix("UFFD_FEATURE_"))
        .collect();
    names.join(" ")
}

/// Free huge pages, after an attempt to have as many as wanted.
fn free_huge_pages(want: u64) -> u64 {
    let folder = pool::folder();
    let read = |file: &str| -> u64 {
        let text = fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let free = || read("free_hugepages").saturating_sub(read("resv_hugepages"));
    if free() < want {
        let total = read("nr_hugepages") + want - free();
        // Without the right to do so the count stays what it is.
        let _ = fs::write(format!("{folder}/nr_hugepages"), total.to_string());
    }
    free()
}
