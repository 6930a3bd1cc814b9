// SPDX-License-Identifier: GPL-2.0-only

//! What there is to measure.

use uffd::abi::*;

use crate::fault::{Answer, Fault, Waiting};
use crate::row::{Group, Row};
use crate::{request, state};

/// Threads asleep on other pages.
const SLEEPERS: [u64; 5] = [0, 16, 256, 1024, 4096];
/// Threads that wait for messages.
const READERS: [u64; 4] = [1, 4, 16, 64];

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

const WP: u64 = UFFD_FEATURE_PAGEFAULT_FLAG_WP;

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    // Crowds last: what thousands of threads leave behind in the kernel shows in the rows after
    // them.
    [
        alternatives(),
        round_trips(),
        background(),
        requests(),
        growth(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn alternatives() -> Vec<Row> {
    let row = |name, about, work: fn(usize) -> _| Row::new(Group::Alternatives, name, about, work);
    vec![
        row(
            "clock",
            "one instruction, to gauge the clock",
            request::clock,
        ),
        row(
            "plain-fault",
            "an ordinary anonymous fault, without userfaultfd",
            request::plain_fault,
        ),
    ]
}

fn round_trips() -> Vec<Row> {
    let row = |name, about, fault: Fault| {
        Row::new(Group::RoundTrip, name, about, move |repeats| {
            fault.run(repeats)
        })
    };
    let copied = |waiting| Fault {
        waiting,
        ..ROUND_TRIP
    };
    let answered = |answer| Fault {
        answer,
        ..ROUND_TRIP
    };
    vec![
        row(
            "fault-read",
            "missing fault, blocking read, copy of one page",
            copied(Waiting::Read),
        ),
        row(
            "fault-poll",
            "the same with poll and then read",
            copied(Waiting::Poll),
        ),
        row(
            "fault-wp",
            "write-protect fault, blocking read, protection off",
            answered(Answer::Unprotect),
        )
        .needs(WP),
        Row::new(
            Group::RoundTrip,
            "fault-wp-async",
            "write-protect fault that the kernel resolves by itself",
            state::async_fault,
        )
        .needs(UFFD_FEATURE_WP_ASYNC),
    ]
}

fn background() -> Vec<Row> {
    let row = |name, about, work: fn(usize) -> _| Row::new(Group::Background, name, about, work);
    vec![
        row("copy-1", "UFFDIO_COPY of 1 page", |repeats| {
            request::copy(repeats, 1)
        }),
        row("copy-512", "UFFDIO_COPY of 512 pages", |repeats| {
            request::copy(repeats, 512)
        }),
        row(
            "copy-shmem-1",
            "UFFDIO_COPY of 1 page of a file in memory",
            state::copy_shared,
        )
        .needs(UFFD_FEATURE_MISSING_SHMEM),
        row(
            "copy-hugetlb-1",
            "UFFDIO_COPY of 1 huge page of 2 MiB",
            state::copy_huge,
        )
        .needs(UFFD_FEATURE_MISSING_HUGETLBFS),
        row("zeropage-1", "UFFDIO_ZEROPAGE of 1 page", request::zeropage),
        row(
            "continue-1",
            "UFFDIO_CONTINUE of 1 page of a file in memory",
            state::map,
        )
        .needs(UFFD_FEATURE_MINOR_SHMEM),
        row("poison-1", "UFFDIO_POISON of 1 page", state::poison).needs(UFFD_FEATURE_POISON),
        row("move-1", "UFFDIO_MOVE of 1 page", |repeats| {
            state::move_pages(repeats, 1)
        })
        .needs(UFFD_FEATURE_MOVE),
        row("move-512", "UFFDIO_MOVE of 512 pages", |repeats| {
            state::move_pages(repeats, 512)
        })
        .needs(UFFD_FEATURE_MOVE),
    ]
}

fn requests() -> Vec<Row> {
    let row = |name, about, work: fn(usize) -> _| Row::new(Group::Requests, name, about, work);
    vec![
        row("wake-nobody", "UFFDIO_WAKE, nobody asleep", request::wake),
        row(
            "register",
            "UFFDIO_REGISTER and UFFDIO_UNREGISTER",
            request::register,
        ),
        row(
            "wp-1",
            "UFFDIO_WRITEPROTECT of 1 page, on and off",
            |repeats| state::protect(repeats, 1),
        )
        .needs(WP),
        row(
            "wp-512",
            "UFFDIO_WRITEPROTECT of 512 pages, on and off",
            |repeats| state::protect(repeats, 512),
        )
        .needs(WP),
        row(
            "rwp-1",
            "UFFDIO_RWPROTECT of 1 page, on and off",
            state::protect_any,
        )
        .needs(UFFD_FEATURE_RWP),
    ]
}

fn growth() -> Vec<Row> {
    let crowded = Fault {
        ops: CROWDED_OPS,
        ..ROUND_TRIP
    };
    let row = |family, n, about, fault: Fault| {
        Row::point(family, n, about, move |repeats| fault.run(repeats))
    };
    let readers = READERS.map(|readers| {
        let about = format!("fault-read with {readers} threads blocked in read");
        row("readers", readers, about, Fault { readers, ..crowded })
    });
    let sleepers = SLEEPERS.map(|sleepers| {
        let about = format!("fault-read with {sleepers} other threads asleep");
        let fault = Fault {
            sleepers,
            ..crowded
        };
        row("sleepers", sleepers, about, fault)
    });
    readers.into_iter().chain(sleepers).collect()
}
