// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own thread that makes huge pages, while memory is registered: it fills no hole that
//! is the manager's to fill, and drops no protection.

use super::moving::huge::THP;
use super::moving::races::there_and_back_against;
use super::moving::MOVE;
use super::protect_lasting::RWP;
use super::thp::{check_collapsing, file, SHMEM, SHMEM_THP};
use super::write_protect::{FILES, WP};
use crate::harness::kind::{expect_stamped, stamp, stamped, Kind};
use crate::harness::mem::{Mapping, HUGE_PAGE, PAGE};
use crate::harness::pagemap::{entries, entry, Entry};
use crate::harness::protect::{expect_silence, protected, Against, ON};
use crate::harness::scan::is_huge;
use crate::harness::setting::Setting;
use crate::harness::task::until;
use crate::harness::{all_read, expect_errno, sleepers, tests, uffd_with, user, Need};
use nix::sys::uio::pwrite;
use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Against::{Access, Write};

tests! {
    hole_is_left_to_the_manager [THP, Need::Root];
    hole_of_a_file_is_left_to_the_manager [THP, Need::Root, SHMEM, Need::Path(SHMEM_THP)];
    poison_stays [THP, Need::Root, Need::Feature(UFFD_FEATURE_POISON)];
    protection_stays [THP, Need::Root, WP];
    protection_against_access_stays [THP, Need::Root, RWP];
    protection_of_a_file_stays [THP, Need::Root, WP, FILES, Need::Path(SHMEM_THP)];
    protecting_meanwhile [THP, Need::Root, WP];
    protecting_against_access_meanwhile [THP, Need::Root, RWP];
    copying_meanwhile [THP, Need::Root];
    moving_meanwhile [THP, Need::Root, MOVE];
}

const FOLDER: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged";
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const PAGES: u64 = HUGE_PAGE / PAGE;
/// The page that is not like the others.
const ODD: u64 = 77;

/// The thread, which does not rest for as long as this lives.
struct Daemon {
    _settings: [Setting; 3],
}

impl Daemon {
    fn wake() -> Daemon {
        let set = |name, value| Setting::set(format!("{FOLDER}/{name}"), value);
        Daemon {
            _settings: [
                set("pages_to_scan", "100000"),
                set("alloc_sleep_millisecs", "0"),
                set("scan_sleep_millisecs", "0"),
            ],
        }
    }

    /// Waits until it has looked at all memory, from now on.
    fn look(&self) {
        let scans = || -> u64 {
            let text = fs::read_to_string(format!("{FOLDER}/full_scans")).unwrap();
            text.trim().parse().unwrap()
        };
        // One that is under way may be past the memory already.
        let seen = scans();
        until(|| scans() >= seen + 2);
    }
}

/// Memory of one huge page in single pages, with stamps from 1 on, that could be one; without the
/// odd page if it has a hole.
fn small(hole: bool) -> Arc<Mapping> {
    let memory = Mapping::aligned(1);
    memory.advise(0, HUGE_PAGE, libc::MADV_NOHUGEPAGE).unwrap();
    stamp(&memory, 0, HUGE_PAGE, 1);
    if hole {
        memory
            .advise(ODD * PAGE, PAGE, libc::MADV_DONTNEED)
            .unwrap();
    }
    assert!(!is_huge(&memory, 0));
    Arc::new(memory)
}

/// From now on the thread may make it huge.
fn offer(memory: &Mapping) {
    memory.advise(0, HUGE_PAGE, libc::MADV_HUGEPAGE).unwrap();
}

/// The thread has looked at memory of which it could have made a huge page: it made one of other
/// memory with a hole.
fn let_it_look(daemon: &Daemon) {
    let other = small(true);
    offer(&other);
    until(|| is_huge(&other, 0));
    assert_eq!(other.read(ODD * PAGE), 0);
    daemon.look();
}

fn hole_is_left_to_the_manager() {
    let daemon = Daemon::wake();
    let (uffd, target, source) = (uffd_with(0), small(true), stamped(HUGE_PAGE, 1));
    uffd.register(target.start(), HUGE_PAGE, MISSING).unwrap();
    offer(&target);
    let_it_look(&daemon);
    assert!(!is_huge(&target, 0));
    assert!(entry(target.page(ODD)).is_hole());
    fill_the_hole(&uffd, &target, &source);
    until(|| is_huge(&target, 0));
    expect_stamped(&target, 0, HUGE_PAGE, 1);
    expect_silence(&uffd);
}

/// Whoever touches it is told of.
fn fill_the_hole(uffd: &Uffd, target: &Arc<Mapping>, source: &Mapping) {
    let asleep = sleepers(uffd, target, [ODD]);
    let copied = uffd.copy(target.page(ODD), source.page(ODD), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    all_read(asleep, ODD as u8 + 1);
}

/// A file of one huge page that is there in single pages, with stamps from 1 on, except the odd
/// page if it has a hole; mapped so that it could be huge.
fn small_file(hole: bool) -> Arc<Mapping> {
    let (fd, memory, offset) = file();
    let mut bytes = [0; PAGE as usize];
    for page in (0..PAGES).filter(|&page| !hole || page != ODD) {
        let value = (page as u8).wrapping_add(1);
        bytes[0] = value;
        bytes[PAGE as usize - 1] = value;
        assert_eq!(pwrite(&fd, &bytes, (page * PAGE) as i64), Ok(bytes.len()));
    }
    let memory = Arc::try_unwrap(memory).unwrap().cut(offset, HUGE_PAGE);
    for page in (0..PAGES).filter(|&page| !hole || page != ODD) {
        memory.read(page * PAGE);
    }
    Arc::new(memory)
}

/// Whether all pages of a file are one in memory, however they are mapped.
fn is_one(memory: &Mapping) -> bool {
    let all = entries(memory.start(), PAGES);
    if !all.iter().all(|entry| entry.present()) {
        return false;
    }
    let first = all[0].frame();
    let mut frames = all.into_iter().map(Entry::frame);
    first.is_multiple_of(PAGES)
        && (first..)
            .zip(&mut frames)
            .all(|(want, found)| want == found)
}

/// The same for the memory of a file; see [`let_it_look`].
fn let_it_look_at_files(daemon: &Daemon) {
    let other = small_file(true);
    offer(&other);
    until(|| {
        // Pages around the one that is touched are mapped, too, if they are in the file.
        let mut neighbours = (0..PAGES).filter(|&page| page != ODD);
        let right = |page| other.read(page * PAGE) == (page as u8).wrapping_add(1);
        assert!(neighbours.all(right));
        entry(other.page(ODD)).present()
    });
    daemon.look();
}

fn hole_of_a_file_is_left_to_the_manager() {
    let _files = Setting::set(SHMEM_THP, "advise");
    let daemon = Daemon::wake();
    let (uffd, target, source) = (uffd_with(0), small_file(true), stamped(HUGE_PAGE, 1));
    uffd.register(target.start(), HUGE_PAGE, MISSING).unwrap();
    offer(&target);
    let_it_look_at_files(&daemon);
    assert!(entry(target.page(ODD)).is_hole());
    fill_the_hole(&uffd, &target, &source);
    until(|| {
        expect_stamped(&target, 0, HUGE_PAGE, 1);
        is_one(&target)
    });
    expect_silence(&uffd);
}

fn poison_stays() {
    let daemon = Daemon::wake();
    let (uffd, target, source) = (uffd_with(0), small(true), stamped(HUGE_PAGE, 1));
    uffd.register(target.start(), HUGE_PAGE, MISSING).unwrap();
    assert_eq!(uffd.poison(target.page(ODD), PAGE, 0), Ok(PAGE));
    offer(&target);
    let_it_look(&daemon);
    assert!(!is_huge(&target, 0));
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let written = user::write(writer.as_fd(), target.page(ODD), 1);
    expect_errno(written, Errno::EFAULT);
    // Healed, it can be.
    let copied = uffd.copy(target.page(ODD), source.page(ODD), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    until(|| is_huge(&target, 0));
    expect_stamped(&target, 0, HUGE_PAGE, 1);
}

fn protection_stays() {
    stays(Write);
}

fn protection_against_access_stays() {
    stays(Access);
}

/// One page of memory that could be huge is protected.
fn stays(against: Against) {
    let daemon = Daemon::wake();
    let uffd = against.uffd(0);
    let target = small(false);
    uffd.register(target.start(), HUGE_PAGE, against.mode())
        .unwrap();
    let odd = (ODD * PAGE, PAGE);
    against.set(&uffd, &target, odd, ON).unwrap();
    offer(&target);
    let_it_look(&daemon);
    assert!(!is_huge(&target, 0));
    assert_eq!(protected(&target), [ODD]);
    let writer = against.writer(&uffd, Kind::Anon, &target, (ODD * PAGE + 5, 9));
    against.off(&uffd, &target, ODD * PAGE, PAGE);
    assert_eq!(writer.join(), 9);
    until(|| is_huge(&target, 0));
    target.write(ODD * PAGE + 5, 0);
    expect_stamped(&target, 0, HUGE_PAGE, 1);
    // The whole of it stays whole, and protected.
    against.on(&uffd, &target);
    daemon.look();
    assert!(is_huge(&target, 0));
    assert_eq!(protected(&target), (0..PAGES).collect::<Vec<_>>());
    expect_silence(&uffd);
}

fn protection_of_a_file_stays() {
    let _files = Setting::set(SHMEM_THP, "advise");
    let daemon = Daemon::wake();
    let uffd = Write.uffd(0);
    let target = small_file(false);
    uffd.register(target.start(), HUGE_PAGE, Write.mode())
        .unwrap();
    Write.set(&uffd, &target, (ODD * PAGE, PAGE), ON).unwrap();
    offer(&target);
    let_it_look_at_files(&daemon);
    // The page may be part of a huge one by now: it is protected here all the same.
    assert_eq!(protected(&target), [ODD]);
    let neighbours = (0..PAGES).filter(|&page| page != ODD);
    neighbours.for_each(|page| target.write(page * PAGE + 9, 0));
    expect_silence(&uffd);
    let writer = Write.writer(&uffd, Kind::Memfd, &target, (ODD * PAGE + 5, 9));
    Write.off(&uffd, &target, ODD * PAGE, PAGE);
    assert_eq!(writer.join(), 9);
    expect_stamped(&target, 0, HUGE_PAGE, 1);
}

fn protecting_meanwhile() {
    meanwhile(Write);
}

fn protecting_against_access_meanwhile() {
    meanwhile(Access);
}

/// Protects and unprotects all of it, while it is taken together over and over.
fn meanwhile(against: Against) {
    let daemon = Daemon::wake();
    let uffd = against.uffd(0);
    let target = small(false);
    uffd.register(target.start(), HUGE_PAGE, against.mode())
        .unwrap();
    offer(&target);
    let mut huge = 0;
    for round in 0..60 {
        // With a page by itself it is in pieces again.
        let page = round * 37 % PAGES;
        against
            .set(&uffd, &target, (page * PAGE, PAGE), ON)
            .unwrap();
        assert_eq!(protected(&target), [page]);
        against.on(&uffd, &target);
        let found = entries(target.start(), PAGES);
        assert!(found.into_iter().all(|entry| entry.protected()));
        against.off(&uffd, &target, 0, HUGE_PAGE);
        assert_eq!(protected(&target), [0; 0]);
        if round % 10 == 0 {
            daemon.look();
        }
        huge += u32::from(is_huge(&target, 0));
    }
    println!("huge {huge} times");
    assert!(huge > 0);
    expect_stamped(&target, 0, HUGE_PAGE, 1);
    expect_silence(&uffd);
}

fn copying_meanwhile() {
    let daemon = Daemon::wake();
    // It knows of a process from when that has memory for huge pages.
    let_it_look(&daemon);
    check_collapsing(&Arc::new(Mapping::aligned(1)), 0, move |memory| {
        daemon.look();
        is_huge(memory, 0).into()
    });
}

fn moving_meanwhile() {
    let daemon = Daemon::wake();
    there_and_back_against(40, move |_| daemon.look());
}
