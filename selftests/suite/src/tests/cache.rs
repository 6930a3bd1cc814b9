// SPDX-License-Identifier: GPL-2.0-only

//! The slab cache of contexts: what debugging of it can see.

use crate::harness::env::{implementation, Implementation};
use crate::harness::slab::{attribute, objects, CONTEXTS};
use crate::harness::{tests, uffd_with, Need};
use std::fs;

tests! {
    contexts_have_a_cache_of_their_own [CACHE];
    contexts_can_be_poisoned [CACHE];
    debugging_reaches_contexts [DEBUGGING];
    contexts_are_counted [DEBUGGING];
}

const CACHE: Need = Need::Path("/sys/kernel/slab/userfaultfd_ctx_cache");
/// Attributes that only a kernel which can debug its caches shows.
const DEBUGGING: Need = Need::Path("/sys/kernel/slab/userfaultfd_ctx_cache/poison");

fn contexts(name: &str) -> String {
    attribute(CONTEXTS, name).unwrap_or_else(|| panic!("no {name}"))
}

fn contexts_have_a_cache_of_their_own() {
    assert_eq!(contexts("aliases"), "0");
}

/// SLUB leaves the bytes of freed objects alone if they have a constructor or are read under RCU
/// after they were freed. C has a constructor, so that there a stale context looks alive.
fn contexts_can_be_poisoned() {
    assert_eq!(contexts("destroy_by_rcu"), "0");
    match implementation() {
        Implementation::C => assert_ne!(contexts("ctor"), ""),
        Implementation::Rust => assert_eq!(contexts("ctor"), ""),
    }
}

/// Whether the kernel was asked to poison the objects of this cache.
fn poisoning_wanted() -> bool {
    let everywhere = attribute("kmalloc-64", "poison").expect("kmalloc-64") == "1";
    let line = fs::read_to_string("/proc/cmdline").expect("cmdline");
    let mut options = line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("slab_debug="));
    everywhere
        || options.any(|option| {
            let (flags, caches) = option.split_once(',').unwrap_or((option, CONTEXTS));
            flags.contains('P') && caches.split(',').any(|cache| cache == CONTEXTS)
        })
}

fn debugging_reaches_contexts() {
    let want = if poisoning_wanted() { "1" } else { "0" };
    for name in ["poison", "red_zone", "sanity_checks"] {
        assert_eq!(contexts(name), want, "{name}");
    }
}

/// A context for each descriptor, none that outlives it.
fn contexts_are_counted() {
    // What allocates from the cache keeps free objects at hand unless it is being debugged.
    if !poisoning_wanted() {
        return;
    }
    let before = objects(CONTEXTS);
    let some: Vec<_> = (0..5).map(|_| uffd_with(0)).collect();
    assert_eq!(objects(CONTEXTS), before + 5);
    drop(some);
    assert_eq!(objects(CONTEXTS), before);
}
