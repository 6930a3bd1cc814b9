// SPDX-License-Identifier: GPL-2.0-only

//! What protection covers besides pages that are there, what it outlasts, and what drops it.

use super::write_protect::{FILES, WP};
use crate::harness::kind::{Kind, FILL};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::protect::{entry_at, expect_silence, protected, Against};
use crate::harness::swap::{page_out, SwapArea};
use crate::harness::{tests, uffd_with, user, Need};
use std::sync::Arc;
use uffd::abi::*;
use uffd::Uffd;
use Against::{Access, Write};

tests! {
    missing_anonymous_pages_are_passed_over [WP];
    missing_anonymous_pages_can_be_covered [WP, UNPOPULATED];
    missing_pages_of_files_are_covered [WP, FILES];
    missing_pages_are_not_covered_against_access [RWP];
    copy_over_a_mark_unprotects [WP, FILES];
    dropped_pages_of_files_stay_protected [WP, FILES];
    dropped_anonymous_pages_do_not [WP];
    truncation_and_holes_keep_marks [WP, FILES];
    dropping_leaves_no_mark_of_rwp [RWP, FILES];
    swapping_keeps_write_protection [WP, Need::Root, SWAP];
    swapping_keeps_rwp [RWP, Need::Root, SWAP];
    pages_in_swap_are_protected [WP, Need::Root, SWAP];
    pages_in_swap_are_protected_against_access [RWP, Need::Root, SWAP];
    fork_drops_write_protection [WP];
    fork_drops_rwp [RWP];
    mremap_drops_write_protection [WP];
    mremap_drops_rwp [RWP];
}

/// What tests of protection against any access need.
pub(super) const RWP: Need = Need::Feature(UFFD_FEATURE_RWP);
/// What tests with swap need, besides being root.
pub(super) const SWAP: Need = Need::Swap;
pub(super) const UNPOPULATED: Need = Need::Feature(UFFD_FEATURE_WP_UNPOPULATED);
const NOTHING: [u64; 0] = [];

fn missing_anonymous_pages_are_passed_over() {
    for kind in Kind::protectable()
        .into_iter()
        .filter(|kind| kind.is_anon())
    {
        let uffd = uffd_with(0);
        let target = Write.registered(&uffd, kind.alone(2).0);
        Write.on(&uffd, &target);
        assert_eq!(protected(&target), NOTHING);
        kind.populate(&target);
        expect_silence(&uffd);
    }
}

fn missing_anonymous_pages_can_be_covered() {
    for kind in Kind::protectable()
        .into_iter()
        .filter(|kind| kind.is_anon())
    {
        println!("{kind:?}");
        let uffd = uffd_with(UFFD_FEATURE_WP_UNPOPULATED);
        let target = Write.registered(&uffd, kind.alone(2).0);
        covered(&uffd, kind, &target, 0);
    }
}

fn missing_pages_of_files_are_covered() {
    for kind in Kind::protectable_files() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, file) = kind.alone(2);
        let target = Write.registered(&uffd, target);
        covered(&uffd, kind, &target, 0);
        // With the pages in the file, but not in the page tables, it is the same.
        if kind.is_huge() {
            continue;
        }
        nix::sys::uio::pwrite(file.as_ref().unwrap(), &[FILL; 2 * PAGE as usize], 0).unwrap();
        Write.off(&uffd, &target, 0, target.len());
        target.advise(0, target.len(), libc::MADV_DONTNEED).unwrap();
        covered(&uffd, kind, &target, FILL);
    }
}

/// Protects two units that are not there.
fn covered(uffd: &Uffd, kind: Kind, target: &Arc<Mapping>, content: u8) {
    let unit = kind.unit();
    Write.on(uffd, target);
    assert_eq!(protected(target), kind.pages([0, 1]));
    assert!(!entry_at(target, 0).present());
    // Reading brings a page and keeps it protected.
    assert_eq!(target.read(1), content);
    assert!(entry_at(target, 0).protected());
    for offset in [1, unit + 1] {
        let writer = Write.writer(uffd, kind, target, (offset, 5));
        Write.off(uffd, target, offset / unit * unit, unit);
        assert_eq!(writer.join(), 5);
    }
    assert_eq!(protected(target), NOTHING);
    expect_silence(uffd);
    // A mark goes as it came.
    target.advise(0, target.len(), libc::MADV_DONTNEED).unwrap();
    Write.on(uffd, target);
    Write.off(uffd, target, 0, target.len());
    assert_eq!(protected(target), NOTHING);
    (0..2).for_each(|page| target.write(page * unit, content));
    expect_silence(uffd);
}

fn missing_pages_are_not_covered_against_access() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.registered(&uffd, kind.alone(2).0);
        Access.on(&uffd, &target);
        assert_eq!(protected(&target), NOTHING);
        kind.populate(&target);
        assert_eq!(target.read(0), FILL);
        expect_silence(&uffd);
    }
}

fn copy_over_a_mark_unprotects() {
    for kind in Kind::protectable_files() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, _file) = kind.alone(1);
        let mode = UFFDIO_REGISTER_MODE_MISSING | Write.mode();
        uffd.register(target.start(), target.len(), mode).unwrap();
        Write.on(&uffd, &target);
        assert_eq!(protected(&target), kind.pages([0]));
        let source = Mapping::anon(kind.unit() / PAGE);
        source.write(0, 3);
        let copied = uffd.copy(target.start(), source.start(), kind.unit(), 0);
        assert_eq!(copied, Ok(kind.unit()));
        assert_eq!(protected(&target), NOTHING);
        target.write(1, target.read(0));
        expect_silence(&uffd);
    }
}

fn dropped_pages_of_files_stay_protected() {
    for kind in Kind::protectable_files() {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let target = Write.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        assert!(!entry_at(&target, 0).present());
        assert_eq!(protected(&target), kind.pages([0, 1]));
        let writer = Write.writer(&uffd, kind, &target, (3, 6));
        Write.off(&uffd, &target, 0, kind.unit());
        assert_eq!(writer.join(), 6);
    }
}

fn dropped_anonymous_pages_do_not() {
    for kind in Kind::protectable()
        .into_iter()
        .filter(|kind| kind.is_anon())
    {
        let uffd = uffd_with(0);
        let target = Write.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        assert_eq!(protected(&target), kind.pages([1]));
        target.write(0, 1);
        expect_silence(&uffd);
    }
}

fn truncation_and_holes_keep_marks() {
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        println!("{kind:?}");
        let uffd = uffd_with(0);
        let (target, file) = kind.alone(4);
        let file = file.unwrap();
        kind.populate(&target);
        let target = Write.registered(&uffd, target);
        Write.on(&uffd, &target);
        nix::unistd::ftruncate(&file, PAGE as i64).unwrap();
        nix::unistd::ftruncate(&file, 4 * PAGE as i64).unwrap();
        assert_eq!(protected(&target), [0, 1, 2, 3]);
        let writer = Write.writer(&uffd, kind, &target, (3 * PAGE, 6));
        Write.off(&uffd, &target, 0, target.len());
        assert_eq!(writer.join(), 6);
    }
}

fn dropping_leaves_no_mark_of_rwp() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.guarded(&uffd, kind, 2);
        target.advise(0, kind.unit(), libc::MADV_DONTNEED).unwrap();
        assert_eq!(protected(&target), kind.pages([1]));
        let content = if kind == Kind::Memfd || kind == Kind::HugeMemfd {
            FILL
        } else {
            0
        };
        assert_eq!(target.read(0), content);
        target.write(0, 1);
        expect_silence(&uffd);
        if matches!(kind, Kind::Memfd | Kind::HugeMemfd) {
            target.advise(0, target.len(), libc::MADV_REMOVE).unwrap();
            assert_eq!(protected(&target), NOTHING);
            assert_eq!(target.read(0), 0);
        }
    }
}

fn swapping_keeps_write_protection() {
    swapping(Write);
}

fn swapping_keeps_rwp() {
    swapping(Access);
}

/// Puts protected pages into swap and takes them out again.
fn swapping(against: Against) {
    let _swap = SwapArea::new();
    let kinds = Kind::protectable().into_iter();
    for kind in kinds.filter(|kind| !kind.is_huge()) {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        page_out(&target, 0, target.len());
        let keeps = against == Write || kind != Kind::Memfd;
        if !keeps {
            // The page tables of a shared file know nothing of what is in swap.
            assert_eq!(protected(&target), NOTHING);
            assert_eq!(target.read(0), FILL);
            expect_silence(&uffd);
            continue;
        }
        assert_eq!(protected(&target), kind.pages([0, 1]));
        if against == Write {
            assert_eq!(target.read(0), FILL);
            assert!(entry_at(&target, 0).protected());
        }
        let page = kind.unit();
        for at in [0, page] {
            let writer = against.writer(&uffd, kind, &target, (at, 1));
            against.off(&uffd, &target, at, kind.unit());
            assert_eq!(writer.join(), 1);
        }
        assert_eq!(protected(&target), NOTHING);
        expect_silence(&uffd);
    }
}

fn pages_in_swap_are_protected() {
    in_swap(Write);
}

fn pages_in_swap_are_protected_against_access() {
    in_swap(Access);
}

/// Protects and unprotects what is in swap.
fn in_swap(against: Against) {
    let _swap = SwapArea::new();
    for kind in [Kind::Anon, Kind::PrivateFile] {
        if !Kind::protectable().contains(&kind) {
            continue;
        }
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.registered(&uffd, kind.populated(3));
        page_out(&target, 0, target.len());
        against.on(&uffd, &target);
        assert_eq!(protected(&target), [0, 1, 2]);
        assert!(entry_at(&target, 0).swapped());
        against.off(&uffd, &target, PAGE, PAGE);
        assert!(entry_at(&target, PAGE).swapped());
        assert_eq!(protected(&target), [0, 2]);
        target.write(PAGE, 2);
        expect_silence(&uffd);
        let writer = against.writer(&uffd, kind, &target, (0, 1));
        against.off(&uffd, &target, 0, 3 * PAGE);
        assert_eq!(writer.join(), 1);
        assert_eq!(target.read(2 * PAGE), FILL);
    }
}

fn fork_drops_write_protection() {
    forked(Write);
}

fn fork_drops_rwp() {
    forked(Access);
}

/// Forks without asking for an event: the child is not watched.
fn forked(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 3);
        if !kind.is_anon() {
            // For write protection, a mark.
            target
                .advise(2 * kind.unit(), kind.unit(), libc::MADV_DONTNEED)
                .unwrap();
        }
        let before = protected(&target);
        Child::spawn(|| {
            assert_eq!(protected(&target), NOTHING);
            assert_eq!(target.read(0), FILL);
            (0..3).for_each(|page| target.write(page * kind.unit(), FILL));
            expect_silence(&uffd);
        })
        .expect_success();
        assert_eq!(protected(&target), before);
        let writer = against.writer(&uffd, kind, &target, (0, 2));
        against.off(&uffd, &target, 0, target.len());
        assert_eq!(writer.join(), 2);
    }
}

fn mremap_drops_write_protection() {
    moved(Write);
}

fn mremap_drops_rwp() {
    moved(Access);
}

/// Moves memory without asking for an event: it is not registered any more.
fn moved(against: Against) {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = against.uffd(0);
        let target = against.guarded(&uffd, kind, 2);
        let len = target.len();
        let place = if kind.unit() == PAGE {
            Mapping::lone(2)
        } else {
            Mapping::aligned(2)
        };
        let moved = user::remap(target.start(), len, len, Some(place.start()));
        assert_eq!(moved, Ok(place.start()));
        assert_eq!(protected(&place), NOTHING);
        assert_eq!((place.read(0), place.read(kind.unit())), (FILL, FILL));
        place.fill(kind.unit() - 1, 2, 1);
        expect_silence(&uffd);
        // Somebody else may live at its old place by now.
        Arc::try_unwrap(target).unwrap().leak();
    }
}
