// SPDX-License-Identifier: GPL-2.0-only

//! Fills that ask for what cannot be, on every kind of memory: each is refused with the errno it
//! has always had, and leaves memory and result field as they were.

use crate::harness::kind::{stamped, Kind, Memory};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::need::has_request;
use crate::harness::raw::{Argument, UNTOUCHED};
use crate::harness::task::Faulter;
use crate::harness::{env, expect_errno, skip, tests, uffd_with, user, Need};
use nix::unistd::pipe;
use std::fs::{read_to_string, File};
use std::os::fd::AsFd;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    ranges_that_cannot_be [Need::Feature(SHMEM)];
    modes_that_cannot_be [Need::Feature(SHMEM)];
    memory_that_is_not_registered [Need::Feature(SHMEM)];
    range_over_two_mappings [Need::Feature(SHMEM)];
    range_over_two_kinds [Need::Feature(SHMEM)];
    range_beyond_the_mapping [Need::Feature(SHMEM)];
    protection_of_what_cannot_have_it [Need::Feature(SHMEM)];
    result_that_cannot_be_stored [Need::Feature(SHMEM)];
    memory_of_the_kernel;
    program_text;
    secret_memory;
}

const SHMEM: u64 = UFFD_FEATURE_MISSING_SHMEM;
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const KINDS: &[Kind] = &[
    Kind::Anon,
    Kind::PrivateFile,
    Kind::SharedAnon,
    Kind::Memfd,
    Kind::HugePrivate,
    Kind::HugeMemfd,
];

/// A request that fills.
#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    /// The modes it knows.
    modes: u64,
    /// The mode for protected pages, if it has one.
    protect: Option<u64>,
}

const REQUESTS: &[Request] = &[
    Request {
        number: UFFDIO_COPY,
        modes: UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP,
        protect: Some(UFFDIO_COPY_MODE_WP),
    },
    Request {
        number: UFFDIO_ZEROPAGE,
        modes: UFFDIO_ZEROPAGE_MODE_DONTWAKE,
        protect: None,
    },
    Request {
        number: UFFDIO_CONTINUE,
        modes: UFFDIO_CONTINUE_MODE_DONTWAKE | UFFDIO_CONTINUE_MODE_WP,
        protect: Some(UFFDIO_CONTINUE_MODE_WP),
    },
    Request {
        number: UFFDIO_POISON,
        modes: UFFDIO_POISON_MODE_DONTWAKE,
        protect: None,
    },
];

impl Request {
    /// Those that the kernel has.
    fn all() -> impl Iterator<Item = Request> {
        let known = REQUESTS.iter().copied();
        known.filter(|request| has_request(request.number))
    }

    /// The words of the argument.
    fn words(self, start: u64, source: u64, len: u64, mode: u64) -> Vec<u64> {
        if self.number == UFFDIO_COPY {
            vec![start, source, len, mode, UNTOUCHED]
        } else {
            vec![start, len, mode, UNTOUCHED]
        }
    }

    /// Makes the request, which must fail and say so in its result field or leave that alone.
    #[track_caller]
    fn fails(self, uffd: &Uffd, words: &[u64], errno: Errno, in_result: bool) {
        let (result, left) = Argument::new().call(uffd, self.number, words);
        let what = format!("{self:x?} {words:x?}");
        assert_eq!(result, Err(errno), "{what}");
        let field = if in_result {
            (errno as u64).wrapping_neg()
        } else {
            UNTOUCHED
        };
        let (last, given) = left.split_last().expect("words");
        assert_eq!(*last, field, "{what}");
        assert_eq!(given, &words[..words.len() - 1], "{what}");
    }
}

/// Registered memory of three pages of each kind, and something to copy.
fn each(mut check: impl FnMut(&Uffd, &Memory, u64)) {
    for kind in Kind::offered(KINDS) {
        let (uffd, memory) = (uffd_with(0), kind.map(3));
        memory.register(&uffd, MISSING);
        let source = stamped(2 * kind.unit(), 1);
        check(&uffd, &memory, source.start());
        // Nothing has come into the memory: it can be filled still.
        if let Some(file) = &memory.file {
            assert_eq!(super::shmem::blocks(file), 0, "{kind:?}");
        }
        for index in 0..3 {
            let copied = uffd.copy(memory.at(index), source.start(), kind.unit(), 0);
            assert_eq!(copied, Ok(kind.unit()), "{kind:?}");
        }
    }
}

fn ranges_that_cannot_be() {
    each(|uffd, memory, source| {
        let (start, unit) = (memory.at(0), memory.unit());
        let ranges = [
            (start + 1, unit),
            (start, unit + 1),
            (start, unit - 1),
            (start, 0),
            (start, PAGE.wrapping_neg()),
            (start, start.wrapping_neg()),
            (PAGE.wrapping_neg(), PAGE),
        ];
        for request in Request::all() {
            for (start, len) in ranges {
                let words = request.words(start, source, len, 0);
                request.fails(uffd, &words, Errno::EINVAL, false);
            }
            if memory.kind.is_huge() {
                // Whole pages, but not whole huge pages: found out with the memory in hand.
                for (start, len) in [(start + PAGE, unit), (start, PAGE), (start, unit + PAGE)] {
                    let words = request.words(start, source, len, 0);
                    request.fails(uffd, &words, Errno::EINVAL, true);
                }
            }
        }
    });
}

fn modes_that_cannot_be() {
    each(|uffd, memory, source| {
        for request in Request::all() {
            let bits = (0..64).map(|bit| 1u64 << bit);
            for mode in bits.filter(|bit| request.modes & bit == 0) {
                for mode in [mode, mode | request.modes] {
                    let words = request.words(memory.at(1), source, memory.unit(), mode);
                    request.fails(uffd, &words, Errno::EINVAL, false);
                }
            }
        }
    });
}

fn memory_that_is_not_registered() {
    each(|uffd, memory, source| {
        let other = memory.kind.map(1);
        for request in Request::all() {
            for len in [memory.unit(), PAGE] {
                let words = request.words(other.start(), source, len, 0);
                request.fails(uffd, &words, Errno::ENOENT, true);
            }
        }
        assert_eq!(other.read(0), 0);
    });
}

fn range_over_two_mappings() {
    each(|uffd, memory, source| {
        let unit = memory.unit();
        memory.protect(unit, unit, libc::PROT_READ).unwrap();
        for request in Request::all() {
            for first in [0, 1] {
                let words = request.words(memory.at(first), source, 2 * unit, 0);
                request.fails(uffd, &words, Errno::ENOENT, true);
            }
        }
    });
}

fn range_over_two_kinds() {
    for kind in [Kind::PrivateFile, Kind::SharedAnon, Kind::Memfd] {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.map_over(1);
        memory.register(&uffd, MISSING);
        let source = stamped(2 * PAGE, 1);
        for request in Request::all() {
            let words = request.words(memory.at(0), source.start(), 2 * PAGE, 0);
            request.fails(&uffd, &words, Errno::ENOENT, true);
        }
        for page in 0..2 {
            let copied = uffd.copy(memory.at(page), source.start(), PAGE, 0);
            assert_eq!(copied, Ok(PAGE), "{kind:?}");
        }
    }
}

fn range_beyond_the_mapping() {
    each(|uffd, memory, source| {
        let unit = memory.unit();
        // Page 2 is registered no more.
        uffd.unregister(memory.at(2), unit).unwrap();
        for request in Request::all() {
            let words = request.words(memory.at(1), source, 2 * unit, 0);
            request.fails(uffd, &words, Errno::ENOENT, true);
        }
        memory.register(uffd, MISSING);
    });
}

fn protection_of_what_cannot_have_it() {
    each(|uffd, memory, source| {
        for request in Request::all() {
            if let Some(mode) = request.protect {
                for len in [memory.unit(), PAGE] {
                    let words = request.words(memory.at(0), source, len, mode);
                    request.fails(uffd, &words, Errno::EINVAL, true);
                }
            }
        }
    });
}

fn result_that_cannot_be_stored() {
    for kind in Kind::offered(KINDS) {
        let (uffd, memory, unit) = (uffd_with(0), kind.map(2), kind.unit());
        memory.register(&uffd, MISSING);
        let source = stamped(unit, 1);
        let (_reader, writer) = pipe().unwrap();
        let start = memory.at(1);
        let caller = Faulter::spawn(move || user::write(writer.as_fd(), start, 1));
        env::wait_queued(&uffd, 1);
        // The job is done, but nobody is woken.
        let words = [start, source.start(), unit, 0, UNTOUCHED];
        let result = Argument::new().call_cut_behind(&uffd, UFFDIO_COPY, &words, 4);
        expect_errno(result, Errno::EFAULT);
        assert_eq!(env::fdinfo(&uffd).total, 1, "{kind:?}");
        assert_eq!(memory.read(unit), 1);
        uffd.wake(start, unit).unwrap();
        assert_eq!(caller.join(), Ok(1), "{kind:?}");
    }
}

/// Fails unless memory can neither be registered nor filled.
#[track_caller]
fn expect_refused(start: u64, len: u64) {
    let (uffd, source) = (uffd_with(0), stamped(PAGE, 1));
    for mode in [MISSING, UFFDIO_REGISTER_MODE_MINOR] {
        expect_errno(uffd.register(start, len, mode), Errno::EINVAL);
    }
    for request in Request::all() {
        let words = request.words(start, source.start(), PAGE, 0);
        request.fails(&uffd, &words, Errno::ENOENT, true);
    }
}

fn memory_of_the_kernel() {
    // Pages without a structure of their own (PFN maps), and pages that are the kernel's.
    let maps = read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| {
        let name = line.split_whitespace().last();
        name.is_some_and(|name| ["[vvar]", "[vdso]"].contains(&name))
    }) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        expect_refused(start, end - start);
        found += 1;
    }
    assert!(found > 0, "a vdso at least: {maps}");
}

fn program_text() {
    let file = File::open("/proc/self/exe").unwrap();
    let flags = libc::MAP_PRIVATE;
    let text = Mapping::new(PAGE, libc::PROT_READ, flags, Some(file.as_fd()), 0).unwrap();
    // The initramfs is a tmpfs where the kernel has one, and then it is memory like any other.
    let uffd = uffd_with(0);
    if uffd.register(text.start(), PAGE, MISSING).is_ok() {
        let source = stamped(PAGE, 1);
        let copied = uffd.copy(text.start(), source.start(), PAGE, 0);
        assert_eq!(copied, Ok(PAGE));
        // The copy is private.
        let mut magic = [0; 4];
        nix::sys::uio::pread(&file, &mut magic, 0).unwrap();
        assert_eq!((text.read(0), &magic), (1, b"\x7fELF"));
        return;
    }
    drop(uffd);
    expect_refused(text.start(), PAGE);
}

fn secret_memory() {
    // SAFETY: integers only.
    let ret = unsafe { user::syscall(libc::SYS_memfd_secret, [0; 6]) };
    let fd = match ret {
        Ok(fd) => fd as i32,
        Err(_) => skip("the kernel has no secret memory"),
    };
    // SAFETY: the call has just made it.
    let file = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    nix::unistd::ftruncate(&file, PAGE as i64).unwrap();
    let memory = Mapping::file(file.as_fd(), 1);
    memory.write(0, 7);
    expect_refused(memory.start(), PAGE);
    assert_eq!(memory.read(0), 7);
}
