// SPDX-License-Identifier: GPL-2.0-only

//! Minor faults, and CONTINUE, which maps what the page cache has.

use super::fill::{failed, partly};
use crate::harness::handler::Handler;
use crate::harness::kind::{expect_stamped, stamp, stamped, Kind, Memory};
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::pool::Pool;
use crate::harness::swap::{page_out_shared, SwapArea};
use crate::harness::task::Faulter;
use crate::harness::{env, expect_errno, tests, uffd_with, Need};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    fault_says_that_it_is_minor [MINOR];
    hole_is_no_minor_fault [MINOR];
    hole_is_missing_if_asked_for [MINOR];
    continue_maps_the_page_of_the_file [MINOR];
    continue_needs_a_page [MINOR];
    continue_stops_at_a_mapped_page [MINOR];
    continue_beyond_the_file [MINOR];
    continue_takes_no_huge_page [HUGE_MINOR, Need::Hugetlb(2)];
    continue_can_let_sleep [MINOR];
    continue_with_write_protection [MINOR, Need::Feature(WP)];
    continue_of_a_private_mapping [MINOR];
    continue_ignores_write_permission [MINOR];
    continue_without_minor_mode [MINOR];
    continue_of_memory_without_a_file [MINOR];
    continue_of_huge_memory_without_a_file [HUGE_MINOR, Need::Hugetlb(2)];
    continue_of_swapped_pages [MINOR, Need::Root, Need::Swap];
    copy_where_the_file_has_a_page [MINOR];
    stores_before_continue_are_seen [MINOR, Need::Cpus(2)];
    stores_before_continue_are_seen_in_huge_pages [
        HUGE_MINOR,
        Need::Cpus(2),
        Need::Hugetlb(2),
    ];
}

const MINOR: Need = Need::Feature(UFFD_FEATURE_MINOR_SHMEM);
const HUGE_MINOR: Need = Need::Feature(UFFD_FEATURE_MINOR_HUGETLBFS);
const WP: u64 = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
const MODE: u64 = UFFDIO_REGISTER_MODE_MINOR;
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
/// A file of each sort.
const FILES: &[Kind] = &[Kind::Memfd, Kind::HugeMemfd];
/// The kinds of memory with a second mapping.
const KINDS: &[Kind] = &[Kind::SharedAnon, Kind::Memfd, Kind::Tmpfs, Kind::HugeMemfd];

/// Memory of so many pages, all of which are in its file and none of which is mapped, registered
/// for minor faults.
fn cached(kind: Kind, units: u64, uffd: &Uffd) -> Memory {
    let memory = kind.map(units);
    for index in 0..units {
        stamp(memory.twin(), index * kind.unit(), kind.unit(), index as u8);
    }
    memory.register(uffd, MODE);
    memory
}

fn fault_says_that_it_is_minor() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let memory = cached(kind, 2, &uffd);
        for (page, write) in [(1, None), (0, Some(9))] {
            let at = page * kind.unit() + 3;
            let faulter = memory.faulter(&uffd, at, write, UFFD_PAGEFAULT_FLAG_MINOR);
            // The manager may still change the page.
            memory.twin().write(at, 5);
            let mapped = uffd.continue_pages(memory.at(page), kind.unit(), 0);
            assert_eq!(mapped, Ok(kind.unit()), "{kind:?}");
            assert_eq!(faulter.join(), write.unwrap_or(5), "{kind:?}");
        }
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn hole_is_no_minor_fault() {
    // What the file lacks is given as if nobody had registered.
    for kind in Kind::offered(FILES) {
        let (uffd, memory) = (uffd_with(0), kind.map(1));
        memory.register(&uffd, MODE);
        memory.write(0, 3);
        assert_eq!(memory.twin().read(0), 3, "{kind:?}");
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn hole_is_missing_if_asked_for() {
    for kind in Kind::offered(FILES) {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.twin().write(0, 1);
        memory.register(&uffd, MODE | MISSING);
        let wants = [(0, UFFD_PAGEFAULT_FLAG_MINOR), (1, 0)];
        for (page, flags) in wants {
            let faulter = memory.faulter(&uffd, page * kind.unit(), None, flags);
            if page == 1 {
                // The manager puts the page into the file; then it can be mapped.
                memory.twin().write(kind.unit(), 2);
            }
            let mapped = uffd.continue_pages(memory.at(page), kind.unit(), 0);
            assert_eq!(mapped, Ok(kind.unit()), "{kind:?}");
            assert_eq!(faulter.join(), page as u8 + 1);
        }
    }
}

fn continue_maps_the_page_of_the_file() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let memory = cached(kind, 2, &uffd);
        let mapped = uffd.continue_pages(memory.start(), memory.len(), 0);
        assert_eq!(mapped, Ok(memory.len()), "{kind:?}");
        for index in 0..2 {
            expect_stamped(&memory, index * kind.unit(), kind.unit(), index as u8);
        }
        memory.write(kind.unit() + 7, 6);
        assert_eq!(memory.twin().read(kind.unit() + 7), 6, "{kind:?}");
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn continue_needs_a_page() {
    for kind in Kind::offered(KINDS) {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        let unit = kind.unit();
        memory.twin().write(0, 1);
        memory.register(&uffd, MODE);
        let mapped = uffd.continue_pages(memory.at(1), unit, 0);
        assert_eq!(mapped, Err(failed(Errno::EFAULT)), "{kind:?}");
        let mapped = uffd.continue_pages(memory.at(0), 2 * unit, 0);
        assert_eq!(mapped, Err(partly(unit)), "{kind:?}");
        assert_eq!(memory.read(0), 1);
        memory.twin().write(unit, 2);
        let mapped = uffd.continue_pages(memory.at(1), unit, 0);
        assert_eq!(mapped, Ok(unit), "{kind:?}");
        assert_eq!(memory.read(unit), 2);
    }
}

fn continue_stops_at_a_mapped_page() {
    for kind in Kind::offered(KINDS) {
        let uffd = uffd_with(0);
        let (memory, unit) = (cached(kind, 4, &uffd), kind.unit());
        assert_eq!(uffd.continue_pages(memory.at(2), unit, 0), Ok(unit));
        let mapped = uffd.continue_pages(memory.at(2), unit, 0);
        assert_eq!(mapped, Err(failed(Errno::EEXIST)), "{kind:?}");
        let mapped = uffd.continue_pages(memory.at(0), 4 * unit, 0);
        assert_eq!(mapped, Err(partly(2 * unit)), "{kind:?}");
        assert_eq!(uffd.continue_pages(memory.at(3), unit, 0), Ok(unit));
        for index in 0..4 {
            expect_stamped(&memory, index * unit, unit, index as u8);
        }
    }
}

fn continue_beyond_the_file() {
    for kind in Kind::offered(FILES) {
        let uffd = uffd_with(0);
        let (memory, unit) = (cached(kind, 2, &uffd), kind.unit());
        ftruncate(memory.file(), unit as i64).unwrap();
        let mapped = uffd.continue_pages(memory.at(1), unit, 0);
        assert_eq!(mapped, Err(failed(Errno::EFAULT)), "{kind:?}");
        let mapped = uffd.continue_pages(memory.at(0), 2 * unit, 0);
        assert_eq!(mapped, Err(partly(unit)), "{kind:?}");
    }
}

fn continue_takes_no_huge_page() {
    let uffd = uffd_with(0);
    let memory = cached(Kind::HugeMemfd, 2, &uffd);
    let before = Pool::now();
    let unit = memory.unit();
    for (start, len) in [
        (memory.at(0), PAGE),
        (memory.at(0) + PAGE, unit),
        (memory.at(0), unit + PAGE),
    ] {
        let mapped = uffd.continue_pages(start, len, 0);
        assert_eq!(mapped, Err(failed(Errno::EINVAL)));
    }
    assert_eq!(uffd.continue_pages(memory.at(0), 2 * unit, 0), Ok(2 * unit));
    let again = uffd.continue_pages(memory.at(1), unit, 0);
    assert_eq!(again, Err(failed(Errno::EEXIST)));
    assert_eq!(Pool::now(), before);
}

fn continue_can_let_sleep() {
    for kind in Kind::offered(FILES) {
        let uffd = uffd_with(0);
        let memory = cached(kind, 2, &uffd);
        let faulter = Faulter::read(&memory.target, kind.unit());
        env::wait_queued(&uffd, 1);
        faulter.wait_asleep();
        let dontwake = UFFDIO_CONTINUE_MODE_DONTWAKE;
        let mapped = uffd.continue_pages(memory.at(1), kind.unit(), dontwake);
        assert_eq!(mapped, Ok(kind.unit()));
        assert_eq!(env::fdinfo(&uffd).total, 1);
        faulter.wait_asleep();
        uffd.wake(memory.at(1), kind.unit()).unwrap();
        assert_eq!(faulter.join(), 1);
    }
}

fn continue_with_write_protection() {
    let wp = UFFDIO_REGISTER_MODE_WP;
    for kind in Kind::offered(FILES) {
        let uffd = uffd_with(0);
        let (memory, unit) = (cached(kind, 2, &uffd), kind.unit());
        // Only memory that was registered for it can be protected.
        let protect = UFFDIO_CONTINUE_MODE_WP;
        let mapped = uffd.continue_pages(memory.at(0), unit, protect);
        assert_eq!(mapped, Err(failed(Errno::EINVAL)), "{kind:?}");
        memory.register(&uffd, MODE | wp);
        let mapped = uffd.continue_pages(memory.at(0), unit, protect);
        assert_eq!(mapped, Ok(unit), "{kind:?}");
        // Reading is fine, writing is reported.
        assert_eq!(memory.read(0), 0);
        expect_errno(uffd.read(), Errno::EAGAIN);
        let faulter = memory.faulter(&uffd, 0, Some(8), UFFD_PAGEFAULT_FLAG_WP);
        assert_eq!(memory.twin().read(0), 0, "{kind:?}");
        uffd.writeprotect(memory.at(0), unit, 0).unwrap();
        assert_eq!(faulter.join(), 8);
        assert_eq!(memory.twin().read(0), 8, "{kind:?}");
        // Without the mode the page can be written to.
        assert_eq!(uffd.continue_pages(memory.at(1), unit, 0), Ok(unit));
        memory.write(unit, 9);
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn continue_of_a_private_mapping() {
    for kind in Kind::offered(&[Kind::PrivateFile, Kind::HugePrivateFile]) {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(2), kind.unit());
        let pages = memory.len() / PAGE;
        let other = Mapping::file(memory.file().as_fd(), pages);
        stamp(&other, 0, unit, 1);
        memory.register(&uffd, MODE);
        let faulter = memory.faulter(&uffd, 0, None, UFFD_PAGEFAULT_FLAG_MINOR);
        assert_eq!(uffd.continue_pages(memory.at(0), unit, 0), Ok(unit));
        assert_eq!(faulter.join(), 1);
        // It is the page of the file ...
        other.write(2, 5);
        assert_eq!(memory.read(2), 5, "{kind:?}");
        // ... until it is written to, which is nobody else's business.
        memory.write(3, 6);
        assert_eq!((other.read(3), memory.read(2)), (0, 5), "{kind:?}");
        other.write(2, 7);
        assert_eq!(memory.read(2), 5, "{kind:?}");
        expect_errno(uffd.read(), Errno::EAGAIN);
        let mapped = uffd.continue_pages(memory.at(1), unit, 0);
        assert_eq!(mapped, Err(failed(Errno::EFAULT)), "{kind:?}");
    }
}

fn continue_ignores_write_permission() {
    let uffd = uffd_with(0);
    let memory = cached(Kind::Memfd, 1, &uffd);
    memory.protect(0, PAGE, libc::PROT_READ).unwrap();
    assert_eq!(uffd.continue_pages(memory.at(0), PAGE, 0), Ok(PAGE));
    assert_eq!(memory.read(PAGE - 1), 0);
    // The right to write comes back without a message.
    memory.protect(0, PAGE, RW).unwrap();
    memory.write(4, 2);
    assert_eq!(memory.twin().read(4), 2);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn continue_without_minor_mode() {
    // The memory must be registered, for whatever.
    let (uffd, memory) = (uffd_with(0), Kind::Memfd.map(2));
    memory.twin().write(0, 1);
    let mapped = uffd.continue_pages(memory.at(0), PAGE, 0);
    assert_eq!(mapped, Err(failed(Errno::ENOENT)));
    memory.register(&uffd, MISSING);
    assert_eq!(uffd.continue_pages(memory.at(0), PAGE, 0), Ok(PAGE));
    let mapped = uffd.continue_pages(memory.at(1), PAGE, 0);
    assert_eq!(mapped, Err(failed(Errno::EFAULT)));
}

/// What CONTINUE says to private memory without a file.
fn expect_continue(kind: Kind, errno: Errno) {
    let (uffd, memory) = (uffd_with(0), kind.map(1));
    memory.register(&uffd, MISSING);
    let mapped = uffd.continue_pages(memory.at(0), kind.unit(), 0);
    assert_eq!(mapped, Err(failed(errno)), "{kind:?}");
    memory
        .target
        .advise(0, memory.len(), libc::MADV_DONTNEED)
        .unwrap();
}

fn continue_of_memory_without_a_file() {
    // It has no page cache to map from.
    expect_continue(Kind::Anon, Errno::EINVAL);
}

fn continue_of_huge_memory_without_a_file() {
    // It has a page cache, which is empty.
    expect_continue(Kind::HugePrivate, Errno::EFAULT);
}

fn continue_of_swapped_pages() {
    let (_swap, uffd) = (SwapArea::new(), uffd_with(0));
    let memory = cached(Kind::Memfd, 4, &uffd);
    let twin = memory.twin();
    page_out_shared(twin);
    // The file has the page all the same.
    let faulter = memory.faulter(&uffd, 3 * PAGE, None, UFFD_PAGEFAULT_FLAG_MINOR);
    let mapped = uffd.continue_pages(memory.at(0), 4 * PAGE, 0);
    assert_eq!(mapped, Ok(4 * PAGE));
    assert_eq!(faulter.join(), 3);
    for index in 0..4 {
        expect_stamped(&memory, index * PAGE, PAGE, index as u8);
        expect_stamped(twin, index * PAGE, PAGE, index as u8);
    }
}

fn copy_where_the_file_has_a_page() {
    for kind in Kind::offered(FILES) {
        let uffd = uffd_with(0);
        let (memory, unit) = (cached(kind, 1, &uffd), kind.unit());
        let source = stamped(unit, 9);
        let copied = uffd.copy(memory.at(0), source.start(), unit, 0);
        assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
        let faulter = Faulter::read(&memory.target, 0);
        env::wait_queued(&uffd, 1);
        assert_eq!(uffd.continue_pages(memory.at(0), unit, 0), Ok(unit));
        assert_eq!(faulter.join(), 0);
    }
    // By write(2) the page comes into the file as well.
    let (uffd, memory) = (uffd_with(0), Kind::Memfd.map(1));
    memory.register(&uffd, MODE | MISSING);
    pwrite(memory.file(), &[4; 8], 0).unwrap();
    assert_eq!(uffd.continue_pages(memory.at(0), PAGE, 0), Ok(PAGE));
    assert_eq!((memory.read(7), memory.read(8)), (4, 0));
    memory.write(0, 5);
    let mut byte = [0];
    assert_eq!(pread(memory.file(), &mut byte, 0), Ok(1));
    assert_eq!(byte, [5]);
}

/// What the manager stores before CONTINUE is what faulting threads see: those that slept and
/// those that came just then.
fn check_order(kind: Kind, units: u64, rounds: u8) {
    const READERS: u64 = 2;
    let uffd = Arc::new(uffd_with(0));
    let memory = Arc::new(cached(kind, units, &uffd));
    let unit = kind.unit();
    let round = Arc::new(AtomicU8::new(0));
    let (manager, now) = (Arc::clone(&memory), Arc::clone(&round));
    let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
        let page = event.pagefault().unwrap().address;
        let (offset, value) = (page - manager.start(), now.load(Ordering::SeqCst));
        manager.twin().write(offset, value);
        manager.twin().write(offset + unit - 1, value);
        match uffd.continue_pages(page, unit, 0) {
            Ok(done) => assert_eq!(done, unit),
            Err(error) => {
                assert_eq!(error.errno, Errno::EEXIST);
                uffd.wake(page, unit).unwrap();
            }
        }
    });
    let start = Arc::new(Barrier::new(READERS as usize + 1));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (memory, start) = (Arc::clone(&memory), Arc::clone(&start));
            Faulter::spawn(move || {
                for value in 1..=rounds {
                    start.wait();
                    for step in 0..units {
                        let page = if reader == 0 { step } else { units - 1 - step };
                        let last = memory.read(page * unit + unit - 1);
                        assert_eq!((memory.read(page * unit), last), (value, value));
                    }
                    start.wait();
                }
            })
        })
        .collect();
    for value in 1..=rounds {
        memory.advise(0, memory.len(), libc::MADV_DONTNEED).unwrap();
        round.store(value, Ordering::SeqCst);
        start.wait();
        start.wait();
    }
    readers.into_iter().for_each(Faulter::join);
    let seen = handler.stop().len() as u64;
    assert!(seen >= units * u64::from(rounds), "{seen} faults");
}

fn stores_before_continue_are_seen() {
    check_order(Kind::Memfd, 16, 60);
}

fn stores_before_continue_are_seen_in_huge_pages() {
    check_order(Kind::HugeMemfd, 2, 100);
}
