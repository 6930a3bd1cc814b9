// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel says about its slab caches.

use std::fs;
use std::thread;
use std::time::Duration;

/// The cache of contexts.
pub const CONTEXTS: &str = "userfaultfd_ctx_cache";

/// How often, and how long apart, to look for objects that are freed with a delay.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(10);

/// A file of a cache's folder. None if there is no such file, or no such cache.
pub fn attribute(cache: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/kernel/slab/{cache}/{name}")).ok()?;
    Some(text.trim().to_owned())
}

/// Objects in use, those that a sanitizer keeps back excluded.
#[track_caller]
pub fn objects(cache: &str) -> u64 {
    fs::write(format!("/sys/kernel/slab/{cache}/shrink"), "1").expect(cache);
    let text = attribute(cache, "objects").expect(cache);
    let count = text.split(' ').next().and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("{cache}: no number in {text:?}"))
}

/// Objects of some caches at the start of a test.
#[derive(Debug)]
pub struct Ledger(Vec<(&'static str, u64)>);

impl Ledger {
    /// Counts, the contexts and these.
    pub fn open(others: &[&'static str]) -> Ledger {
        let caches = others.iter().copied().chain([CONTEXTS]);
        Ledger(caches.map(|cache| (cache, objects(cache))).collect())
    }

    /// Fails unless there are soon no more objects than at the start. Some are freed after a
    /// while by other threads of the kernel, so one look does not tell.
    #[track_caller]
    pub fn settle(self) {
        for (cache, before) in self.0 {
            let back = (0..LOOKS).any(|look| {
                if look > 0 {
                    thread::sleep(PAUSE);
                }
                objects(cache) <= before
            });
            assert!(
                back,
                "{cache}: {before} objects before, {} after",
                objects(cache)
            );
        }
    }
}
