// SPDX-License-Identifier: GPL-2.0-only

//! Pages that move from one node of memory to another, and entries of page tables that say so for
//! as long as it takes.

use super::fill::failed;
use super::moving::huge::THP;
use super::moving::races::there_and_back_against;
use super::moving::MOVE;
use super::protect_bugs::counting;
use super::protect_lasting::RWP;
use super::write_protect::WP;
use crate::harness::kind::{expect_stamped, stamp, stamped, Kind, FILL};
use crate::harness::mem::PAGE;
use crate::harness::nodes::{addresses, send, try_send, Mover, NODES};
use crate::harness::pagemap::{entries, Entry};
use crate::harness::pool::Pool;
use crate::harness::protect::{expect_silence, protected, Against, ON};
use crate::harness::scan::is_huge;
use crate::harness::{tests, uffd_with, Need};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use uffd::abi::*;
use uffd::Errno;
use Against::{Access, Write};

tests! {
    protection_goes_along [WP, Need::Root, NODES];
    protection_against_access_goes_along [RWP, Need::Root, NODES];
    protecting_what_is_under_way [WP, NODES];
    protecting_against_access_what_is_under_way [RWP, NODES];
    no_write_is_lost [WP, NODES];
    no_write_is_lost_with_rwp [RWP, NODES];
    fills_onto_what_is_under_way [FILLS, NODES];
    moving_what_is_under_way [THP, NODES, MOVE];
    filled_huge_pages_go_along [
        Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS),
        NODES,
        Need::Hugetlb(4),
    ];
}

const FILLS: Need = Need::Feature(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);

fn protection_goes_along() {
    goes_along(Write);
}

fn protection_against_access_goes_along() {
    goes_along(Access);
}

/// Protects one of three pages, and moves all of them.
fn goes_along(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let (uffd, unit) = (against.uffd(0), kind.unit());
        let target = against.registered(&uffd, kind.populated(3));
        against.set(&uffd, &target, (unit, unit), ON).unwrap();
        let all = addresses(&target, unit);
        let frames = || {
            let each = |&address| entries(address, 1)[0].frame();
            all.iter().map(each).collect::<Vec<_>>()
        };
        for node in [1, 0, 1] {
            let before = frames();
            send(&all, 1 - node);
            send(&all, node);
            assert_ne!(frames(), before, "{kind:?}: other pages by now");
            assert_eq!(protected(&target), kind.pages([1]));
        }
        if kind == Kind::Thp {
            assert!(is_huge(&target, unit), "it went as a whole");
        }
        for page in [0, 2] {
            assert_eq!(target.read(page * unit), FILL);
            target.write(page * unit, 1);
        }
        expect_silence(&uffd);
        let writer = against.writer(&uffd, kind, &target, (unit + 1, 7));
        against.off(&uffd, &target, unit, unit);
        assert_eq!(writer.join(), 7);
        assert_eq!(target.read(unit), FILL);
    }
}

fn protecting_what_is_under_way() {
    under_way(Write);
}

fn protecting_against_access_what_is_under_way() {
    under_way(Access);
}

/// Protects and unprotects pages that move all the time: the requests reach each of them.
fn under_way(against: Against) {
    for kind in Kind::protectable() {
        let (units, rounds) = match kind.unit() {
            PAGE => (32, 60),
            _ => (2, 30),
        };
        let uffd = against.uffd(0);
        let target = against.registered(&uffd, kind.populated(units));
        let mover = Mover::start(addresses(&target, kind.unit()));
        let (mut met, mut done) = (0, 0);
        while done < rounds || met == 0 {
            done += 1;
            against.on(&uffd, &target);
            let found = entries(target.start(), target.len() / PAGE);
            met += found.iter().filter(|entry| !entry.present()).count();
            assert!(found.into_iter().all(Entry::protected), "{kind:?}");
            against.off(&uffd, &target, 0, target.len());
            assert_eq!(protected(&target), [0; 0], "{kind:?}");
        }
        drop(mover);
        println!("{kind:?}: {met} pages found on their way in {done} rounds");
        let bytes = addresses(&target, kind.unit()).into_iter();
        let mut bytes = bytes.map(|address| target.read(address - target.start()));
        assert!(bytes.all(|byte| byte == FILL));
        expect_silence(&uffd);
    }
}

fn no_write_is_lost() {
    counting_under_way(Write);
}

fn no_write_is_lost_with_rwp() {
    counting_under_way(Access);
}

fn counting_under_way(against: Against) {
    for kind in [Kind::Anon, Kind::Memfd, Kind::PrivateFile] {
        if Kind::protectable().contains(&kind) {
            counting(against, kind, 4, 500, |target| {
                Mover::start(addresses(target, kind.unit()))
            });
        }
    }
}

fn fills_onto_what_is_under_way() {
    const ROUNDS: u64 = 25;
    let kinds = Kind::offered(&[
        Kind::Anon,
        Kind::PrivateFile,
        Kind::Memfd,
        Kind::HugePrivate,
        Kind::HugeMemfd,
    ]);
    let there = Err(failed(Errno::EEXIST));
    for kind in kinds {
        let (uffd, unit) = (uffd_with(0), kind.unit());
        let units = if kind.is_huge() { 2 } else { 16 };
        let (memory, source) = (kind.map(units), stamped(unit, 9));
        stamp(&memory, 0, memory.len(), 1);
        memory.register(&uffd, UFFDIO_REGISTER_MODE_MISSING);
        let mover = Mover::start(addresses(&memory, unit));
        for page in (0..ROUNDS).flat_map(|_| 0..units) {
            // A page that is on its way is there.
            let (at, from) = (memory.at(page), source.start());
            assert_eq!(uffd.copy(at, from, unit, 0), there, "{kind:?}");
            assert_eq!(uffd.poison(at, unit, 0), there, "{kind:?}");
            if !kind.is_huge() {
                assert_eq!(uffd.zeropage(at, unit, 0), there, "{kind:?}");
            }
            if kind.is_shared() {
                assert_eq!(uffd.continue_pages(at, unit, 0), there, "{kind:?}");
            }
        }
        drop(mover);
        expect_stamped(&memory, 0, memory.len(), 1);
        expect_silence(&uffd);
    }
}

fn moving_what_is_under_way() {
    let turn = AtomicBool::new(false);
    there_and_back_against(40, move |memory| {
        let node = turn.fetch_not(Ordering::SeqCst).into();
        for one in memory {
            try_send(&addresses(one, PAGE), node);
        }
    });
}

fn filled_huge_pages_go_along() {
    for kind in Kind::HUGE {
        let before = Pool::now();
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, UFFDIO_REGISTER_MODE_MISSING);
        let source = stamped(memory.len(), 3);
        let copied = uffd.copy(memory.start(), source.start(), memory.len(), 0);
        assert_eq!(copied, Ok(memory.len()), "{kind:?}");
        for node in [0, 1, 0] {
            send(&addresses(&memory, memory.unit()), node);
        }
        expect_stamped(&memory, 0, memory.len(), 3);
        let target = Arc::clone(&memory.target);
        drop((memory, target));
        assert_eq!(Pool::now(), before, "{kind:?}");
    }
}
