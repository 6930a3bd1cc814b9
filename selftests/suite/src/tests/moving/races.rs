// SPDX-License-Identifier: GPL-2.0-only

//! Moves against everything else that changes page tables: no page is lost, doubled or torn.

use super::huge::{for_huge, LARGE, PATIENCE, THP};
use super::*;
use crate::harness::pagemap::{entries, entry};
use crate::harness::process::Child;
use crate::harness::setting::Setting;
use crate::harness::task::{until, Faulter};
use crate::harness::{tests, uffd_with};
use crate::tests::bugs::together;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

tests! {
    movers_to_one_place_have_one_winner [MOVE];
    movers_from_one_place_have_one_winner [MOVE];
    movers_that_cross [MOVE];
    movers_of_one_large_page [LARGE, Need::Root, MOVE];
    writes_are_not_lost [MOVE];
    cve_2024_46787_moving_against_collapse [THP, MOVE];
    cve_2025_38686_moving_against_migration [THP, Need::Root, Need::Path(COMPACT), MOVE];
    merged_page_is_busy [Need::Root, Need::Path(MERGE), MOVE];
    moving_against_forks [MOVE];
    dropping_the_source [MOVE];
    dropping_the_destination [MOVE];
    unmapping_either [MOVE];
    closing_while_moving [MOVE];
    exit_while_moving [MOVE];
    long_move_ends_when_killed [MOVE];
}

const COMPACT: &str = "/proc/sys/vm/compact_memory";
const MERGE: &str = "/sys/kernel/mm/ksm/run";

/// Moves pages one by one, and tells which of them it has moved.
fn move_each(uffd: &Uffd, dst: u64, src: u64, pages: u64, loss: Errno) -> Vec<bool> {
    let mut moved = Vec::new();
    for page in 0..pages {
        let at = page * PAGE;
        match uffd.move_pages(dst + at, src + at, PAGE, 0) {
            Ok(done) => {
                assert_eq!(done, PAGE);
                moved.push(true);
            }
            Err(partial) => {
                assert_eq!(partial.errno, loss);
                moved.push(false);
            }
        }
    }
    moved
}

/// Two movers at once, many times over: each page has one winner, and nothing happens to the pages
/// of the loser.
fn race(rounds: u32, one_destination: bool) {
    const PAGES: u64 = 8;
    let loss = if one_destination {
        Errno::EEXIST
    } else {
        Errno::ENOENT
    };
    for _ in 0..rounds {
        let uffd = Arc::new(uffd_with(0));
        let [first, second, shared] = [1, 101, 201].map(|value| {
            let memory = Mapping::anon(PAGES);
            stamp_all(&memory, 0, PAGES, value);
            Arc::new(memory)
        });
        let destinations = if one_destination {
            vec![&shared]
        } else {
            vec![&first, &second]
        };
        for memory in destinations {
            memory.advise(0, memory.len(), libc::MADV_DONTNEED).unwrap();
            register(&uffd, memory);
        }
        let start = Arc::new(Barrier::new(2));
        let movers = [&first, &second].map(|own| {
            let (uffd, start) = (Arc::clone(&uffd), Arc::clone(&start));
            let (dst, src) = if one_destination {
                (shared.start(), own.start())
            } else {
                (own.start(), shared.start())
            };
            Faulter::spawn(move || {
                start.wait();
                move_each(&uffd, dst, src, PAGES, loss)
            })
        });
        let [won, lost] = movers.map(Faulter::join);
        for page in 0..PAGES {
            let (at, index) = (page * PAGE, page as usize);
            assert_ne!(won[index], lost[index], "page {page}");
            let (winner, loser) = if won[index] {
                (&first, &second)
            } else {
                (&second, &first)
            };
            if one_destination {
                let value = if won[index] { 1 } else { 101 };
                expect_stamp(&shared, at, value + page as u8);
                expect_stamp(loser, at, 102 - value + page as u8);
                assert!(entry(winner.page(page)).is_hole());
            } else {
                expect_stamp(winner, at, 201 + page as u8);
                assert!(entry(loser.page(page)).is_hole());
                assert!(entry(shared.page(page)).is_hole());
            }
        }
    }
}

fn movers_to_one_place_have_one_winner() {
    race(60, true);
}

fn movers_from_one_place_have_one_winner() {
    race(60, false);
}

/// One moves there, the other back: whoever takes two locks must take them in one order.
fn movers_that_cross() {
    const PAGES: u64 = 4;
    const ROUNDS: usize = 400;
    let uffd = Arc::new(uffd_with(0));
    let memory = [aligned(1), aligned(1)].map(Arc::new);
    stamp_all(&memory[0], 0, PAGES / 2, 1);
    stamp_all(&memory[1], PAGES / 2 * PAGE, PAGES / 2, 1 + PAGES as u8 / 2);
    memory.iter().for_each(|one| register(&uffd, one));
    let bodies = [(0, 1), (1, 0)].map(|(from, to)| -> Box<dyn FnOnce() + Send> {
        let (uffd, src, dst) = (Arc::clone(&uffd), memory[from].start(), memory[to].start());
        Box::new(move || {
            for _ in 0..ROUNDS {
                match uffd.move_pages(dst, src, PAGES * PAGE, HOLES) {
                    Ok(done) => assert_eq!(done, PAGES * PAGE),
                    Err(partial) => assert!(
                        matches!(partial.errno, Errno::EAGAIN | Errno::EEXIST),
                        "{partial}"
                    ),
                }
            }
        })
    });
    together(bodies.into());
    for page in 0..PAGES {
        let there = memory
            .iter()
            .filter(|one| entry(one.page(page)).present())
            .inspect(|one| expect_stamp(one, page * PAGE, page as u8 + 1));
        assert_eq!(there.count(), 1, "page {page}");
    }
}

/// Both want to split it, and neither may keep the other from it for ever.
fn movers_of_one_large_page() {
    for _ in 0..30 {
        let (uffd, src, dst) = super::huge::large_scene();
        let (uffd, half) = (Arc::new(uffd), src.len() / 2);
        let bodies = (0..4).map(|mover| -> Box<dyn FnOnce() + Send> {
            let uffd = Arc::clone(&uffd);
            let at = mover * (half / 4);
            let (dst, src) = (dst.start() + at, src.start() + at);
            Box::new(move || move_all(&uffd, dst, src, half / 4))
        });
        together(bodies.collect());
        expect_stamps(&dst, 0, half / PAGE, 1);
        expect_stamps(&src, half, half / PAGE, 1 + (half / PAGE) as u8);
    }
}

/// Moves all of it, however often somebody is in the way.
fn move_all(uffd: &Uffd, dst: u64, src: u64, len: u64) {
    let mut done = 0;
    while done < len {
        done += match uffd.move_pages(dst + done, src + done, len - done, 0) {
            Ok(moved) => moved,
            Err(partial) => match partial.errno {
                Errno::EAGAIN => partial.result as u64,
                Errno::EBUSY => 0,
                errno => panic!("{errno}"),
            },
        };
        if done < len {
            std::thread::yield_now();
        }
    }
}

/// A writer leaves a mark on byte after byte, while its pages move away. Each mark is either on the
/// page that has moved or on the one that took its place.
fn writes_are_not_lost() {
    const PAGES: u64 = 4;
    for _ in 0..60 {
        let (uffd, dst) = (uffd_with(0), Mapping::anon(PAGES));
        let src = Arc::new(Mapping::anon(PAGES));
        (0..PAGES).for_each(|page| src.write(page * PAGE, 0));
        register(&uffd, &dst);
        let writer = {
            let src = Arc::clone(&src);
            Faulter::spawn(move || {
                for at in 0..PAGE {
                    (0..PAGES).for_each(|page| src.write(page * PAGE + at, 1));
                }
            })
        };
        until(|| src.read(0) == 1);
        move_all(&uffd, dst.start(), src.start(), PAGES * PAGE);
        writer.join();
        for at in 0..PAGES * PAGE {
            let marks = (dst.read(at), src.read(at));
            assert!(matches!(marks, (1, 0) | (0, 1)), "byte {at}: {marks:?}");
        }
    }
}

/// Moves parts of stamped memory there and back, while another thread does something.
pub fn there_and_back_against(rounds: u64, act: impl Fn(&[Arc<Mapping>; 2]) + Send + 'static) {
    const PIECE: u64 = 64;
    let uffd = uffd_with(0);
    let memory = [for_huge(1), for_huge(1)].map(Arc::new);
    stamp_all(&memory[0], 0, TABLE, 1);
    memory.iter().for_each(|one| register(&uffd, one));
    let stop = Arc::new(AtomicBool::new(false));
    let other = {
        let (memory, stop) = (memory.clone(), Arc::clone(&stop));
        Faulter::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                act(&memory);
                std::thread::yield_now();
            }
        })
    };
    let [first, second] = [memory[0].start(), memory[1].start()];
    for round in 0..rounds {
        let at = round * 5 % (TABLE / PIECE) * PIECE * PAGE;
        let (at, len) = match round % 3 {
            0 => (0, HUGE_PAGE),
            1 => (at, PIECE * PAGE),
            _ => (at + 3 * PAGE, 5 * PAGE),
        };
        move_all(&uffd, second + at, first + at, len);
        expect_stamps(&memory[1], at, len / PAGE, (at / PAGE) as u8 + 1);
        move_all(&uffd, first + at, second + at, len);
    }
    stop.store(true, Ordering::SeqCst);
    other.join();
    expect_stamps(&memory[0], 0, TABLE, 1);
    let left = entries(second, TABLE);
    assert!(left.iter().all(|entry| entry.is_hole()));
}

fn cve_2024_46787_moving_against_collapse() {
    there_and_back_against(60, |memory| {
        for one in memory {
            // It fails as often as not.
            let _ = one.advise(0, HUGE_PAGE, libc::MADV_COLLAPSE);
        }
    });
}

fn cve_2025_38686_moving_against_migration() {
    there_and_back_against(40, |_| {
        // Holes between pages are what makes the kernel move them together.
        let holes = Mapping::anon(1024);
        for page in 0..1024 {
            holes.write(page * PAGE, 1);
        }
        for page in (0..1024).step_by(2) {
            holes
                .advise(page * PAGE, PAGE, libc::MADV_DONTNEED)
                .unwrap();
        }
        fs::write(COMPACT, "1").unwrap();
    });
}

fn merged_page_is_busy() {
    let folder = MERGE.trim_end_matches("run");
    let _settings = [
        Setting::set(format!("{folder}pages_to_scan"), "1000"),
        Setting::set(format!("{folder}sleep_millisecs"), "1"),
        Setting::set(MERGE, "1"),
    ];
    let (uffd, dst, src) = (uffd_with(0), Mapping::lone(2), Mapping::lone(2));
    register(&uffd, &dst);
    for page in 0..2 {
        src.fill(page * PAGE, PAGE, 0x71);
    }
    src.advise(0, src.len(), libc::MADV_MERGEABLE).unwrap();
    until(|| !entries(src.start(), 2).iter().any(|one| one.exclusive()));
    for page in 0..2 {
        let refused = uffd.move_pages(dst.page(page), src.page(page), PAGE, 0);
        assert_eq!(refused, failed(Errno::EBUSY));
    }
    assert_eq!((src.read(0), src.read(2 * PAGE - 1)), (0x71, 0x71));
    // A page of one's own again.
    stamp(&src, 0, 5);
    let moved = uffd.move_pages(dst.start(), src.start(), PAGE, 0);
    assert_eq!(moved, Ok(PAGE));
    expect_stamp(&dst, 0, 5);
}

fn moving_against_forks() {
    const PAGES: u64 = 8;
    let (uffd, src, dst) = scene(PAGES);
    register(&uffd, &src);
    let (first, second) = (src.start(), dst.start());
    let (src, dst) = (Arc::new(src), Arc::new(dst));
    let stop = Arc::new(AtomicBool::new(false));
    let forker = {
        let (src, dst, stop) = (Arc::clone(&src), Arc::clone(&dst), Arc::clone(&stop));
        Faulter::spawn(move || {
            let mut forks = 0;
            while !stop.load(Ordering::SeqCst) {
                let child = Child::spawn(|| {
                    // Each page is in one of the places; the other is zeroes for the child.
                    for page in 0..PAGES {
                        let at = page * PAGE;
                        let found = [src.read(at), dst.read(at)];
                        assert!(found.contains(&0) && found.contains(&(page as u8 + 1)));
                    }
                });
                child.expect_success();
                forks += 1;
            }
            forks
        })
    };
    let mut there = true;
    for _ in 0..100 {
        let (memory, to, from) = if there {
            (&src, second, first)
        } else {
            (&dst, first, second)
        };
        for page in 0..PAGES {
            let at = page * PAGE;
            while let Err(partial) = uffd.move_pages(to + at, from + at, PAGE, 0) {
                assert_eq!(partial.errno, Errno::EBUSY);
                // Writing makes it ours alone.
                stamp(memory, at, page as u8 + 1);
            }
        }
        there = !there;
    }
    stop.store(true, Ordering::SeqCst);
    println!("{} forks", forker.join());
    expect_stamps(&src, 0, PAGES, 1);
}

/// Moves pages while they are dropped at one end: what has moved is whole, what has not is gone.
fn dropping(source: bool) {
    const PAGES: u64 = 16;
    for _ in 0..100 {
        let (uffd, src, dst) = scene(PAGES);
        let (uffd, src, dst) = (Arc::new(uffd), Arc::new(src), Arc::new(dst));
        let dropped = Arc::clone(if source { &src } else { &dst });
        let (mover, to, from) = (Arc::clone(&uffd), dst.start(), src.start());
        together(vec![
            Box::new(move || {
                let moved = mover.move_pages(to, from, PAGES * PAGE, HOLES);
                assert_eq!(moved, Ok(PAGES * PAGE));
            }),
            Box::new(move || {
                let advice = libc::MADV_DONTNEED;
                dropped.advise(0, PAGES * PAGE, advice).unwrap();
            }),
        ]);
        for page in 0..PAGES {
            assert!(entry(src.page(page)).is_hole());
            if entry(dst.page(page)).present() {
                expect_stamp(&dst, page * PAGE, page as u8 + 1);
            }
        }
    }
}

fn dropping_the_source() {
    dropping(true);
}

fn dropping_the_destination() {
    dropping(false);
}

fn unmapping_either() {
    const PAGES: u64 = 16;
    for round in 0..100 {
        let (uffd, src, dst) = scene(PAGES);
        let (to, from) = (dst.start(), src.start());
        let [unmapped, kept] = if round % 2 == 0 {
            [src, dst]
        } else {
            [dst, src]
        };
        let whole = unmapped.len();
        together(vec![
            Box::new(move || match uffd.move_pages(to, from, PAGES * PAGE, 0) {
                Ok(moved) => assert_eq!(moved, PAGES * PAGE),
                Err(partial) => assert!(
                    matches!(partial.errno, Errno::ENOENT | Errno::EINVAL),
                    "{partial}"
                ),
            }),
            Box::new(move || {
                unmapped.unmap(0, whole);
                unmapped.leak();
            }),
        ]);
        drop(kept);
    }
}

fn closing_while_moving() {
    const PAGES: u64 = 32;
    for _ in 0..50 {
        let (uffd, src, dst) = scene(PAGES);
        let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
        let (to, from) = (dst.start(), src.start());
        together(vec![
            Box::new(move || {
                // The call holds the file, so it ends as if there was no close.
                assert_eq!(twin.move_pages(to, from, PAGES * PAGE, 0), Ok(PAGES * PAGE));
            }),
            Box::new(move || drop(uffd)),
        ]);
        expect_stamps(&dst, 0, PAGES, 1);
    }
}

/// A child whose threads move pages for ever.
fn restless() -> Child {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let child = Child::spawn(|| {
        let (uffd, src, dst) = scene(16);
        register(&uffd, &src);
        let (first, second, uffd) = (src.start(), dst.start(), Arc::new(uffd));
        for (to, from) in [(second, first), (first, second)] {
            let uffd = Arc::clone(&uffd);
            Faulter::spawn(move || loop {
                let _ = uffd.move_pages(to, from, 16 * PAGE, HOLES);
            });
        }
        nix::unistd::write(&writer, &[1]).unwrap();
        src.leak();
        dst.leak();
        std::mem::forget(uffd);
        // Ends when the parent says so.
        nix::unistd::pause();
    });
    nix::unistd::read(&reader, &mut [0]).unwrap();
    child
}

fn exit_while_moving() {
    for _ in 0..30 {
        let child = restless();
        child.signal(Signal::SIGKILL);
        child.wait();
    }
}

fn long_move_ends_when_killed() {
    const LEN: u64 = 1 << 40;
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let child = Child::spawn(|| {
        let uffd = uffd_with(0);
        let (src, dst) = (aligned(LEN / HUGE_PAGE), aligned(LEN / HUGE_PAGE));
        register(&uffd, &dst);
        nix::unistd::write(&writer, &[1]).unwrap();
        // Holes only; far more of them than there is time for.
        let _ = uffd.move_pages(dst.start(), src.start(), LEN, HOLES);
        std::process::exit(1);
    });
    nix::unistd::read(&reader, &mut [0]).unwrap();
    // Time spent in the kernel, in ticks; or it has ended before it could be killed.
    let busy = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
        let mut fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ended = fields.next() == Some("Z");
        ended || fields.nth(11).unwrap().parse::<u64>().unwrap() >= 10
    };
    until(busy);
    let (pid, start) = (child.pid(), Instant::now());
    child.signal(Signal::SIGKILL);
    let status = child.wait();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
    assert!([killed, WaitStatus::Exited(pid, 1)].contains(&status));
}
