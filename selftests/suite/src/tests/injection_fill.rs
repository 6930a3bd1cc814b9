// SPDX-License-Identifier: GPL-2.0-only

//! Fills of shared memory and huge pages in which an allocation of the kernel fails: each in its
//! turn. Like those of `injection`, these tests are part of the suite where that is possible.

use super::shmem::blocks;
use crate::harness::inject::sweep;
use crate::harness::kind::{expect_stamped, stamp, stamped, Kind, Memory};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::pool::Pool;
use crate::harness::slab::Ledger;
use crate::harness::{tests, uffd_with, Need};
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

tests! {
    copy_into_shared_memory [SHMEM];
    copy_into_private_files [SHMEM];
    zeropage_of_shared_memory [SHMEM];
    continue_of_shared_memory [Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
    poison_of_shared_memory [SHMEM, Need::Feature(UFFD_FEATURE_POISON)];
    copy_into_huge_pages [HUGETLB, Need::Hugetlb(6)];
    staged_copy_into_huge_pages [HUGETLB, Need::Hugetlb(6)];
    continue_of_huge_pages [Need::Feature(UFFD_FEATURE_MINOR_HUGETLBFS), Need::Hugetlb(6)];
    poison_of_huge_pages [HUGETLB, Need::Feature(UFFD_FEATURE_POISON), Need::Hugetlb(6)];
}

const SHMEM: Need = Need::Feature(UFFD_FEATURE_MISSING_SHMEM);
const HUGETLB: Need = Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS);
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const MINOR: u64 = UFFDIO_REGISTER_MODE_MINOR;
/// What mappings are made of.
const MAPPINGS: &[&str] = &["vm_area_struct", "anon_vma", "anon_vma_chain"];
const UNITS: u64 = 2;
const VALUE: u8 = 9;

/// A kind of fill.
struct Fill<'a> {
    kind: Kind,
    mode: u64,
    /// What the memory needs before.
    prepare: &'a dyn Fn(&Memory),
    /// The request, from a page on.
    call: &'a dyn Fn(&Uffd, &Memory, u64) -> Result<u64, Partial>,
    /// Whether the pages come with it.
    takes: bool,
    /// Whether they hold the usual values then.
    stamped: bool,
    /// Whether the request takes faults for its source.
    staged: bool,
}

/// The pages that a request has filled, which may have failed for lack of memory.
#[track_caller]
fn filled(fill: &Fill, result: Result<u64, Partial>, hit: bool) -> u64 {
    let error = match result {
        Ok(bytes) => return bytes / fill.kind.unit(),
        Err(error) => error,
    };
    assert!(hit, "{error} without a cause");
    match error.errno {
        Errno::EAGAIN if error.result > 0 => error.result as u64 / fill.kind.unit(),
        // hugetlb says so when it gets no page: it takes the page table for one.
        Errno::EEXIST if fill.kind.is_huge() => 0,
        // A fault of the kernel's own for which there is no memory.
        Errno::EFAULT if fill.staged => 0,
        Errno::ENOMEM => {
            assert_eq!(error.result, -(Errno::ENOMEM as i64));
            0
        }
        errno => panic!("{errno}"),
    }
}

/// Fails each allocation of the request once: what it says is done is done, the rest is as before.
#[track_caller]
fn check(fill: &Fill) {
    let unit = fill.kind.unit();
    let huge = fill.kind.is_huge();
    let pool = || huge.then(Pool::now);
    let (before, ledger) = (pool(), Ledger::open(MAPPINGS));
    let mut failures = 0;
    sweep(|shot| {
        let (uffd, memory) = (uffd_with(0), fill.kind.map(UNITS));
        (fill.prepare)(&memory);
        memory.register(&uffd, fill.mode);
        let promised = pool();
        let result = shot.fire(|| (fill.call)(&uffd, &memory, 0));
        failures += u32::from(result.is_err());
        let done = filled(fill, result, shot.hit());
        if fill.takes {
            let want = promised.map(|pool| pool.less(done));
            if fill.staged {
                // A promise that cannot be noted again counts as used until the memory goes.
                assert_eq!(pool().map(|pool| pool.free), want.map(|pool| pool.free));
            } else {
                assert_eq!(pool(), want);
            }
            if let Some(file) = &memory.file {
                let pages = if fill.kind.is_shared() { done } else { 0 };
                assert_eq!(blocks(file), pages * unit / PAGE);
            }
        } else {
            assert_eq!(pool(), promised);
        }
        if done < UNITS {
            let rest = (fill.call)(&uffd, &memory, done);
            assert_eq!(rest, Ok((UNITS - done) * unit), "the same call again");
        }
        if fill.stamped {
            expect_stamped(&memory, 0, UNITS * unit, VALUE);
        }
    });
    println!("{failures} failures of {:?}", fill.kind);
    assert_eq!(pool(), before);
    ledger.settle();
}

/// A copy of the rest of a source.
fn copy(source: &Mapping) -> impl Fn(&Uffd, &Memory, u64) -> Result<u64, Partial> + '_ {
    |uffd, memory, first| {
        let (from, len) = (first * memory.unit(), (UNITS - first) * memory.unit());
        uffd.copy(memory.at(first), source.start() + from, len, 0)
    }
}

#[track_caller]
fn check_copy(kind: Kind) {
    let source = stamped(UNITS * kind.unit(), VALUE);
    check(&Fill {
        kind,
        mode: MISSING,
        prepare: &|_| {},
        call: &copy(&source),
        takes: true,
        stamped: true,
        staged: false,
    });
}

fn copy_into_shared_memory() {
    Kind::SHMEM.into_iter().for_each(check_copy);
}

fn copy_into_private_files() {
    check_copy(Kind::PrivateFile);
}

fn zeropage_of_shared_memory() {
    check(&Fill {
        kind: Kind::Memfd,
        mode: MISSING,
        prepare: &|_| {},
        call: &|uffd, memory, first| {
            uffd.zeropage(memory.at(first), (UNITS - first) * memory.unit(), 0)
        },
        takes: true,
        stamped: false,
        staged: false,
    });
}

#[track_caller]
fn check_continue(kind: Kind) {
    check(&Fill {
        kind,
        mode: MINOR,
        prepare: &|memory| stamp(memory.twin(), 0, memory.len(), VALUE),
        call: &|uffd, memory, first| {
            uffd.continue_pages(memory.at(first), (UNITS - first) * memory.unit(), 0)
        },
        takes: false,
        stamped: true,
        staged: false,
    });
}

fn continue_of_shared_memory() {
    check_continue(Kind::Memfd);
}

fn continue_of_huge_pages() {
    check_continue(Kind::HugeMemfd);
}

#[track_caller]
fn check_poison(kind: Kind) {
    check(&Fill {
        kind,
        mode: MISSING,
        prepare: &|_| {},
        call: &|uffd, memory, first| {
            uffd.poison(memory.at(first), (UNITS - first) * memory.unit(), 0)
        },
        takes: false,
        stamped: false,
        staged: false,
    });
}

fn poison_of_shared_memory() {
    check_poison(Kind::Memfd);
    check_poison(Kind::PrivateFile);
}

fn poison_of_huge_pages() {
    check_poison(Kind::HugePrivate);
    check_poison(Kind::HugeMemfd);
}

fn copy_into_huge_pages() {
    Kind::HUGE.into_iter().for_each(check_copy);
}

fn staged_copy_into_huge_pages() {
    // The source is in the page cache but not mapped, so that each page takes two attempts.
    for kind in Kind::HUGE {
        let source = Kind::Memfd.map(UNITS * kind.unit() / PAGE);
        stamp(source.twin(), 0, source.len(), VALUE);
        let drop_source = |_: &Memory| {
            let len = source.len();
            source.advise(0, len, libc::MADV_DONTNEED).unwrap();
        };
        check(&Fill {
            kind,
            mode: MISSING,
            prepare: &drop_source,
            call: &copy(&source),
            takes: true,
            stamped: true,
            staged: true,
        });
    }
}
