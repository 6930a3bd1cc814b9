// SPDX-License-Identifier: GPL-2.0-only

//! What fills are counted as, and that failed ones are not counted at all.
//!
//! The memory is a child's that sleeps, so that nothing else moves its counters. When it ends the
//! kernel looks at them, too, and reports any that is off.

use super::fill::failed;
use super::memory::Limited;
use crate::harness::kind::{stamp, stamped, Kind};
use crate::harness::mem::PAGE;
use crate::harness::pool::Pool;
use crate::harness::process::Target;
use crate::harness::task::until;
use crate::harness::{tests, uffd_with, Need};
use nix::unistd::Pid;
use std::fs;
use uffd::abi::*;
use uffd::Errno;

tests! {
    copies_count_as_what_they_are [Need::Feature(FILLS)];
    zeroes_count_where_they_are_pages [Need::Feature(FILLS)];
    poison_counts_as_nothing [Need::Feature(FILLS | UFFD_FEATURE_POISON)];
    continued_pages_count_as_shared [Need::Feature(FILLS | UFFD_FEATURE_MINOR_SHMEM)];
    continued_huge_pages_count [Need::Feature(UFFD_FEATURE_MINOR_HUGETLBFS), Need::Hugetlb(2)];
    failed_fills_count_as_nothing [Need::Feature(FILLS)];
    failed_fills_are_not_charged [Need::Feature(FILLS), Need::Root, Need::Path("/sys/fs/cgroup")];
    charges_go_with_the_process [Need::Feature(FILLS), Need::Root, Need::Path("/sys/fs/cgroup")];
}

const FILLS: u64 = UFFD_FEATURE_MISSING_SHMEM;
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const KINDS: &[Kind] = &[
    Kind::Anon,
    Kind::PrivateFile,
    Kind::SharedAnon,
    Kind::Memfd,
    Kind::Tmpfs,
    Kind::HugePrivate,
    Kind::HugeSharedAnon,
    Kind::HugeMemfd,
];

/// Bytes of a process's memory, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    anon: u64,
    file: u64,
    shmem: u64,
    swap: u64,
    huge: u64,
}

impl Counters {
    #[track_caller]
    fn of(pid: Pid) -> Counters {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            // A kernel without swap or huge pages does not say.
            let number = line.and_then(|line| line.split_whitespace().next());
            number.map_or(0, |number| number.parse::<u64>().unwrap() << 10)
        };
        Counters {
            anon: bytes("RssAnon:"),
            file: bytes("RssFile:"),
            shmem: bytes("RssShmem:"),
            swap: bytes("VmSwap:"),
            huge: bytes("HugetlbPages:"),
        }
    }

    /// With so many bytes more, as a kind of memory counts.
    fn plus(self, kind: Kind, bytes: u64) -> Counters {
        let mut more = self;
        match kind {
            _ if kind.is_huge() => more.huge += bytes,
            _ if kind.is_shared() => more.shmem += bytes,
            _ => more.anon += bytes,
        }
        more
    }
}

/// A child with so many pages registered, the first one there.
fn target(kind: Kind, units: u64, mode: u64) -> Target {
    Target::spawn(|| {
        let (uffd, memory) = (uffd_with(0), kind.map(units));
        memory.write(0, 1);
        memory.register(&uffd, mode);
        (uffd, memory)
    })
}

fn copies_count_as_what_they_are() {
    for kind in Kind::offered(KINDS) {
        let unit = kind.unit();
        let units = if kind.is_huge() { 3 } else { 40 };
        let len = (units - 1) * unit;
        let source = stamped(len, 1);
        let target = target(kind, units, MISSING);
        let before = Counters::of(target.pid());
        let copied = target
            .uffd
            .copy(target.start + unit, source.start(), len, 0);
        assert_eq!(copied, Ok(len), "{kind:?}");
        let after = Counters::of(target.pid());
        assert_eq!(after, before.plus(kind, len), "{kind:?}");
        target.end();
    }
}

fn zeroes_count_where_they_are_pages() {
    for kind in [Kind::Anon, Kind::PrivateFile, Kind::SharedAnon, Kind::Memfd] {
        let target = target(kind, 9, MISSING);
        let before = Counters::of(target.pid());
        let zeroed = target.uffd.zeropage(target.start + PAGE, 8 * PAGE, 0);
        assert_eq!(zeroed, Ok(8 * PAGE), "{kind:?}");
        // The one page of zeroes that all private memory shares is nobody's.
        let bytes = if kind.is_shared() { 8 * PAGE } else { 0 };
        let after = Counters::of(target.pid());
        assert_eq!(after, before.plus(kind, bytes), "{kind:?}");
        target.end();
    }
}

fn poison_counts_as_nothing() {
    for kind in Kind::offered(KINDS) {
        let unit = kind.unit();
        let target = target(kind, 3, MISSING);
        let before = Counters::of(target.pid());
        let done = target.uffd.poison(target.start + unit, 2 * unit, 0);
        assert_eq!(done, Ok(2 * unit), "{kind:?}");
        assert_eq!(Counters::of(target.pid()), before, "{kind:?}");
        // A page in place of it counts as ever.
        let source = stamped(unit, 1);
        let copied = target
            .uffd
            .copy(target.start + unit, source.start(), unit, 0);
        assert_eq!(copied, Ok(unit), "{kind:?}");
        let after = Counters::of(target.pid());
        assert_eq!(after, before.plus(kind, unit), "{kind:?}");
        target.end();
    }
}

/// Maps the second of two pages that the page cache has, and looks at the counters.
fn check_continued(kind: Kind) {
    let unit = kind.unit();
    let target = Target::spawn(|| {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        stamp(memory.twin(), 0, 2 * unit, 1);
        memory.register(&uffd, UFFDIO_REGISTER_MODE_MINOR);
        (uffd, memory)
    });
    let before = Counters::of(target.pid());
    let pool = kind.is_huge().then(Pool::now);
    let (uffd, at) = (&target.uffd, target.start + unit);
    assert_eq!(uffd.continue_pages(at, unit, 0), Ok(unit), "{kind:?}");
    let after = Counters::of(target.pid());
    assert_eq!(after, before.plus(kind, unit), "{kind:?}");
    for _ in 0..20 {
        let again = uffd.continue_pages(at, unit, 0);
        assert_eq!(again, Err(failed(Errno::EEXIST)), "{kind:?}");
    }
    assert_eq!(Counters::of(target.pid()), after, "{kind:?}");
    assert_eq!(kind.is_huge().then(Pool::now), pool);
    target.end();
}

fn continued_pages_count_as_shared() {
    for kind in Kind::SHMEM {
        check_continued(kind);
    }
}

fn continued_huge_pages_count() {
    let before = Pool::now();
    check_continued(Kind::HugeMemfd);
    assert_eq!(Pool::now(), before);
}

fn failed_fills_count_as_nothing() {
    let hole = crate::harness::mem::Mapping::with_hole();
    for kind in Kind::offered(KINDS) {
        let unit = kind.unit();
        let source = stamped(unit, 1);
        let target = target(kind, 2, MISSING);
        let before = Counters::of(target.pid());
        let pool = kind.is_huge().then(Pool::now);
        for _ in 0..20 {
            let copied = target.uffd.copy(target.start, source.start(), unit, 0);
            assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
            let copied = target.uffd.copy(target.start + unit, hole.page(1), unit, 0);
            assert_eq!(copied, Err(failed(Errno::EFAULT)), "{kind:?}");
            let zeroed = target.uffd.zeropage(target.start, unit, 0);
            let errno = if kind.is_huge() {
                Errno::EINVAL
            } else {
                Errno::EEXIST
            };
            assert_eq!(zeroed, Err(failed(errno)), "{kind:?}");
        }
        assert_eq!(Counters::of(target.pid()), before, "{kind:?}");
        assert_eq!(kind.is_huge().then(Pool::now), pool, "{kind:?}");
        target.end();
    }
}

/// What a group of processes uses.
fn charged(group: &Limited) -> u64 {
    let text = fs::read_to_string(group.0.join("memory.current")).unwrap();
    text.trim().parse().unwrap()
}

/// A child of the group.
fn charged_target(group: &Limited, kind: Kind, units: u64) -> Target {
    Target::spawn(|| {
        fs::write(group.0.join("cgroup.procs"), "0").unwrap();
        let (uffd, memory) = (uffd_with(0), kind.map(units));
        memory.write(0, 1);
        memory.register(&uffd, MISSING);
        (uffd, memory)
    })
}

fn failed_fills_are_not_charged() {
    const PAGES: u64 = 1024;
    // With a page lost each time, the group would run into its limit.
    let group = Limited::new(PAGES * PAGE);
    let (source, untouched) = (stamped(PAGE, 1), crate::harness::mem::Mapping::with_hole());
    for kind in [Kind::Anon, Kind::SharedAnon, Kind::Memfd] {
        let target = charged_target(&group, kind, 2);
        for _ in 0..PAGES {
            let copied = target.uffd.copy(target.start, source.start(), PAGE, 0);
            assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
            let copied = target
                .uffd
                .copy(target.start + PAGE, untouched.page(1), PAGE, 0);
            assert_eq!(copied, Err(failed(Errno::EFAULT)), "{kind:?}");
        }
        let used = charged(&group);
        assert!(
            used < PAGES / 2 * PAGE,
            "{kind:?}: {used} bytes are charged"
        );
        target.end();
    }
}

fn charges_go_with_the_process() {
    const PAGES: u64 = 512;
    let group = Limited::new(4 * PAGES * PAGE);
    let source = stamped(PAGES * PAGE, 1);
    for kind in [Kind::Anon, Kind::SharedAnon, Kind::Memfd] {
        let target = charged_target(&group, kind, PAGES + 1);
        let before = charged(&group);
        let (uffd, len) = (&target.uffd, PAGES * PAGE);
        let copied = uffd.copy(target.start + PAGE, source.start(), len, 0);
        assert_eq!(copied, Ok(len), "{kind:?}");
        // Charges are made in batches, of which a few may be open.
        let after = charged(&group);
        assert!(
            after >= before + len / 2,
            "{kind:?}: {before}, then {after}"
        );
        target.end();
        until(|| charged(&group) < len / 2);
    }
}
