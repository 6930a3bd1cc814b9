// SPDX-License-Identifier: GPL-2.0-only

//! Failing allocations of the kernel on purpose, one after the other.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use uffd::Errno;

/// Where a thread says which of its next allocations fails.
const NTH: &str = "/proc/thread-self/fail-nth";
/// Far more allocations than any call makes.
const MOST: u32 = 1000;

/// Settings with which every allocation of a thread counts, and none is talked about.
const SETTINGS: &[(&str, &str)] = &[
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/cache-filter", "N"),
    ("failslab/verbose", "0"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "0"),
];

/// Whether this kernel can fail allocations, and we may ask it to.
pub fn possible() -> bool {
    SETTINGS.iter().all(|(name, _)| {
        let path = format!("/sys/kernel/debug/{name}");
        OpenOptions::new().write(true).open(path).is_ok()
    }) && OpenOptions::new().write(true).open(NTH).is_ok()
}

/// One round of [`sweep`]: at most one allocation fails in it.
#[derive(Debug)]
pub struct Shot<'a> {
    nth: u32,
    file: &'a File,
    hit: bool,
}

impl Shot<'_> {
    /// Makes the call in which the allocation fails; once per round.
    pub fn fire<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let arm = |nth: u32| self.file.write_at(nth.to_string().as_bytes(), 0).map(drop);
        arm(self.nth).expect("fail-nth");
        let result = call();
        // What is left to count down; nothing if the allocation was reached. After a fork the
        // kernel may need memory to write it here, and meet the failure in that.
        let mut left = [0; 16];
        let len = loop {
            match self.file.read_at(&mut left, 0) {
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {}
                answer => break answer.expect("fail-nth"),
            }
        };
        arm(0).expect("fail-nth");
        self.hit = left[..len].trim_ascii() == b"0";
        result
    }

    /// Whether an allocation failed.
    pub fn hit(&self) -> bool {
        self.hit
    }

    /// The value of a successful call. None if it failed as it may for lack of memory.
    #[track_caller]
    pub fn value<T: Debug>(&self, result: Result<T, Errno>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Errno::ENOMEM) if self.hit => None,
            Err(errno) => panic!("{errno} with allocation {} failing", self.nth),
        }
    }
}

/// Runs the rounds: the first allocation of the call fails in the first, the second in the second,
/// until a round is over before its allocation came. Returns how many there were to fail.
#[track_caller]
pub fn sweep(mut round: impl FnMut(&mut Shot)) -> u32 {
    for (name, value) in SETTINGS {
        fs::write(format!("/sys/kernel/debug/{name}"), value).expect("fault injection");
    }
    let file = OpenOptions::new().read(true).write(true).open(NTH);
    let file = file.expect("fail-nth");
    for nth in 1..MOST {
        let mut shot = Shot {
            nth,
            file: &file,
            hit: false,
        };
        round(&mut shot);
        if !shot.hit {
            let failed = nth - 1;
            println!("{failed} allocations failed one by one");
            return failed;
        }
    }
    panic!("there is no end of allocations");
}
