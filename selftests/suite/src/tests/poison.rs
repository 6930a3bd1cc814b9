// SPDX-License-Identifier: GPL-2.0-only

//! POISON: pages that fail whoever touches them.

use super::fill::{failed, partly};
use crate::harness::env::{self, kernel_config};
use crate::harness::kind::{expect_stamped, stamp, stamped, Kind, Memory};
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::pool::Pool;
use crate::harness::process::Child;
use crate::harness::sigbus;
use crate::harness::task::{until, Faulter};
use crate::harness::{expect_errno, registered, tests, uffd_with, user, Need};
use nix::fcntl::{fallocate, FallocateFlags};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ftruncate, pipe};
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    touching_is_a_signal [POISON];
    touching_in_a_call_is_an_error [POISON];
    poisoning_against_faults [POISON];
    populating_tells_of_it [POISON];
    whole_huge_page_is_poisoned [POISON, HUGE, Need::Hugetlb(2)];
    poison_wakes_into_the_signal [POISON];
    poison_can_let_sleep [POISON];
    poison_stops_at_a_present_page [POISON];
    poison_hides_the_page_of_the_file [POISON];
    poison_does_not_replace_a_protection [POISON, Need::Feature(WP)];
    poison_beyond_the_file [POISON];
    poison_needs_whole_huge_pages [POISON, HUGE, Need::Hugetlb(2)];
    poison_takes_no_huge_page [POISON, HUGE, Need::Hugetlb(2)];
    copy_heals [POISON];
    continue_heals [POISON, Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
    zeropage_does_not_heal [POISON];
    dropping_clears [POISON];
    truncation_clears [POISON];
    punching_leaves_it_in_pages [POISON];
    unregistering_leaves_it [POISON];
    closing_leaves_it [POISON];
    moving_the_mapping_takes_it_along [POISON];
    child_inherits_it_in_private_memory [POISON];
    child_starts_anew_in_shared_memory [POISON];
}

const POISON: Need = Need::Feature(UFFD_FEATURE_POISON | UFFD_FEATURE_MISSING_SHMEM);
const HUGE: Need = Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS);
const WP: u64 =
    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED;
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const PAGES: [Kind; 5] = [
    Kind::Anon,
    Kind::PrivateFile,
    Kind::SharedAnon,
    Kind::Memfd,
    Kind::Tmpfs,
];
const KINDS: &[Kind] = &[
    Kind::Anon,
    Kind::PrivateFile,
    Kind::SharedAnon,
    Kind::Memfd,
    Kind::HugePrivate,
    Kind::HugeMemfd,
];

/// Registered memory of two pages, of which the second is poisoned.
fn poisoned(kind: Kind, uffd: &Uffd) -> Memory {
    let memory = kind.map(2);
    memory.register(uffd, MISSING);
    let unit = kind.unit();
    assert_eq!(uffd.poison(memory.at(1), unit, 0), Ok(unit), "{kind:?}");
    memory
}

/// What a call says that reads a byte of the memory.
fn look(memory: &Mapping, offset: u64) -> Result<u64, Errno> {
    let (_reader, writer) = pipe().unwrap();
    user::write(writer.as_fd(), memory.start() + offset, 1)
}

const BAD: Result<u64, Errno> = Err(Errno::EFAULT);

/// The signal's code: that of broken memory if the kernel knows of such.
fn code() -> i32 {
    let known = kernel_config().is_some_and(|config| {
        let mut lines = config.lines();
        lines.any(|line| line == "CONFIG_MEMORY_FAILURE=y")
    });
    if known {
        libc::BUS_MCEERR_AR
    } else {
        libc::BUS_ADRERR
    }
}

fn touching_is_a_signal() {
    for kind in PAGES {
        for write in [false, true] {
            let uffd = uffd_with(0);
            let memory = poisoned(kind, &uffd);
            sigbus::catch();
            match write {
                false => assert_eq!(memory.read(PAGE + 7), 0),
                true => memory.write(PAGE + 7, 1),
            }
            let caught = sigbus::caught();
            let want = (1, memory.at(1) + 7, code());
            assert_eq!((caught.count, caught.address, caught.code), want);
            expect_errno(uffd.read(), Errno::EAGAIN);
        }
    }
}

fn poisoning_against_faults() {
    // Poison is an answer: whoever looks after it was set must not sleep for another one. On C that
    // thread sleeps until somebody wakes it.
    const ROUNDS: usize = 300;
    let uffd = uffd_with(0);
    let (_reader, sink) = pipe().unwrap();
    for _ in 0..ROUNDS {
        let target = registered(Mapping::anon(1), &uffd);
        let start = Arc::new(Barrier::new(2));
        let (memory, other) = (Arc::clone(&target), Arc::clone(&start));
        let sink = sink.try_clone().unwrap();
        let toucher = Faulter::spawn(move || {
            other.wait();
            user::write(sink.as_fd(), memory.start(), 1)
        });
        start.wait();
        assert_eq!(uffd.poison(target.start(), PAGE, 0), Ok(PAGE));
        if env::implementation() == env::Implementation::C {
            until(|| {
                uffd.wake(target.start(), PAGE).unwrap();
                toucher.is_finished()
            });
        }
        expect_errno(toucher.join(), Errno::EFAULT);
    }
}

fn touching_in_a_call_is_an_error() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        let (reader, writer) = pipe().unwrap();
        nix::unistd::write(&writer, &[1; 8]).unwrap();
        assert_eq!(look(&memory, unit), BAD, "{kind:?}");
        assert_eq!(look(&memory, 2 * unit - 1), BAD, "{kind:?}");
        let got = user::read(reader.as_fd(), memory.at(1), 8);
        assert_eq!(got, BAD, "{kind:?}");
        let byte = Mapping::anon(1);
        let pid = std::process::id() as i32;
        let got = user::read_process(pid, memory.at(1), 8, byte.start());
        assert_eq!(got, BAD, "{kind:?}");
        let copied = uffd.copy(memory.at(0), memory.at(1), unit, 0);
        assert_eq!(copied, Err(failed(Errno::EFAULT)), "{kind:?}");
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn populating_tells_of_it() {
    for kind in PAGES {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        for advice in [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE] {
            let result = memory.advise(PAGE, PAGE, advice);
            expect_errno(result, Errno::EHWPOISON);
        }
    }
}

fn whole_huge_page_is_poisoned() {
    for kind in Kind::offered(&[Kind::HugePrivate, Kind::HugeMemfd]) {
        // There is no catching this one: it takes a process to see.
        let child = Child::spawn(|| {
            let uffd = uffd_with(0);
            let memory = poisoned(kind, &uffd);
            memory.read(kind.unit() + 100 * PAGE);
        });
        let status = child.wait();
        let died = matches!(status, WaitStatus::Signaled(_, Signal::SIGBUS, _));
        assert!(died, "{kind:?}: {status:?}");
    }
}

fn poison_wakes_into_the_signal() {
    for kind in PAGES {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        sigbus::catch();
        let faulter = Faulter::read(&memory.target, PAGE);
        env::wait_queued(&uffd, 1);
        faulter.wait_asleep();
        assert_eq!(uffd.poison(memory.at(1), PAGE, 0), Ok(PAGE), "{kind:?}");
        assert_eq!(faulter.join(), 0);
        assert_eq!(sigbus::caught().count, 1);
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn poison_can_let_sleep() {
    for kind in Kind::offered(KINDS) {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let (_reader, writer) = pipe().unwrap();
        let (start, unit) = (memory.at(1), kind.unit());
        let caller = Faulter::spawn(move || user::write(writer.as_fd(), start, 1));
        env::wait_queued(&uffd, 1);
        let dontwake = UFFDIO_POISON_MODE_DONTWAKE;
        assert_eq!(uffd.poison(start, unit, dontwake), Ok(unit), "{kind:?}");
        assert_eq!(env::fdinfo(&uffd).total, 1);
        assert!(!caller.is_finished());
        uffd.wake(start, unit).unwrap();
        assert_eq!(caller.join(), BAD, "{kind:?}");
    }
}

fn poison_stops_at_a_present_page() {
    for kind in Kind::offered(KINDS) {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(4), kind.unit());
        memory.write(2 * unit, 5);
        memory.register(&uffd, MISSING);
        let done = uffd.poison(memory.at(0), 4 * unit, 0);
        assert_eq!(done, Err(partly(2 * unit)), "{kind:?}");
        let done = uffd.poison(memory.at(2), 2 * unit, 0);
        assert_eq!(done, Err(failed(Errno::EEXIST)), "{kind:?}");
        // Poison is there as well.
        let done = uffd.poison(memory.at(1), unit, 0);
        assert_eq!(done, Err(failed(Errno::EEXIST)), "{kind:?}");
        assert_eq!(uffd.poison(memory.at(3), unit, 0), Ok(unit), "{kind:?}");
        let seen = [0, 1, 2, 3].map(|index| look(&memory, index * unit));
        assert_eq!(seen, [BAD, BAD, Ok(1), BAD], "{kind:?}");
        assert_eq!(memory.read(2 * unit), 5);
    }
}

fn poison_hides_the_page_of_the_file() {
    // Only this mapping is poisoned; the page and other mappings of it are well.
    for kind in Kind::offered(&[Kind::Memfd, Kind::HugeMemfd]) {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(2), kind.unit());
        stamp(memory.twin(), unit, unit, 3);
        memory.register(&uffd, MISSING);
        assert_eq!(uffd.poison(memory.at(1), unit, 0), Ok(unit), "{kind:?}");
        assert_eq!(look(&memory, unit), BAD, "{kind:?}");
        expect_stamped(memory.twin(), unit, unit, 3);
        let source = stamped(unit, 1);
        let copied = uffd.copy(memory.at(1), source.start(), unit, 0);
        assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
        assert_eq!(look(&memory, unit), BAD, "{kind:?}");
    }
}

fn poison_does_not_replace_a_protection() {
    for kind in Kind::offered(&[Kind::Anon, Kind::Memfd, Kind::HugeMemfd]) {
        let uffd = uffd_with(UFFD_FEATURE_WP_UNPOPULATED);
        let (memory, unit) = (kind.map(2), kind.unit());
        memory.register(&uffd, MISSING | UFFDIO_REGISTER_MODE_WP);
        let protect = UFFDIO_WRITEPROTECT_MODE_WP;
        uffd.writeprotect(memory.at(0), unit, protect).unwrap();
        let done = uffd.poison(memory.at(0), unit, 0);
        assert_eq!(done, Err(failed(Errno::EEXIST)), "{kind:?}");
        // The other way round the page is poisoned and stays so.
        assert_eq!(uffd.poison(memory.at(1), unit, 0), Ok(unit), "{kind:?}");
        for mode in [protect, 0] {
            uffd.writeprotect(memory.at(1), unit, mode).unwrap();
            assert_eq!(look(&memory, unit), BAD, "{kind:?}");
        }
    }
}

fn poison_beyond_the_file() {
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        ftruncate(memory.file(), PAGE as i64).unwrap();
        let done = uffd.poison(memory.at(1), PAGE, 0);
        assert_eq!(done, Err(failed(Errno::EFAULT)), "{kind:?}");
        let done = uffd.poison(memory.at(0), 2 * PAGE, 0);
        assert_eq!(done, Err(partly(PAGE)), "{kind:?}");
    }
}

fn poison_needs_whole_huge_pages() {
    for kind in Kind::HUGE {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(2), kind.unit());
        memory.register(&uffd, MISSING);
        let start = memory.at(0);
        for (start, len) in [(start, PAGE), (start + PAGE, unit), (start, unit + PAGE)] {
            let done = uffd.poison(start, len, 0);
            assert_eq!(done, Err(failed(Errno::EINVAL)), "{kind:?}");
        }
        assert_eq!(uffd.poison(start, 2 * unit, 0), Ok(2 * unit), "{kind:?}");
    }
}

fn poison_takes_no_huge_page() {
    for kind in Kind::HUGE {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(2), kind.unit());
        memory.register(&uffd, MISSING);
        let before = Pool::now();
        assert_eq!(uffd.poison(memory.at(0), 2 * unit, 0), Ok(2 * unit));
        assert_eq!(look(&memory, 0), BAD, "{kind:?}");
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn copy_heals() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        let source = stamped(unit, 6);
        let copied = uffd.copy(memory.at(1), source.start(), unit, 0);
        assert_eq!(copied, Ok(unit), "{kind:?}");
        expect_stamped(&memory, unit, unit, 6);
        if let Some(twin) = &memory.twin {
            expect_stamped(twin, unit, unit, 6);
        }
    }
}

fn continue_heals() {
    for kind in Kind::offered(&[Kind::Memfd, Kind::HugeMemfd]) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        stamp(memory.twin(), unit, unit, 4);
        let mapped = uffd.continue_pages(memory.at(1), unit, 0);
        assert_eq!(mapped, Ok(unit), "{kind:?}");
        expect_stamped(&memory, unit, unit, 4);
    }
}

fn zeropage_does_not_heal() {
    // A private page of zeroes is put where nothing is at all; one of a file is like a copy.
    for (kind, heals) in [
        (Kind::Anon, false),
        (Kind::PrivateFile, false),
        (Kind::Memfd, true),
    ] {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        let zeroed = uffd.zeropage(memory.at(1), PAGE, 0);
        if heals {
            assert_eq!(zeroed, Ok(PAGE), "{kind:?}");
            assert_eq!(memory.read(PAGE), 0);
        } else {
            assert_eq!(zeroed, Err(failed(Errno::EEXIST)), "{kind:?}");
            assert_eq!(look(&memory, PAGE), BAD, "{kind:?}");
        }
    }
}

/// Fails unless the second page is missing: a thread waits for it until it is filled.
#[track_caller]
fn expect_missing(uffd: &Uffd, memory: &Memory) {
    let unit = memory.unit();
    let faulter = Faulter::read(&memory.target, unit);
    env::wait_queued(uffd, 1);
    let source = stamped(unit, 9);
    let copied = uffd.copy(memory.at(1), source.start(), unit, 0);
    assert_eq!(copied, Ok(unit), "{:?}", memory.kind);
    assert_eq!(faulter.join(), 9);
    // The message has gone with its sleeper, or was never read.
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn dropping_clears() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        memory.advise(unit, unit, libc::MADV_DONTNEED).unwrap();
        expect_missing(&uffd, &memory);
    }
}

fn truncation_clears() {
    for kind in Kind::offered(&[Kind::Memfd, Kind::PrivateFile, Kind::HugeMemfd]) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        for units in [1, 2] {
            ftruncate(memory.file(), (units * unit) as i64).unwrap();
        }
        expect_missing(&uffd, &memory);
    }
}

fn punching_leaves_it_in_pages() {
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(memory.file(), flags, 0, 2 * PAGE as i64).unwrap();
        assert_eq!(look(&memory, PAGE), BAD, "{kind:?}");
    }
}

fn unregistering_leaves_it() {
    for kind in PAGES {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        uffd.unregister(memory.start(), memory.len()).unwrap();
        assert_eq!(look(&memory, PAGE), BAD, "{kind:?}");
        // The rest is ordinary memory again.
        assert_eq!(memory.read(0), 0);
        memory.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
        assert_eq!(memory.read(PAGE), 0);
    }
}

fn closing_leaves_it() {
    for kind in PAGES {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        drop(uffd);
        assert_eq!(look(&memory, PAGE), BAD, "{kind:?}");
        assert_eq!(memory.read(0), 0);
    }
}

fn moving_the_mapping_takes_it_along() {
    for kind in [Kind::Anon, Kind::Memfd] {
        let uffd = uffd_with(0);
        let memory = poisoned(kind, &uffd);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let place = Mapping::new(2 * PAGE, RW, flags, None, 0).unwrap();
        user::remap(memory.start(), 2 * PAGE, 2 * PAGE, Some(place.start())).unwrap();
        assert_eq!(look(&place, PAGE), BAD, "{kind:?}");
        assert_eq!(place.read(0), 0);
    }
}

fn child_inherits_it_in_private_memory() {
    for kind in Kind::offered(&[Kind::Anon, Kind::PrivateFile, Kind::HugePrivate]) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        Child::spawn(|| {
            assert_eq!(look(&memory, unit), BAD, "{kind:?}");
            assert_eq!(look(&memory, 0), Ok(1), "{kind:?}");
        })
        .expect_success();
        assert_eq!(look(&memory, unit), BAD, "{kind:?}");
    }
}

fn child_starts_anew_in_shared_memory() {
    // Its page tables are not copied: the child takes from the file what there is.
    for kind in Kind::offered(&[Kind::SharedAnon, Kind::Memfd, Kind::HugeMemfd]) {
        let uffd = uffd_with(0);
        let (memory, unit) = (poisoned(kind, &uffd), kind.unit());
        Child::spawn(|| {
            assert_eq!(look(&memory, unit), Ok(1), "{kind:?}");
        })
        .expect_success();
        assert_eq!(look(&memory, unit), BAD, "{kind:?}");
    }
}
