// SPDX-License-Identifier: GPL-2.0-only

//! Filling huge pages of hugetlbfs, and what becomes of the promises that mappings have.

use super::fill::{byte, failed, partly, pattern};
use crate::harness::handler::Handler;
use crate::harness::kind::{expect_stamped, stamped, Kind};
use crate::harness::mem::{memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::pool::Pool;
use crate::harness::process::Child;
use crate::harness::task::Faulter;
use crate::harness::{env, expect_errno, registered, tests, uffd_with, user, Need};
use nix::sys::uio::pread;
use nix::unistd::ftruncate;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

tests! {
    missing_fault_of_every_kind [HUGETLB, Need::Hugetlb(3)];
    copy_is_seen_by_the_other_mapping [HUGETLB, Need::Hugetlb(3)];
    promises_are_kept_and_given_back [HUGETLB, Need::Hugetlb(4)];
    failed_fills_take_no_promise [HUGETLB, Need::Hugetlb(4)];
    partial_copy [HUGETLB, Need::Hugetlb(5)];
    copy_from_an_unaligned_source [HUGETLB, Need::Hugetlb(3)];
    source_that_is_not_there_is_staged [HUGETLB, Need::Hugetlb(4)];
    source_that_stays_away [HUGETLB, Need::Hugetlb(4)];
    no_huge_page_left [HUGETLB, Need::Hugetlb(3)];
    private_copy_leaves_the_file_alone [HUGETLB, Need::Hugetlb(3)];
    cve_2017_15127_racing_copies [HUGETLB, Need::Hugetlb(4)];
    cve_2017_15128_beyond_the_file [HUGETLB, Need::Hugetlb(4)];
    cve_2021_47214_filled_while_the_source_is_awaited [HUGETLB, Need::Hugetlb(4)];
    unmapped_while_the_source_is_awaited [HUGETLB, Need::Hugetlb(4)];
    shared_page_tables_are_taken_apart [
        HUGETLB,
        Need::Option("HUGETLB_PMD_PAGE_TABLE_SHARING"),
        Need::Feature(UFFD_FEATURE_MINOR_HUGETLBFS),
        Need::Hugetlb(2),
    ];
    cve_2022_50630_faults_against_unmapping [HUGETLB, Need::Hugetlb(3)];
}

const HUGETLB: Need = Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS);
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

fn missing_fault_of_every_kind() {
    let source = stamped(HUGE_PAGE, 7);
    for kind in Kind::HUGE {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let inside = 5 * PAGE;
        for (page, write) in [(1, None), (0, Some(9))] {
            // The message has the address of the huge page.
            let faulter = memory.faulter(&uffd, page * HUGE_PAGE + inside, write, 0);
            let copied = uffd.copy(memory.at(page), source.start(), HUGE_PAGE, 0);
            assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
            assert_eq!(faulter.join(), write.unwrap_or(12), "{kind:?}");
        }
        expect_errno(uffd.read(), Errno::EAGAIN);
        expect_stamped(&memory, HUGE_PAGE, HUGE_PAGE, 7);
    }
}

fn copy_is_seen_by_the_other_mapping() {
    let source = stamped(HUGE_PAGE, 1);
    for kind in Kind::HUGE.into_iter().filter(|kind| kind.is_shared()) {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(1), source.start(), HUGE_PAGE, 0);
        assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
        if let Some(twin) = &memory.twin {
            expect_stamped(twin, HUGE_PAGE, HUGE_PAGE, 1);
            twin.write(HUGE_PAGE + 8, 5);
            assert_eq!(memory.read(HUGE_PAGE + 8), 5);
            memory.write(HUGE_PAGE + 9, 6);
            assert_eq!(twin.read(HUGE_PAGE + 9), 6);
            // What the other one had first is not missing here.
            twin.write(0, 4);
            let copied = uffd.copy(memory.at(0), source.start(), HUGE_PAGE, 0);
            assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
            assert_eq!(memory.read(0), 4);
        }
        if let Some(file) = &memory.file {
            let mut bytes = [0; 16];
            let at = HUGE_PAGE + PAGE - 1;
            assert_eq!(pread(file, &mut bytes, at as i64), Ok(16));
            assert_eq!(bytes[..2], [1, 2]);
        }
    }
}

fn promises_are_kept_and_given_back() {
    let source = stamped(HUGE_PAGE, 1);
    for kind in Kind::HUGE {
        let before = Pool::now();
        let uffd = uffd_with(0);
        let memory = kind.map(3);
        let promised = Pool {
            reserved: before.reserved + 3,
            ..before
        };
        assert_eq!(Pool::now(), promised, "{kind:?}");
        memory.register(&uffd, MISSING);
        for done in 1..=2 {
            let copied = uffd.copy(memory.at(done - 1), source.start(), HUGE_PAGE, 0);
            assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
            assert_eq!(Pool::now(), promised.less(done), "{kind:?}");
        }
        uffd.unregister(memory.start(), memory.len()).unwrap();
        assert_eq!(Pool::now(), promised.less(2), "{kind:?}");
        drop(memory);
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn failed_fills_take_no_promise() {
    let (source, hole) = (stamped(HUGE_PAGE, 1), Mapping::with_hole());
    for kind in Kind::HUGE {
        let (uffd, memory) = (uffd_with(0), kind.map(3));
        memory.write(HUGE_PAGE, 2);
        memory.register(&uffd, MISSING);
        let promised = Pool::now();
        let (at, from) = (|index| memory.at(index), source.start());
        let tries = [
            (at(0), from, PAGE, Errno::EINVAL),
            (at(0) + PAGE, from, HUGE_PAGE, Errno::EINVAL),
            (at(0), from, HUGE_PAGE + PAGE, Errno::EINVAL),
            (at(0), hole.page(1), HUGE_PAGE, Errno::EFAULT),
            (at(0), hole.page(0) + 1, HUGE_PAGE, Errno::EFAULT),
            (at(1), from, HUGE_PAGE, Errno::EEXIST),
            (at(1), hole.page(1), HUGE_PAGE, Errno::EEXIST),
            (at(2), from, 2 * HUGE_PAGE, Errno::ENOENT),
        ];
        for (to, from, len, errno) in tries {
            let copied = uffd.copy(to, from, len, 0);
            assert_eq!(copied, Err(failed(errno)), "{kind:?}");
            assert_eq!(Pool::now(), promised, "{kind:?}: {errno}");
        }
        // There is no huge page of zeroes to share, whatever else is wrong.
        for (to, len) in [(at(0), HUGE_PAGE), (at(1), HUGE_PAGE), (at(0), PAGE)] {
            let zeroed = uffd.zeropage(to, len, 0);
            assert_eq!(zeroed, Err(failed(Errno::EINVAL)), "{kind:?}");
        }
        assert_eq!(Pool::now(), promised, "{kind:?}");
        // All can still be had.
        for index in [0, 2] {
            let copied = uffd.copy(at(index), from, HUGE_PAGE, 0);
            assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
        }
        assert_eq!(Pool::now(), promised.less(2), "{kind:?}");
    }
}

fn partial_copy() {
    let source = stamped(2 * HUGE_PAGE, 1);
    // Memory of which the second huge page's worth cannot be read.
    let cut = Mapping::anon(2 * HUGE_PAGE / PAGE);
    cut.fill(HUGE_PAGE - 1, 1, 9);
    cut.protect(2 * HUGE_PAGE - PAGE, PAGE, libc::PROT_NONE)
        .unwrap();
    for kind in Kind::HUGE {
        let (uffd, memory) = (uffd_with(0), kind.map(3));
        memory.write(HUGE_PAGE, 2);
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(0), source.start(), 2 * HUGE_PAGE, 0);
        assert_eq!(copied, Err(partly(HUGE_PAGE)), "{kind:?}");
        expect_stamped(&memory, 0, HUGE_PAGE, 1);
        assert_eq!((memory.read(HUGE_PAGE), memory.read(HUGE_PAGE + 1)), (2, 0));

        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(0), cut.start(), 2 * HUGE_PAGE, 0);
        assert_eq!(copied, Err(partly(HUGE_PAGE)), "{kind:?}");
        assert_eq!(memory.read(HUGE_PAGE - 1), 9);
        let rest = uffd.copy(memory.at(1), source.start(), HUGE_PAGE, 0);
        assert_eq!(rest, Ok(HUGE_PAGE), "{kind:?}");
    }
}

fn copy_from_an_unaligned_source() {
    let source = pattern(HUGE_PAGE / PAGE + 1);
    for (kind, shift) in [(Kind::HugePrivate, 1), (Kind::HugeMemfd, PAGE - 3)] {
        let (uffd, memory) = (uffd_with(0), kind.map(1));
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(0), source.start() + shift, HUGE_PAGE, 0);
        assert_eq!(copied, Ok(HUGE_PAGE));
        for at in (0..HUGE_PAGE).step_by(509).chain([HUGE_PAGE - 1]) {
            assert_eq!(memory.read(at), byte(at + shift), "{kind:?}: byte {at}");
        }
    }
}

fn source_that_is_not_there_is_staged() {
    for kind in Kind::HUGE {
        let before = Pool::now();
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let promised = Pool::now();
        // A file that is mapped for the first time: the copy takes two attempts.
        let file = Kind::Memfd.map(HUGE_PAGE / PAGE);
        crate::harness::kind::stamp(file.twin(), 0, HUGE_PAGE, 3);
        let copied = uffd.copy(memory.at(0), file.start(), HUGE_PAGE, 0);
        assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
        expect_stamped(&memory, 0, HUGE_PAGE, 3);
        assert_eq!(Pool::now(), promised.less(1), "{kind:?}");
        // Never touched memory: zeroes.
        let nothing = Mapping::anon(HUGE_PAGE / PAGE);
        let copied = uffd.copy(memory.at(1), nothing.start(), HUGE_PAGE, 0);
        assert_eq!(copied, Ok(HUGE_PAGE), "{kind:?}");
        assert_eq!(memory.read(HUGE_PAGE + PAGE), 0);
        assert_eq!(Pool::now(), promised.less(2), "{kind:?}");
        drop(memory);
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn source_that_stays_away() {
    // The last page of the source cannot be read, which is found out after most was staged.
    let source = Mapping::anon(HUGE_PAGE / PAGE);
    source
        .protect(HUGE_PAGE - PAGE, PAGE, libc::PROT_NONE)
        .unwrap();
    for kind in Kind::HUGE {
        let (uffd, memory) = (uffd_with(0), kind.map(1));
        memory.register(&uffd, MISSING);
        let promised = Pool::now();
        for _ in 0..3 {
            let copied = uffd.copy(memory.at(0), source.start(), HUGE_PAGE, 0);
            assert_eq!(copied, Err(failed(Errno::EFAULT)), "{kind:?}");
            assert_eq!(Pool::now(), promised, "{kind:?}");
        }
    }
}

fn no_huge_page_left() {
    // Who did without a promise gets none when all pages are taken or promised.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let free = |pool: Pool| pool.free - pool.reserved;
    let hoard = Mapping::new(free(Pool::now()) * HUGE_PAGE, RW, flags, None, 0).unwrap();
    assert_eq!(free(Pool::now()), 0);
    let source = stamped(HUGE_PAGE, 1);
    let untouched = Mapping::anon(HUGE_PAGE / PAGE);
    for shared in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
        let flags = shared | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_NORESERVE;
        let target = Mapping::new(HUGE_PAGE, RW, flags, None, 0).unwrap();
        let uffd = uffd_with(0);
        let target = registered(target, &uffd);
        let before = Pool::now();
        for from in [&source, &untouched] {
            let copied = uffd.copy(target.start(), from.start(), HUGE_PAGE, 0);
            // hugetlb takes the page table that there is for a page that is there.
            assert_eq!(copied, Err(failed(Errno::EEXIST)));
            assert_eq!(Pool::now(), before);
        }
    }
    drop(hoard);
    let (uffd, memory) = (uffd_with(0), Kind::HugePrivate.map(1));
    memory.register(&uffd, MISSING);
    let copied = uffd.copy(memory.at(0), source.start(), HUGE_PAGE, 0);
    assert_eq!(copied, Ok(HUGE_PAGE));
}

fn private_copy_leaves_the_file_alone() {
    let source = stamped(HUGE_PAGE, 1);
    let (uffd, memory) = (uffd_with(0), Kind::HugePrivateFile.map(2));
    let pages = HUGE_PAGE / PAGE;
    let other = Mapping::file(memory.file().as_fd(), 2 * pages);
    other.write(HUGE_PAGE, 8);
    memory.register(&uffd, MISSING);
    // The page of the file is no obstacle to a private one.
    let copied = uffd.copy(memory.at(1), source.start(), HUGE_PAGE, 0);
    assert_eq!(copied, Ok(HUGE_PAGE));
    expect_stamped(&memory, HUGE_PAGE, HUGE_PAGE, 1);
    assert_eq!(other.read(HUGE_PAGE), 8);
    memory.write(HUGE_PAGE, 3);
    assert_eq!(other.read(HUGE_PAGE), 8);
}

/// Copies into the same huge page from two threads at once; returns the results.
fn race(uffd: &Arc<Uffd>, to: u64, from: [u64; 2]) -> [Result<u64, Partial>; 2] {
    let start = Arc::new(Barrier::new(2));
    let threads = from.map(|from| {
        let (uffd, start) = (Arc::clone(uffd), Arc::clone(&start));
        Faulter::spawn(move || {
            start.wait();
            uffd.copy(to, from, HUGE_PAGE, 0)
        })
    });
    threads.map(Faulter::join)
}

fn cve_2017_15127_racing_copies() {
    const ROUNDS: usize = 15;
    let sources = [stamped(HUGE_PAGE, 1), stamped(HUGE_PAGE, 101)];
    let before = Pool::now();
    for kind in [Kind::HugePrivate, Kind::HugeMemfd] {
        for round in 0..ROUNDS {
            let (uffd, memory) = (Arc::new(uffd_with(0)), kind.map(2));
            memory.register(&uffd, MISSING);
            let promised = Pool::now();
            if round % 2 == 1 {
                // The second source is not there, so that its copy is staged.
                let len = sources[1].len();
                sources[1].advise(0, len, libc::MADV_PAGEOUT).unwrap();
            }
            let results = race(&uffd, memory.at(0), [0, 1].map(|at| sources[at].start()));
            let winner = match results {
                [Ok(HUGE_PAGE), Err(lost)] if lost == failed(Errno::EEXIST) => 0,
                [Err(lost), Ok(HUGE_PAGE)] if lost == failed(Errno::EEXIST) => 1,
                other => panic!("{other:?}"),
            };
            expect_stamped(&memory, 0, HUGE_PAGE, [1, 101][winner]);
            assert_eq!(Pool::now(), promised.less(1), "{kind:?}");
        }
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn cve_2017_15128_beyond_the_file() {
    let (source, untouched) = (stamped(2 * HUGE_PAGE, 1), Mapping::anon(HUGE_PAGE / PAGE));
    let (uffd, memory) = (uffd_with(0), Kind::HugeMemfd.map(2));
    memory.register(&uffd, MISSING);
    let promised = Pool::now();
    ftruncate(memory.file(), HUGE_PAGE as i64).unwrap();
    let cut = Pool::now();
    for from in [&source, &untouched] {
        let copied = uffd.copy(memory.at(1), from.start(), HUGE_PAGE, 0);
        assert_eq!(copied, Err(failed(Errno::EFAULT)));
        assert_eq!(Pool::now(), cut);
    }
    let copied = uffd.copy(memory.at(0), source.start(), 2 * HUGE_PAGE, 0);
    assert_eq!(copied, Err(partly(HUGE_PAGE)));
    assert_eq!(Pool::now(), cut.less(1));
    // No page was left behind beyond the end.
    ftruncate(memory.file(), 2 * HUGE_PAGE as i64).unwrap();
    assert_eq!(super::shmem::blocks(memory.file()), HUGE_PAGE / PAGE);
    let copied = uffd.copy(memory.at(1), source.start(), HUGE_PAGE, 0);
    assert_eq!(copied, Ok(HUGE_PAGE));
    assert!(promised.free >= Pool::now().free + 2);
}

/// Fills the first huge page from a source that is missing itself, and does something to the
/// destination while the call waits for it.
fn awaiting(
    uffd: &Uffd,
    to: u64,
    mut meanwhile: impl FnMut() + Send + 'static,
) -> Result<u64, Partial> {
    let inner = Arc::new(uffd_with(0));
    let source = registered(Mapping::anon(HUGE_PAGE / PAGE), &inner);
    let (start, origin) = (source.start(), stamped(HUGE_PAGE, 0x77));
    let handler = Handler::spawn(Arc::clone(&inner), move |uffd, _| {
        meanwhile();
        let copied = uffd.copy(start, origin.start(), HUGE_PAGE, 0);
        assert_eq!(copied, Ok(HUGE_PAGE));
    });
    let result = uffd.copy(to, start, HUGE_PAGE, 0);
    assert_eq!(handler.stop().len(), 1);
    result
}

fn cve_2021_47214_filled_while_the_source_is_awaited() {
    for kind in Kind::HUGE {
        let before = Pool::now();
        let (uffd, memory) = (Arc::new(uffd_with(0)), kind.map(2));
        memory.register(&uffd, MISSING);
        let promised = Pool::now();
        assert_eq!(awaiting(&uffd, memory.at(1), || {}), Ok(HUGE_PAGE));
        expect_stamped(&memory, HUGE_PAGE, HUGE_PAGE, 0x77);
        assert_eq!(Pool::now(), promised.less(1), "{kind:?}");
        // Somebody else fills the page first.
        let (other, to) = (Arc::clone(&uffd), memory.at(0));
        let source = stamped(HUGE_PAGE, 4);
        let result = awaiting(&uffd, memory.at(0), move || {
            let copied = other.copy(to, source.start(), HUGE_PAGE, 0);
            assert_eq!(copied, Ok(HUGE_PAGE));
        });
        assert_eq!(result, Err(failed(Errno::EEXIST)), "{kind:?}");
        expect_stamped(&memory, 0, HUGE_PAGE, 4);
        assert_eq!(Pool::now(), promised.less(2), "{kind:?}");
        drop(memory);
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn unmapped_while_the_source_is_awaited() {
    for kind in Kind::HUGE {
        let before = Pool::now();
        let (uffd, memory) = (uffd_with(0), kind.map(1));
        memory.register(&uffd, MISSING);
        let target = Arc::clone(&memory.target);
        let result = awaiting(&uffd, memory.at(0), move || target.unmap(0, HUGE_PAGE));
        assert_eq!(result, Err(failed(Errno::ENOENT)), "{kind:?}");
        drop(memory);
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}

fn shared_page_tables_are_taken_apart() {
    // Processes that map the same gibibyte of huge pages share its page table. Registered for
    // minor faults, a mapping gets one of its own: it is empty, and the other one is as it was.
    const GIB: u64 = 1 << 30;
    let flags = libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
    let file = memfd_with(c"uffd-suite", flags, 2 * GIB);
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    let memory = Mapping::new(2 * GIB, RW, flags, Some(file.as_fd()), 0).unwrap();
    let at = memory.start().next_multiple_of(GIB) - memory.start();
    memory.write(at, 1);
    let [(ready, tell_ready), (go, tell_go)] = [(); 2].map(|()| nix::unistd::pipe().unwrap());
    let child = Child::spawn(|| {
        assert_eq!(memory.read(at), 1);
        nix::unistd::write(&tell_ready, &[1]).unwrap();
        nix::unistd::read(&go, &mut [0]).unwrap();
        assert_eq!(memory.read(at), 2);
    });
    nix::unistd::read(&ready, &mut [0]).unwrap();
    let (uffd, memory) = (uffd_with(0), Arc::new(memory));
    let minor = UFFDIO_REGISTER_MODE_MINOR;
    uffd.register(memory.start(), memory.len(), minor).unwrap();
    let faulter = Faulter::write(&memory, at, 2);
    env::wait_queued(&uffd, 1);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(fault.address, memory.start() + at);
    assert_ne!(fault.flags & UFFD_PAGEFAULT_FLAG_MINOR, 0);
    let mapped = uffd.continue_pages(fault.address, HUGE_PAGE, 0);
    assert_eq!(mapped, Ok(HUGE_PAGE));
    assert_eq!(faulter.join(), 2);
    nix::unistd::write(&tell_go, &[1]).unwrap();
    child.expect_success();
}

fn cve_2022_50630_faults_against_unmapping() {
    const ROUNDS: usize = 40;
    let before = Pool::now();
    for round in 0..ROUNDS {
        let kind = [Kind::HugePrivate, Kind::HugeMemfd][round % 2];
        let (uffd, memory) = (Arc::new(uffd_with(0)), kind.map(2));
        memory.register(&uffd, MISSING);
        let source = stamped(HUGE_PAGE, 1);
        let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
            let page = event.pagefault().unwrap().address;
            match uffd.copy(page, source.start(), HUGE_PAGE, 0) {
                Ok(_) => {}
                Err(error) => {
                    let known = [Errno::EEXIST, Errno::ENOENT, Errno::EAGAIN];
                    assert!(known.contains(&error.errno), "{error}");
                    uffd.wake(page, HUGE_PAGE).unwrap();
                }
            }
        });
        let (sink_reader, sink) = nix::unistd::pipe().unwrap();
        let start = Arc::new(Barrier::new(2));
        let (go, target) = (Arc::clone(&start), Arc::clone(&memory.target));
        let toucher = Faulter::spawn(move || {
            go.wait();
            // Inside a call, where memory that is gone is an error instead of a signal.
            for at in [0, HUGE_PAGE, PAGE] {
                let written = user::write(sink.as_fd(), target.start() + at, 1);
                assert!(matches!(written, Ok(1) | Err(Errno::EFAULT)), "{written:?}");
            }
        });
        start.wait();
        memory.unmap(HUGE_PAGE * (round as u64 % 2), HUGE_PAGE);
        memory.unmap(0, 2 * HUGE_PAGE);
        uffd.wake(memory.start(), memory.len()).unwrap();
        toucher.join();
        drop(sink_reader);
        handler.stop();
        assert_eq!(env::fdinfo(&uffd).total, 0);
        drop(memory);
        assert_eq!(Pool::now(), before);
    }
}
