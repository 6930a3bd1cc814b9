// SPDX-License-Identifier: GPL-2.0-only

//! What scenes are put together from, beside `uffd_harness`.

use crate::trace;
use std::sync::Arc;
use uffd::Uffd;
use uffd_harness::env::{fdinfo, wait_queued};
use uffd_harness::managed::next_fault;
use uffd_harness::mem::{Mapping, PAGE};
use uffd_harness::task::Faulter;

/// Says what happens next: a heading in the timeline.
pub fn step(text: &str) {
    trace::annotate(text);
}

/// A thread of this name that reads the first byte of a page, and sleeps in the fault.
#[track_caller]
pub fn sleeper(uffd: &Uffd, name: &str, target: &Arc<Mapping>, page: u64) -> Faulter<u8> {
    let before = fdinfo(uffd).total;
    let memory = Arc::clone(target);
    let faulter = Faulter::named(name, move || memory.read(page * PAGE));
    wait_queued(uffd, before + 1);
    faulter.wait_asleep();
    faulter
}

/// Reads a message, which must be of a fault there.
#[track_caller]
pub fn expect_fault(uffd: &Uffd, address: u64) {
    assert_eq!(next_fault(uffd), address);
}

/// Pages to copy from: each is full of its number, counted from 1.
pub fn numbered(pages: u64) -> Mapping {
    let source = Mapping::anon(pages);
    (0..pages).for_each(|page| source.fill(page * PAGE, PAGE, page as u8 + 1));
    source
}
