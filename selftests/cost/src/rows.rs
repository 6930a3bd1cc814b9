// SPDX-License-Identifier: GPL-2.0-only

//! What there is to measure.

use uffd::abi::*;

use crate::fault::{Answer, Fault, Waiting};
use crate::measure::Sample;
use crate::{request, state, Result};

/// Threads asleep on other pages.
const SLEEPERS: [u64; 5] = [0, 16, 256, 1024, 4096];
/// Threads blocked in read().
const READERS: [usize; 4] = [1, 4, 16, 64];

/// The least crowded round trip.
const ROUND_TRIP: Fault = Fault {
    readers: 1,
    waiting: Waiting::Read,
    sleepers: 0,
    answer: Answer::Copy,
    ops: 2000,
};
/// Faults in a repeat where each may cost a lot.
const CROWDED_OPS: u64 = 500;

/// One figure.
pub struct Row {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The features without which there is no such figure.
    pub needs: u64,
    work: Work,
}

enum Work {
    Fault(Fault),
    Request(fn(usize) -> Result<Vec<Sample>>),
}

impl Row {
    fn new(name: impl Into<String>, about: impl Into<String>, work: Work) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            needs: 0,
            work,
        }
    }

    fn needs(self, needs: u64) -> Self {
        Self { needs, ..self }
    }

    /// Whether the row is meant by this option.
    pub fn matches(&self, text: &str) -> bool {
        text.strip_prefix('=')
            .map_or_else(|| self.name.contains(text), |name| self.name == name)
    }

    /// Measures it.
    pub fn run(&self, repeats: usize) -> Result<Vec<Sample>> {
        match self.work {
            Work::Fault(fault) => fault.run(repeats),
            Work::Request(request) => request(repeats),
        }
    }
}

/// Other memory and other states of pages.
fn states() -> [Row; 11] {
    use Work::Request;
    const WP: u64 = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    let protected = Fault {
        answer: Answer::Unprotect,
        ..ROUND_TRIP
    };
    let row = |name, about, needs, work| Row::new(name, about, work).needs(needs);
    [
        row(
            "copy-shmem-1",
            "UFFDIO_COPY of 1 page of a file in memory",
            UFFD_FEATURE_MISSING_SHMEM,
            Request(state::copy_shared),
        ),
        row(
            "copy-hugetlb-1",
            "UFFDIO_COPY of 1 huge page of 2 MiB",
            UFFD_FEATURE_MISSING_HUGETLBFS,
            Request(state::copy_huge),
        ),
        row(
            "continue-1",
            "UFFDIO_CONTINUE of 1 page of a file in memory",
            UFFD_FEATURE_MINOR_SHMEM,
            Request(state::map),
        ),
        row(
            "poison-1",
            "UFFDIO_POISON of 1 page",
            UFFD_FEATURE_POISON,
            Request(state::poison),
        ),
        row("move-1", "UFFDIO_MOVE of 1 page", UFFD_FEATURE_MOVE, {
            Request(|repeats| state::move_pages(repeats, 1))
        }),
        row("move-512", "UFFDIO_MOVE of 512 pages", UFFD_FEATURE_MOVE, {
            Request(|repeats| state::move_pages(repeats, 512))
        }),
        row("wp-1", "UFFDIO_WRITEPROTECT of 1 page, on and off", WP, {
            Request(|repeats| state::protect(repeats, 1))
        }),
        row("wp-512", "the same of 512 pages", WP, {
            Request(|repeats| state::protect(repeats, 512))
        }),
        row(
            "rwp-1",
            "UFFDIO_RWPROTECT of 1 page, on and off",
            UFFD_FEATURE_RWP,
            Request(state::protect_any),
        ),
        row(
            "fault-wp",
            "write-protect fault, blocking read, protection off",
            WP,
            Work::Fault(protected),
        ),
        row(
            "fault-wp-async",
            "write-protect fault that the kernel resolves by itself",
            UFFD_FEATURE_WP_ASYNC,
            Request(state::async_fault),
        ),
    ]
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    use Work::Request;
    let polled = Fault {
        waiting: Waiting::Poll,
        ..ROUND_TRIP
    };
    let mut rows = vec![
        Row::new(
            "clock",
            "one instruction, to gauge the clock",
            Request(request::clock),
        ),
        Row::new(
            "plain-fault",
            "an ordinary anonymous fault, without userfaultfd",
            Request(request::plain_fault),
        ),
        Row::new(
            "fault-read",
            "missing fault, blocking read, copy of one page",
            Work::Fault(ROUND_TRIP),
        ),
        Row::new("fault-poll", "the same with poll", Work::Fault(polled)),
        Row::new("copy-1", "UFFDIO_COPY of 1 page", {
            Request(|repeats| request::copy(repeats, 1))
        }),
        Row::new("copy-512", "UFFDIO_COPY of 512 pages", {
            Request(|repeats| request::copy(repeats, 512))
        }),
        Row::new(
            "zeropage-1",
            "UFFDIO_ZEROPAGE of 1 page",
            Request(request::zeropage),
        ),
        Row::new(
            "wake-nobody",
            "UFFDIO_WAKE, nobody asleep",
            Request(request::wake),
        ),
        Row::new(
            "register",
            "UFFDIO_REGISTER and UFFDIO_UNREGISTER",
            Request(request::register),
        ),
    ];
    rows.extend(states());
    rows.extend(READERS.map(|readers| {
        let fault = Fault {
            readers,
            ops: CROWDED_OPS,
            ..ROUND_TRIP
        };
        Row::new(
            format!("readers-{readers}"),
            format!("fault-read with {readers} threads blocked in read"),
            Work::Fault(fault),
        )
    }));
    // Last: what thousands of threads leave behind in the kernel shows in the rows after them.
    rows.extend(SLEEPERS.map(|sleepers| {
        let fault = Fault {
            sleepers,
            ops: CROWDED_OPS,
            ..ROUND_TRIP
        };
        Row::new(
            format!("sleepers-{sleepers}"),
            format!("fault-read with {sleepers} other threads asleep"),
            Work::Fault(fault),
        )
    }));
    rows
}
