// SPDX-License-Identifier: GPL-2.0-only

//! What went wrong with protection in the kernel before.
//!
//! Each test is named after the fix or the record of the bug, as in `bugs`.

use super::protect_lasting::{RWP, SWAP, UNPOPULATED};
use super::write_protect::{FILES, WP};
use crate::harness::env;
use crate::harness::handler::Handler;
use crate::harness::kind::{stamp, Kind, FILL};
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::process::{Child, Target};
use crate::harness::protect::{expect_silence, protected, Against, DONTWAKE, ON};
use crate::harness::smaps::vmas;
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::task::{until, Faulter};
use crate::harness::{need, tests, uffd_with, user, Need};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Against::{Access, Write};

tests! {
    fix_5_10_24_no_write_is_lost [WP];
    no_write_is_lost_with_rwp [RWP];
    mail_42412208977_protecting_neighbours_of_a_fault [WP];
    cve_2021_47461_protecting_against_exit [WP];
    cve_2023_4732_fork_of_everything_protected [WP, Need::Root, SWAP];
    cve_2025_21696_mremap_of_everything_protected [WP, UNPOPULATED, Need::Root, SWAP];
    fix_7_3_4_huge_page_after_protection [WP, FILES];
    fix_7_3_4_zapping_leaves_no_mark_of_rwp [RWP, WP, FILES];
    cve_2017_15127_two_resolvers [WP];
    unprotecting_against_unregistering [WP];
    unregistering_wakes_whoever_sleeps [WP];
    registering_against_guard_pages [Need::Feature(UFFD_FEATURE_MISSING_SHMEM), Need::Cpus(2)];
    closing_against_protecting [WP];
}

const NOTHING: [u64; 0] = [];

/// Unprotects what is reported, while it is registered.
fn handler(uffd: &Arc<Uffd>, against: Against) -> Handler {
    Handler::spawn(Arc::clone(uffd), move |uffd, event| {
        let fault = event.pagefault().unwrap();
        assert_ne!(fault.flags & against.flag(), 0);
        let start = fault.address;
        let resolved = match against {
            Write => uffd.writeprotect(start, PAGE, 0),
            Access => uffd.rwprotect(start, PAGE, 0),
        };
        resolved.unwrap();
    })
}

/// Threads count in bytes of their own in pages that they share, while the pages are protected
/// and unprotected, and while whatever the function starts lives. A page that is copied while
/// somebody writes to the old one shows.
pub(super) fn counting<M>(
    against: Against,
    kind: Kind,
    pages: u64,
    rounds: u64,
    meanwhile: impl FnOnce(&Mapping) -> M,
) {
    const THREADS: u64 = 4;
    let uffd = Arc::new(against.uffd(0));
    let target = against.registered(&uffd, kind.populated(pages));
    let handler = handler(&uffd, against);
    let meanwhile = meanwhile(&target);
    let threads: Vec<_> = (1..=THREADS)
        .map(|thread| {
            let memory = Arc::clone(&target);
            Faulter::spawn(move || {
                for page in 0..pages {
                    memory.write(page * PAGE + thread, 0);
                }
                for round in 0..rounds {
                    let at = (round + thread) % pages * PAGE + thread;
                    let value = memory.read(at).wrapping_add(1);
                    memory.write(at, value);
                    assert_eq!(memory.read(at), value);
                }
                (0..pages).fold(0u8, |sum, page| {
                    sum.wrapping_add(memory.read(page * PAGE + thread))
                })
            })
        })
        .collect();
    let mut turns = 0;
    while !threads.iter().all(Faulter::is_finished) {
        against.on(&uffd, &target);
        if turns % 2 == 0 {
            against.off(&uffd, &target, 0, target.len());
        }
        turns += 1;
    }
    for thread in threads {
        assert_eq!(thread.join(), rounds as u8);
    }
    drop(meanwhile);
    let seen = handler.stop();
    println!("{kind:?}: {turns} turns, {} messages", seen.len());
    assert_eq!(env::fdinfo(&uffd).total, 0);
}

fn fix_5_10_24_no_write_is_lost() {
    for kind in [Kind::Anon, Kind::Memfd, Kind::PrivateFile] {
        if Kind::protectable().contains(&kind) {
            counting(Write, kind, 4, 1500, |_| ());
        }
    }
}

fn no_write_is_lost_with_rwp() {
    for kind in [Kind::Anon, Kind::Memfd, Kind::PrivateFile] {
        if Kind::protectable().contains(&kind) {
            counting(Access, kind, 4, 1000, |_| ());
        }
    }
}

fn mail_42412208977_protecting_neighbours_of_a_fault() {
    const PAGES: u64 = 64;
    let uffd = Arc::new(uffd_with(0));
    let target = Write.registered(&uffd, Kind::Anon.populated(PAGES));
    let handler = handler(&uffd, Write);
    let (manager, memory) = (Arc::clone(&uffd), Arc::clone(&target));
    // A fault that sleeps without a message ends the test by its timeout.
    let writer = Faulter::spawn(move || {
        for round in 0..500u64 {
            manager.writeprotect(memory.start(), PAGE, ON).unwrap();
            memory.write(0, round as u8);
            assert_eq!(memory.read(0), round as u8);
        }
    });
    while !writer.is_finished() {
        // Every entry is taken out and put back for a moment, page 0's without waking anybody.
        let all = (0, target.len());
        Write.set(&uffd, &target, all, DONTWAKE).unwrap();
        let neighbours = (PAGE, target.len() - PAGE);
        Write.set(&uffd, &target, neighbours, ON).unwrap();
    }
    writer.join();
    println!("{} messages", handler.stop().len());
    assert_eq!(env::fdinfo(&uffd).total, 0);
}

fn cve_2021_47461_protecting_against_exit() {
    const LEN: u64 = 256 * PAGE;
    for round in 0..30 {
        let target = Target::spawn(|| {
            let (uffd, memory) = (uffd_with(0), Kind::Anon.map(LEN / PAGE));
            stamp(&memory, 0, LEN, 1);
            memory.register(&uffd, Write.mode());
            (uffd, memory)
        });
        let mut mode = 0;
        let mut set = || {
            mode ^= ON;
            target.uffd.writeprotect(target.start, LEN, mode)
        };
        (0..round % 3).for_each(|_| set().unwrap());
        target.kill();
        let end = loop {
            if let Err(errno) = set() {
                break errno;
            }
        };
        assert_eq!(end, Errno::ESRCH);
        target.end();
    }
}

fn cve_2023_4732_fork_of_everything_protected() {
    let _swap = SwapArea::new();
    let uffd = Write.uffd(0);
    let kinds: Vec<_> = Kind::protectable()
        .into_iter()
        .map(|kind| (kind, Write.guarded(&uffd, kind, 3)))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&over);
    // Pages are under way to another place whenever a fork comes along.
    let mover = Faulter::spawn(move || {
        while !done.load(Ordering::SeqCst) {
            let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
        }
    });
    for round in 0..20 {
        for (kind, target) in kinds.iter().filter(|(kind, _)| !kind.is_huge()) {
            // A part in swap, or on the way there.
            let page = round % 3 * kind.unit();
            target
                .advise(page, kind.unit(), libc::MADV_PAGEOUT)
                .unwrap();
        }
        Child::spawn(|| {
            for (kind, target) in &kinds {
                for page in 0..3 {
                    let at = page * kind.unit();
                    assert!(target.read(at) == FILL);
                    target.write(at, target.read(at));
                }
            }
        })
        .expect_success();
    }
    over.store(true, Ordering::SeqCst);
    mover.join();
    expect_silence(&uffd);
    for (kind, target) in &kinds {
        assert_eq!(protected(target), kind.pages(0..3), "{kind:?}");
    }
}

fn cve_2025_21696_mremap_of_everything_protected() {
    let _swap = SwapArea::new();
    for kind in Kind::protectable() {
        if kind.is_huge() {
            // Such memory only moves whole, as in `protect_lasting`.
            continue;
        }
        println!("{kind:?}");
        let uffd = uffd_with(UFFD_FEATURE_WP_UNPOPULATED);
        let target = Write.guarded(&uffd, kind, 4);
        let unit = kind.unit();
        // In swap; a mark; there.
        page_out(&target, 0, unit);
        target.advise(unit, unit, libc::MADV_DONTNEED).unwrap();
        Write.on(&uffd, &target);
        assert_eq!(protected(&target), kind.pages(0..4));
        // To where no huge page fits.
        let len = target.len();
        let place = Mapping::lone(len / PAGE + 1);
        let to = place.start()
            + if place.start().is_multiple_of(2 << 20) {
                PAGE
            } else {
                0
            };
        assert_eq!(user::remap(target.start(), len, len, Some(to)), Ok(to));
        assert_eq!(protected(&place), NOTHING);
        let base = to - place.start();
        for page in 0..4 {
            let at = base + page * unit;
            assert_eq!(
                place.read(at),
                if page == 1 && kind != Kind::Memfd {
                    0
                } else {
                    FILL
                }
            );
            place.write(at, 1);
        }
        expect_silence(&uffd);
        Arc::try_unwrap(target).unwrap().leak();
    }
}

fn fix_7_3_4_huge_page_after_protection() {
    // A bit that stayed behind made the next write fault for ever.
    for kind in [Kind::HugeMemfd, Kind::HugePrivateFile] {
        if !Kind::protectable().contains(&kind) {
            continue;
        }
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let target = Write.guarded(&uffd, kind, 2);
        target
            .advise(kind.unit(), kind.unit(), libc::MADV_DONTNEED)
            .unwrap();
        Child::spawn(|| target.write(0, 2)).expect_success();
        let (start, len) = (target.start(), target.len());
        uffd.unregister(start, len).unwrap();
        assert_eq!(protected(&target), NOTHING);
        uffd.register(start, len, UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        target.write(1, 3);
        expect_silence(&uffd);
        drop(uffd);
        target.write(kind.unit(), 4);
        assert_eq!((target.read(1), target.read(kind.unit())), (3, 4));
    }
}

fn fix_7_3_4_zapping_leaves_no_mark_of_rwp() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        assert_eq!(protected(&target), kind.pages([1]));
        let (start, len) = (target.start(), target.len());
        uffd.unregister(start, len).unwrap();
        // A mark would now be one of write protection.
        uffd.register(start, len, Write.mode()).unwrap();
        assert_eq!(protected(&target), NOTHING);
        target.write(0, 1);
        target.write(kind.unit(), 1);
        expect_silence(&uffd);
    }
}

/// `MADV_GUARD_INSTALL`, which libc does not name.
const MADV_GUARD_INSTALL: i32 = 102;

/// Runs two functions at once.
fn race(first: impl FnOnce() + Send + 'static, second: impl FnOnce()) {
    let start = Arc::new(Barrier::new(2));
    let other = Arc::clone(&start);
    let thread = Faulter::spawn(move || {
        other.wait();
        first();
    });
    start.wait();
    second();
    thread.join();
}

fn cve_2017_15127_two_resolvers() {
    let kinds = Kind::protectable().into_iter();
    for kind in kinds.filter(|&kind| kind != Kind::Thp) {
        println!("{kind:?}");
        let rounds = if kind.is_huge() { 10 } else { 100 };
        for _ in 0..rounds {
            let uffd = Arc::new(uffd_with(0));
            let (target, _file) = kind.alone(1);
            let (start, len) = (target.start(), target.len());
            let mode = UFFDIO_REGISTER_MODE_MISSING | Write.mode();
            uffd.register(start, len, mode).unwrap();
            let target = Arc::new(target);
            let writer = Faulter::write(&target, 0, 7);
            env::wait_queued(&uffd, 1);
            let source = Arc::new(Mapping::anon(len / PAGE));
            let resolve = |uffd: Arc<Uffd>, source: Arc<Mapping>| {
                move || {
                    match uffd.copy(start, source.start(), len, UFFDIO_COPY_MODE_WP) {
                        Ok(bytes) => assert_eq!(bytes, len),
                        Err(partial) => assert_eq!(partial.errno, Errno::EEXIST),
                    }
                    uffd.writeprotect(start, len, 0).unwrap();
                }
            };
            race(
                resolve(Arc::clone(&uffd), Arc::clone(&source)),
                resolve(Arc::clone(&uffd), source),
            );
            // What ran into protection that was just going is reported, if needlessly.
            until(|| {
                if uffd.read().is_ok() {
                    uffd.writeprotect(start, len, 0).unwrap();
                }
                writer.is_finished()
            });
            assert_eq!(writer.join(), 7);
            assert_eq!(protected(&target), NOTHING);
        }
    }
}

fn unprotecting_against_unregistering() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        for _ in 0..if kind.unit() == PAGE { 50 } else { 5 } {
            let uffd = Arc::new(uffd_with(0));
            let target = Write.guarded(&uffd, kind, 2);
            let writer = Write.writer(&uffd, kind, &target, (0, 7));
            let (manager, memory) = (Arc::clone(&uffd), Arc::clone(&target));
            race(
                move || {
                    let (start, len) = (memory.start(), memory.len());
                    manager.unregister(start, len).unwrap();
                },
                || {
                    let (start, len) = (target.start(), target.len());
                    match uffd.writeprotect(start, len, 0) {
                        Ok(()) | Err(Errno::ENOENT) => {}
                        Err(errno) => panic!("UFFDIO_WRITEPROTECT: {errno}"),
                    }
                },
            );
            wake_where_c_does_not(&uffd, &target);
            assert_eq!(writer.join(), 7);
            assert_eq!(protected(&target), NOTHING);
            assert_eq!(env::fdinfo(&uffd).total, 0);
        }
    }
}

/// On C UFFDIO_UNREGISTER wakes only where missing pages are reported: whoever sleeps for another
/// reason sleeps on, in memory that nobody answers for any more.
fn wake_where_c_does_not(uffd: &Uffd, target: &Mapping) {
    if env::implementation() == env::Implementation::C {
        uffd.wake(target.start(), target.len()).unwrap();
    }
}

fn unregistering_wakes_whoever_sleeps() {
    for (against, features) in [(Write, 0), (Access, UFFD_FEATURE_RWP)] {
        if against == Access && !need::offers(features) {
            continue;
        }
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, Kind::Anon, 2);
        let writer = against.writer(&uffd, Kind::Anon, &target, (PAGE, 7));
        uffd.unregister(target.start(), target.len()).unwrap();
        if env::implementation() == env::Implementation::C {
            assert_eq!(env::fdinfo(&uffd).total, 1);
        }
        wake_where_c_does_not(&uffd, &target);
        assert_eq!(writer.join(), 7);
        assert_eq!(env::fdinfo(&uffd).total, 0);
    }
}

fn registering_against_guard_pages() {
    // The kernel marks a mapping when it gets guard pages. A registration that had copied the flags
    // before would write back flags without the mark, and a collapse would drop the guard pages.
    const ROUNDS: usize = 1500;
    let uffd = uffd_with(0);
    let file = memfd(1);
    for _ in 0..ROUNDS {
        let target = Arc::new(Mapping::file(file.as_fd(), 1));
        let memory = Arc::clone(&target);
        race(
            move || memory.advise(0, PAGE, MADV_GUARD_INSTALL).unwrap(),
            || {
                uffd.register(target.start(), target.len(), UFFDIO_REGISTER_MODE_MISSING)
                    .unwrap();
            },
        );
        let found = vmas(target.start(), target.end());
        assert!(found[0].has("gu"), "{found:?}");
    }
}

fn closing_against_protecting() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        for _ in 0..if kind.unit() == PAGE { 50 } else { 5 } {
            let uffd = uffd_with(0);
            let target = Write.guarded(&uffd, kind, 2);
            let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
            let memory = Arc::clone(&target);
            race(
                move || {
                    Write.on(&twin, &memory);
                    drop(twin);
                },
                move || drop(uffd),
            );
            // Whoever closed last has taken all of it away.
            assert_eq!(protected(&target), NOTHING);
            (0..2).for_each(|page| target.write(page * kind.unit(), 1));
        }
    }
}
