// SPDX-License-Identifier: GPL-2.0-only

//! Giving protected memory back: nothing may stay behind in page tables (CVE-2024-36881).

use super::protect_lasting::{RWP, SWAP};
use super::write_protect::WP;
use crate::harness::kind::{Kind, FILL};
use crate::harness::mem::PAGE;
use crate::harness::need::offers;
use crate::harness::protect::{entry_at, expect_silence, protected, Against};
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::{expect_errno, tests, Need};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Against::{Access, Write};

tests! {
    closing_takes_write_protection_away [WP];
    closing_takes_rwp_away [RWP];
    unregistering_takes_write_protection_away [WP];
    unregistering_takes_rwp_away [RWP];
    closing_reaches_swap [WP, Need::Root, SWAP];
    closing_reaches_swap_with_rwp [RWP, Need::Root, SWAP];
    unregistering_reaches_swap [WP, Need::Root, SWAP];
    closing_reaches_missing_pages [WP, Need::Feature(UFFD_FEATURE_WP_UNPOPULATED)];
    part_can_be_unregistered [WP];
    part_can_be_unregistered_with_rwp [RWP];
    part_of_a_huge_page_can_be_unregistered [WP];
    closing_wakes_who_ran_into_protection [WP];
    closing_wakes_who_ran_into_rwp [RWP];
    registering_again_starts_anew [WP];
    registering_again_starts_anew_with_rwp [RWP];
    inaccessible_memory_is_given_back [RWP];
}

const NOTHING: [u64; 0] = [];

/// How memory is given back.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Unregister,
}
use End::{Close, Unregister};

impl End {
    fn of(self, uffd: Uffd, start: u64, len: u64) {
        if let Unregister = self {
            uffd.unregister(start, len).unwrap();
            // The descriptor is open when the caller looks.
            std::mem::forget(uffd);
        }
    }
}

/// Gives protected memory back, with pages and with what is left of dropped ones.
fn given_back(against: Against, end: End) {
    for kind in Kind::protectable() {
        println!("{kind:?} {end:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 4);
        let unit = kind.unit();
        for page in [1, 2] {
            target
                .advise(page * unit, unit, libc::MADV_DONTNEED)
                .unwrap();
        }
        against.on(&uffd, &target);
        if against == Write {
            // Now it is a page that was read, where there can be one.
            target.read(2 * unit);
        }
        end.of(uffd, target.start(), target.len());
        assert_eq!(protected(&target), NOTHING);
        assert_eq!((target.read(0), target.read(3 * unit)), (FILL, FILL));
        for page in 0..4 {
            target.write(page * unit + 1, 2);
            assert_eq!(target.read(page * unit + 1), 2);
        }
    }
}

fn closing_takes_write_protection_away() {
    given_back(Write, Close);
}

fn closing_takes_rwp_away() {
    given_back(Access, Close);
}

fn unregistering_takes_write_protection_away() {
    given_back(Write, Unregister);
}

fn unregistering_takes_rwp_away() {
    given_back(Access, Unregister);
}

/// Gives memory back that is in swap.
fn given_back_in_swap(against: Against, end: End) {
    let _swap = SwapArea::new();
    for kind in Kind::protectable() {
        if kind.is_huge() {
            continue;
        }
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        page_out(&target, 0, target.len());
        end.of(uffd, target.start(), target.len());
        assert!(!entry_at(&target, 0).present());
        assert_eq!(protected(&target), NOTHING);
        for page in 0..2 {
            target.write(page * kind.unit() + 1, 3);
            assert_eq!(target.read(page * kind.unit()), FILL);
        }
    }
}

fn closing_reaches_swap() {
    given_back_in_swap(Write, Close);
}

fn closing_reaches_swap_with_rwp() {
    given_back_in_swap(Access, Close);
}

fn unregistering_reaches_swap() {
    given_back_in_swap(Write, Unregister);
}

fn closing_reaches_missing_pages() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Write.uffd(UFFD_FEATURE_WP_UNPOPULATED);
        let (target, _file) = kind.alone(2);
        let target = Write.registered(&uffd, target);
        Write.on(&uffd, &target);
        assert_eq!(protected(&target), kind.pages(0..2));
        drop(uffd);
        assert_eq!(protected(&target), NOTHING);
        (0..2).for_each(|page| target.write(page * kind.unit(), 1));
    }
}

/// Gives the middle of three units back.
fn part(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 3);
        let unit = kind.unit();
        uffd.unregister(target.start() + unit, unit).unwrap();
        assert_eq!(protected(&target), kind.pages([0, 2]));
        assert_eq!(target.read(unit), FILL);
        target.write(unit, 1);
        expect_silence(&uffd);
        for page in [0, 2] {
            let writer = against.writer(&uffd, kind, &target, (page * unit, 5));
            against.off(&uffd, &target, page * unit, unit);
            assert_eq!(writer.join(), 5);
        }
        let range = (unit, unit);
        expect_errno(against.set(&uffd, &target, range, 0), Errno::ENOENT);
    }
}

fn part_can_be_unregistered() {
    part(Write);
}

fn part_can_be_unregistered_with_rwp() {
    part(Access);
}

fn part_of_a_huge_page_can_be_unregistered() {
    if !Kind::protectable().contains(&Kind::Thp) {
        return;
    }
    for against in [Write, Access] {
        if against == Access && !offers(UFFD_FEATURE_RWP) {
            continue;
        }
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, Kind::Thp, 1);
        uffd.unregister(target.page(8), 8 * PAGE).unwrap();
        let left: Vec<u64> = (0..8).chain(16..512).collect();
        assert_eq!(protected(&target), left);
        target.write(9 * PAGE, 1);
        let writer = against.writer(&uffd, Kind::Anon, &target, (17 * PAGE, 5));
        drop(uffd);
        assert_eq!(writer.join(), 5);
        assert_eq!(protected(&target), NOTHING);
        assert_eq!(target.read(0), FILL);
    }
}

/// Closes the descriptor that threads sleep on.
fn closing_wakes(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        let writers: Vec<_> = (0..2)
            .map(|page| against.writer(&uffd, kind, &target, (page * kind.unit(), 1)))
            .collect();
        drop(uffd);
        assert!(writers.into_iter().all(|writer| writer.join() == 1));
        assert_eq!(protected(&target), NOTHING);
    }
}

fn closing_wakes_who_ran_into_protection() {
    closing_wakes(Write);
}

fn closing_wakes_who_ran_into_rwp() {
    closing_wakes(Access);
}

/// Registers with a second descriptor what the first had protected.
fn anew(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        drop(uffd);
        let uffd = against.uffd(0);
        let target = Arc::try_unwrap(target).unwrap();
        let target = against.registered(&uffd, target);
        assert_eq!(protected(&target), NOTHING);
        target.write(0, 3);
        target.write(kind.unit(), target.read(0));
        expect_silence(&uffd);
        against.on(&uffd, &target);
        let writer = against.writer(&uffd, kind, &target, (0, 4));
        against.off(&uffd, &target, 0, target.len());
        assert_eq!(writer.join(), 4);
    }
}

fn registering_again_starts_anew() {
    anew(Write);
}

fn registering_again_starts_anew_with_rwp() {
    anew(Access);
}

fn inaccessible_memory_is_given_back() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        for end in [Close, Unregister] {
            let uffd = Access.uffd(0);
            let target = Access.guarded(&uffd, kind, 1);
            let (start, len) = (target.start(), target.len());
            target.protect(0, len, libc::PROT_NONE).unwrap();
            end.of(uffd, start, len);
            assert_eq!(protected(&target), NOTHING);
            target.protect(0, len, libc::PROT_READ).unwrap();
            assert_eq!(target.read(0), FILL);
        }
    }
}
