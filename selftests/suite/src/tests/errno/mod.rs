// SPDX-License-Identifier: GPL-2.0-only

//! Tables of what each request answers to what it is given, and which answer comes first.
//!
//! A filling request that fails a check of its argument leaves the result field alone; one that
//! fails on the memory puts the negated errno there.

pub mod fill;
pub mod range;

use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::raw::{Argument, UNTOUCHED};
use crate::harness::uffd_raw;
use std::os::fd::AsFd;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Errno::EINVAL;

/// Page 1: below what mmap(2) gives anybody.
const UNMAPPED: u64 = PAGE;
/// The first address that no x86-64 program can have, be it with four levels of page tables or five.
const USER_END: u64 = (1 << 56) - PAGE;
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// What a request answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Success; the result field, if there is one, holds this.
    Done(u64),
    /// An errno, and the result field is as before.
    Refused(Errno),
    /// An errno, and the result field holds it negated.
    Failed(Errno),
    /// EAGAIN, and the result field holds the bytes done.
    Partly(u64),
}
use Answer::{Done, Failed, Partly, Refused};

/// What is tried, the words of the argument without the result field, and the answer.
type Table<'a> = &'a [(&'static str, &'a [u64], Answer)];

/// Memory in each state that makes a difference.
struct Scene {
    uffd: Uffd,
    argument: Argument,
    /// Four pages, registered for missing faults; page 2 is there.
    missing: Mapping,
    /// Two pages that are there, not registered.
    plain: Mapping,
    /// Two pages that are not there, not registered, with one that cannot be accessed between.
    hole: Mapping,
}

impl Scene {
    fn new() -> Scene {
        let offered = uffd_raw(0).api(0).unwrap().features;
        let uffd = uffd_raw(libc::O_NONBLOCK);
        uffd.api(offered & UFFD_FEATURE_RWP).unwrap();
        let missing = Mapping::anon(4);
        missing.write(2 * PAGE, 1);
        uffd.register(missing.start(), missing.len(), UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        let plain = Mapping::anon(2);
        plain.fill(0, 2 * PAGE, 1);
        Scene {
            uffd,
            argument: Argument::new(),
            missing,
            plain,
            hole: Mapping::with_hole(),
        }
    }

    /// Two pages that are there, registered for write protection.
    fn protected(&self) -> Mapping {
        let protected = Mapping::anon(2);
        protected.fill(0, 2 * PAGE, 1);
        self.uffd
            .register(protected.start(), protected.len(), UFFDIO_REGISTER_MODE_WP)
            .unwrap();
        protected
    }

    /// Four pages of a file, registered for minor faults; the file has pages 0 and 1, and page 1
    /// is mapped.
    fn minor(&self) -> Mapping {
        let file = memfd(4);
        nix::sys::uio::pwrite(&file, &[1; 2 * PAGE as usize], 0).unwrap();
        let minor = Mapping::file(file.as_fd(), 4);
        // Without reading ahead: page 1 and no other.
        minor.advise(0, minor.len(), libc::MADV_RANDOM).unwrap();
        self.uffd
            .register(minor.start(), minor.len(), UFFDIO_REGISTER_MODE_MINOR)
            .unwrap();
        self.uffd.continue_pages(minor.page(1), PAGE, 0).unwrap();
        minor
    }

    /// Makes the request and compares. `has_result` says that the last word is a result field.
    #[track_caller]
    fn expect(&self, what: &str, request: u64, words: &[u64], has_result: bool, want: Answer) {
        let mut given = words.to_vec();
        given.extend(has_result.then_some(UNTOUCHED));
        let (result, left) = self.argument.call(&self.uffd, request, &given);
        let (errno, field) = match want {
            Done(field) => (None, field),
            Refused(errno) => (Some(errno), UNTOUCHED),
            Failed(errno) => (Some(errno), (errno as u64).wrapping_neg()),
            Partly(bytes) => (Some(Errno::EAGAIN), bytes),
        };
        assert_eq!(result.err(), errno, "{what}: {words:x?}");
        let mut expected = words.to_vec();
        expected.extend(has_result.then_some(field));
        assert_eq!(left, expected, "{what}: what is left of the argument");
    }

    /// Tries every range that cannot be one, with a request built around it.
    #[track_caller]
    fn bad_ranges(
        &self,
        request: u64,
        has_result: bool,
        base: u64,
        words: impl Fn(u64, u64) -> Vec<u64>,
    ) {
        let ranges = [
            ("start not at a page", base + 1, PAGE),
            ("start not at a page by half", base + PAGE / 2, PAGE),
            ("length not of pages", base, PAGE + 1),
            ("length less than a page", base, 1),
            ("no length", base, 0),
            ("start beyond user space", USER_END, PAGE),
            ("end beyond user space", base, USER_END - base + PAGE),
            ("start in the kernel", KERNEL, PAGE),
            ("start at the last page", PAGE.wrapping_neg(), PAGE),
            ("end wraps around", base, PAGE.wrapping_neg()),
            ("end wraps to the start", base, base.wrapping_neg()),
            ("length with the sign bit", base, 1 << 63),
        ];
        for (what, start, len) in ranges {
            self.expect(
                what,
                request,
                &words(start, len),
                has_result,
                Refused(EINVAL),
            );
        }
    }

    /// Tries every mode bit that there is not.
    #[track_caller]
    fn bad_modes(
        &self,
        request: u64,
        has_result: bool,
        known: u64,
        words: impl Fn(u64) -> Vec<u64>,
    ) {
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| known & bit == 0) {
            self.expect(
                "unknown mode",
                request,
                &words(bit),
                has_result,
                Refused(EINVAL),
            );
            self.expect(
                "unknown mode",
                request,
                &words(bit | known),
                has_result,
                Refused(EINVAL),
            );
        }
    }

    /// Tries a row for each line of a table.
    #[track_caller]
    fn table(&self, request: u64, has_result: bool, rows: Table) {
        for (what, words, want) in rows {
            self.expect(what, request, words, has_result, *want);
        }
    }
}
