// SPDX-License-Identifier: GPL-2.0-only

//! What there is to measure.

use uffd::abi::*;

use crate::fault::{Answer, Fault};
use crate::inbox::{self, Waiting};
use crate::row::{Group, Row, Unit};
use crate::{crowd, event, mappings, memory, request, signal, state, throughput};

/// Threads asleep on other pages.
const SLEEPERS: [u64; 5] = [0, 16, 256, 1024, 4096];
/// Threads that wait for messages.
const READERS: [u64; 4] = [1, 4, 16, 64];

/// Threads in faults that nobody has read.
const UNREAD: [u64; 4] = [1, 16, 256, 4096];
/// Mappings in a range.
const MAPPINGS: [u64; 5] = [1, 10, 100, 1000, 10_000];

/// Faulting threads and readers on several processors.
const TEAMS: [(u64, u64); 6] = [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)];

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
/// The same by the number of readers: where there are few of them, how often they take turns varies.
const FEW_OPS: u64 = 8000;

const WP: u64 = UFFD_FEATURE_PAGEFAULT_FLAG_WP;

/// So many things of a name.
fn count(n: u64, name: &str) -> String {
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

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
        kept(),
        competing(),
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
        row(
            "mprotect-sigsegv",
            "an access that is not permitted; the handler of SIGSEGV permits it and fills the page",
            signal::mprotect,
        ),
        row(
            "plain-fork",
            "fork, and the end of the child",
            event::fork_alone,
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
            "fault-epoll",
            "the same with epoll and then read",
            copied(Waiting::Epoll),
        ),
        row(
            "fault-uring",
            "the same with a read through io_uring",
            copied(Waiting::Ring),
        )
        .only_if(inbox::has_ring),
        Row::new(
            Group::RoundTrip,
            "fault-sigbus",
            "missing fault, SIGBUS, whose handler copies the page",
            signal::sigbus,
        )
        .needs(UFFD_FEATURE_SIGBUS),
        row(
            "fault-minor",
            "minor fault of a file in memory, blocking read, page mapped",
            answered(Answer::Map),
        )
        .needs(UFFD_FEATURE_MINOR_SHMEM),
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
            state::write_through,
        )
        .needs(UFFD_FEATURE_WP_ASYNC),
        row(
            "fault-rwp",
            "fault on a page protected against any access, blocking read, protection off",
            answered(Answer::Admit),
        )
        .needs(UFFD_FEATURE_RWP),
        Row::new(
            Group::RoundTrip,
            "fault-rwp-async",
            "fault on a page protected against any access that the kernel resolves by itself",
            state::read_through,
        )
        .needs(UFFD_FEATURE_RWP_ASYNC),
        Row::new(
            Group::RoundTrip,
            "fork-event",
            "plain-fork, and its event read by another thread",
            event::watched_fork,
        )
        .needs(UFFD_FEATURE_EVENT_FORK),
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
            |repeats| state::copy_shared(repeats, 1),
        )
        .needs(UFFD_FEATURE_MISSING_SHMEM),
        row(
            "copy-shmem-512",
            "UFFDIO_COPY of 512 pages of a file in memory",
            |repeats| state::copy_shared(repeats, 512),
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
    let waiters = |family, waiting, place: &'static str| {
        READERS.map(|readers| {
            let about = format!(
                "a fault with {} blocked in {place}",
                count(readers, "thread")
            );
            let fault = Fault {
                readers,
                waiting,
                ops: (FEW_OPS / readers).clamp(CROWDED_OPS, ROUND_TRIP.ops),
                ..ROUND_TRIP
            };
            row(family, readers, about, fault)
        })
    };
    let sleepers = SLEEPERS.map(|sleepers| {
        let about = format!("fault-read with {sleepers} other threads asleep");
        let fault = Fault {
            sleepers,
            ..crowded
        };
        row("sleepers", sleepers, about, fault)
    });
    let mut rows = Vec::new();
    rows.extend(waiters("readers", Waiting::Read, "read"));
    rows.extend(waiters("pollers", Waiting::Poll, "poll"));
    rows.extend(MAPPINGS.map(|n| {
        let about = format!(
            "UFFDIO_REGISTER and UFFDIO_UNREGISTER of {} at once",
            count(n, "mapping")
        );
        Row::point("mappings", n, about, move |repeats| {
            mappings::register(repeats, n)
        })
    }));
    rows.extend(UNREAD.map(|n| {
        let about = format!("read of one message with {n} unread");
        Row::point("unread", n, about, move |repeats| {
            crowd::read_one(repeats, n)
        })
    }));
    rows.extend(UNREAD.map(|n| {
        let about = format!("one of {n} messages that one read gets");
        Row::point("drain", n, about, move |repeats| {
            crowd::read_all(repeats, n)
        })
    }));
    rows.extend(sleepers);
    rows
}

fn kept() -> Vec<Row> {
    let row = |name, about, work: fn(usize) -> _| {
        Row::new(Group::Memory, name, about, work)
            .in_unit(Unit::Bytes)
            .only_if(memory::is_told)
    };
    vec![
        row(
            "memory-context",
            "slab objects of a descriptor after UFFDIO_API: context, file, inode and name",
            memory::descriptor,
        ),
        row(
            "memory-sleeper",
            "slab objects of a thread asleep in a fault, beyond those of any thread that sleeps; \
             its kernel stack is not counted",
            crowd::memory,
        ),
    ]
}

fn competing() -> Vec<Row> {
    let row = |(threads, readers)| {
        let name = format!("throughput-{threads}x{readers}");
        let about = format!(
            "missing faults of {}, copied by {readers} in read",
            count(threads, "thread")
        );
        Row::new(Group::Throughput, name, about, move |repeats| {
            throughput::run(repeats, threads, readers)
        })
        .in_unit(Unit::FaultsPerSecond)
        .only_if(throughput::has_processors)
    };
    TEAMS.map(row).into()
}
