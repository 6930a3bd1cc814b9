// SPDX-License-Identifier: GPL-2.0-only

//! Write protection that resolves itself: who has written what is read from pagemap.

use super::eligible::ramfs_file;
use super::protect_lasting::SWAP;
use super::write_protect::FILES;
use crate::harness::kind::Kind;
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::protect::{expect_silence, protected, Against};
use crate::harness::rng::Rng;
use crate::harness::scan::{
    is_huge, scan, PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING,
};
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, tests, uffd_with, user, Need};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Against::Write;

tests! {
    there_is_never_a_message [ASYNC];
    ordinary_files_are_tracked [ASYNC, Need::Root];
    missing_pages_are_tracked [ASYNC];
    calls_that_write_are_tracked [ASYNC];
    scan_tells_what_was_written [ASYNC];
    scan_can_protect_again [ASYNC];
    scan_minds_synchronous_memory [ASYNC];
    huge_page_is_split_by_a_write [ASYNC];
    dropping_anonymous_pages_counts_as_writing [ASYNC];
    dropping_pages_of_files_does_not [ASYNC, FILES];
    swapping_does_not [ASYNC, Need::Root, SWAP];
    no_write_escapes_the_scans [ASYNC];
}

const ASYNC: Need = Need::Feature(UFFD_FEATURE_WP_ASYNC);
const NOTHING: [u64; 0] = [];

fn uffd() -> Uffd {
    uffd_with(UFFD_FEATURE_WP_ASYNC)
}

/// The pages that a scan finds to have been written.
#[track_caller]
fn written(target: &Mapping, flags: u64) -> Vec<u64> {
    let regions = scan(target, flags, PAGE_IS_WRITTEN).unwrap();
    regions.iter().flat_map(|&(from, to, _)| from..to).collect()
}

/// The pages of a mapping but for those.
fn all_but(target: &Mapping, pages: &[u64]) -> Vec<u64> {
    let all = 0..target.len() / PAGE;
    all.filter(|page| !pages.contains(page)).collect()
}

/// Writes to protected memory and finds just that.
fn tracked(uffd: &Uffd, target: &Mapping, unit: u64, grain: u64) {
    for round in 0..2 {
        Write.on(uffd, target);
        assert_eq!(protected(target), all_but(target, &[]), "round {round}");
        let offset = unit + unit / 2 + 9;
        target.read(offset);
        assert_eq!(protected(target), all_but(target, &[]));
        target.write(offset, 1);
        target.write(offset, 2);
        let first = offset / grain * grain / PAGE;
        let pages: Vec<u64> = (first..first + grain / PAGE).collect();
        assert_eq!(protected(target), all_but(target, &pages));
        assert_eq!(written(target, 0), pages);
        assert_eq!(target.read(offset), 2);
    }
    expect_silence(uffd);
}

fn there_is_never_a_message() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.registered(&uffd, kind.populated(3));
        tracked(&uffd, &target, kind.unit(), kind.grain());
    }
}

fn ordinary_files_are_tracked() {
    let file = ramfs_file();
    nix::unistd::ftruncate(&file, 3 * PAGE as i64).unwrap();
    for flags in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
        for populated in [false, true] {
            println!("{flags} {populated}");
            let uffd = uffd();
            let target = Mapping::new(3 * PAGE, RW, flags, Some(file.as_fd()), 0).unwrap();
            if populated {
                Kind::PrivateFile.populate(&target);
            }
            let target = Write.registered(&uffd, target);
            tracked(&uffd, &target, PAGE, PAGE);
        }
    }
}

fn missing_pages_are_tracked() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let (target, _file) = kind.alone(3);
        let target = Write.registered(&uffd, target);
        // The scan says nothing of missing huge pages.
        if !kind.is_huge() {
            assert_eq!(written(&target, 0), all_but(&target, &[]));
        }
        tracked(&uffd, &target, kind.unit(), kind.grain());
    }
}

fn calls_that_write_are_tracked() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.guarded(&uffd, kind, 2);
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&writer, &[3]).unwrap();
        let last = target.len() - 1;
        assert_eq!(user::read(reader.as_fd(), target.start() + last, 1), Ok(1));
        let local = Mapping::anon(1);
        let pid = std::process::id() as i32;
        let put = user::write_process(pid, target.start(), 1, local.start());
        assert_eq!(put, Ok(1));
        let each = kind.grain() / PAGE;
        let pages = target.len() / PAGE;
        let ends: Vec<u64> = (0..each).chain(pages - each..pages).collect();
        assert_eq!(written(&target, 0), ends);
        assert_eq!((target.read(0), target.read(last)), (0, 3));
        expect_silence(&uffd);
    }
}

fn scan_tells_what_was_written() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.registered(&uffd, kind.populated(4));
        let all = target.len() / PAGE;
        let scan = |target| scan(target, PM_SCAN_CHECK_WPASYNC, PAGE_IS_WRITTEN).unwrap();
        assert_eq!(scan(&target), [(0, all, PAGE_IS_WRITTEN)]);
        Write.on(&uffd, &target);
        assert_eq!(scan(&target), []);
        let (unit, each) = (kind.unit(), kind.grain() / PAGE);
        target.write(unit, 1);
        target.write(3 * unit, 1);
        let [one, three] = [1, 3].map(|page| page * unit / PAGE);
        assert_eq!(
            scan(&target),
            [
                (one, one + each, PAGE_IS_WRITTEN),
                (three, three + each, PAGE_IS_WRITTEN)
            ]
        );
        // What is unprotected counts as written.
        Write.off(&uffd, &target, 0, target.len());
        assert_eq!(scan(&target), [(0, all, PAGE_IS_WRITTEN)]);
    }
}

fn scan_can_protect_again() {
    let flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.registered(&uffd, kind.populated(3));
        assert_eq!(written(&target, flags), all_but(&target, &[]));
        assert_eq!(protected(&target), all_but(&target, &[]));
        for value in 0..3 {
            let offset = kind.unit() * value;
            target.write(offset, value as u8);
            let first = offset / PAGE;
            let pages: Vec<u64> = (first..first + kind.grain() / PAGE).collect();
            assert_eq!(written(&target, flags), pages);
            assert_eq!(written(&target, flags), NOTHING);
        }
        expect_silence(&uffd);
    }
}

fn scan_minds_synchronous_memory() {
    let uffd = uffd_with(0);
    let target = Write.guarded(&uffd, Kind::Anon, 2);
    for flags in [
        PM_SCAN_CHECK_WPASYNC,
        PM_SCAN_CHECK_WPASYNC | PM_SCAN_WP_MATCHING,
    ] {
        expect_errno(scan(&target, flags, PAGE_IS_WRITTEN), Errno::EPERM);
    }
    // To be told is fine.
    assert_eq!(scan(&target, 0, PAGE_IS_WRITTEN), Ok(vec![]));
    Write.off(&uffd, &target, PAGE, PAGE);
    assert_eq!(written(&target, 0), [1]);
}

fn huge_page_is_split_by_a_write() {
    if !Kind::protectable().contains(&Kind::Thp) {
        return;
    }
    let uffd = uffd();
    let target = Write.registered(&uffd, Kind::Thp.populated(1));
    assert_eq!(written(&target, PM_SCAN_WP_MATCHING), all_but(&target, &[]));
    assert!(is_huge(&target, 0), "as a whole it stays whole");
    target.write(5 * PAGE, 1);
    assert!(!is_huge(&target, 0));
    assert_eq!(written(&target, 0), [5]);
    expect_silence(&uffd);
}

fn dropping_anonymous_pages_counts_as_writing() {
    for kind in Kind::protectable()
        .into_iter()
        .filter(|kind| kind.is_anon())
    {
        let uffd = uffd();
        let target = Write.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        assert_eq!(written(&target, 0), kind.pages([0]));
        assert_eq!(target.read(0), 0);
        assert!(written(&target, 0).contains(&0));
    }
}

fn dropping_pages_of_files_does_not() {
    for kind in Kind::protectable_files() {
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        target.read(0);
        assert_eq!(written(&target, 0), NOTHING);
        target.write(0, 1);
        assert_eq!(written(&target, 0), kind.pages([0]));
    }
}

fn swapping_does_not() {
    let _swap = SwapArea::new();
    for kind in Kind::protectable() {
        if kind.is_huge() {
            continue;
        }
        println!("{kind:?}");
        let uffd = uffd();
        let target = Write.guarded(&uffd, kind, 2);
        page_out(&target, 0, target.len());
        assert_eq!(written(&target, 0), NOTHING);
        target.read(0);
        assert_eq!(written(&target, 0), NOTHING);
        target.write(kind.unit(), 1);
        assert_eq!(written(&target, 0), [kind.unit() / PAGE]);
        expect_silence(&uffd);
    }
}

fn no_write_escapes_the_scans() {
    const WRITERS: u64 = 3;
    let rounds = |kind: Kind| if kind.unit() == PAGE { 4000 } else { 600 };
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = uffd();
        let units = if kind.unit() == PAGE { 48 } else { 2 };
        let target = Write.registered(&uffd, kind.populated(units));
        let pages = target.len() / PAGE;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (memory, mut rng) = (Arc::clone(&target), Rng::new());
                Faulter::spawn(move || {
                    for round in 0..rounds(kind) {
                        let page = rng.below(0..pages);
                        memory.write(page * PAGE + writer, round as u8);
                    }
                })
            })
            .collect();
        // A copy that follows the memory by what the scans find.
        let mut copy = vec![Vec::new(); pages as usize];
        let mut follow = || {
            for page in written(&target, PM_SCAN_WP_MATCHING) {
                copy[page as usize] = target.read_bytes(page * PAGE, WRITERS);
            }
        };
        while !writers.iter().all(Faulter::is_finished) {
            follow();
        }
        writers.into_iter().for_each(Faulter::join);
        follow();
        for (page, bytes) in (0..).zip(&copy) {
            assert_eq!(*bytes, target.read_bytes(page * PAGE, WRITERS), "{page}");
        }
        expect_silence(&uffd);
    }
}
