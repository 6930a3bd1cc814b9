// SPDX-License-Identifier: GPL-2.0-only

//! Arguments that lie partly or wholly in memory that cannot be accessed.
//!
//! Result fields are written and never read, so an argument whose result field cannot be accessed
//! is as good as any until the result is stored: a request that fails before that does not notice,
//! and one that works has done its work although it answers EFAULT.

use crate::harness::env::{fdinfo, wait_queued};
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::need::has_request;
use crate::harness::raw::{Argument, WORD};
use crate::harness::smaps::vmas;
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_with, Need};
use std::os::fd::AsFd;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Errno::{EEXIST, EFAULT, EINVAL};

tests! {
    argument_that_cannot_be_read;
    register_without_a_result_field;
    copy_without_a_result_field;
    copy_without_a_result_field_wakes_nobody;
    zeropage_without_a_result_field;
    continue_without_a_result_field [Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
    poison_without_a_result_field [Need::Feature(UFFD_FEATURE_POISON)];
    move_without_a_result_field [Need::Feature(UFFD_FEATURE_MOVE)];
    read_only_result_field;
}

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

/// Words of an argument by its request.
fn words_of(request: u64) -> u64 {
    (request >> 16 & 0x3fff) / WORD
}

fn argument_that_cannot_be_read() {
    let uffd = uffd_with(0);
    let argument = Argument::new();
    let with_result = [
        UFFDIO_REGISTER,
        UFFDIO_COPY,
        UFFDIO_ZEROPAGE,
        UFFDIO_MOVE,
        UFFDIO_CONTINUE,
        UFFDIO_POISON,
    ];
    let rest = [
        UFFDIO_UNREGISTER,
        UFFDIO_WAKE,
        UFFDIO_WRITEPROTECT,
        UFFDIO_RWPROTECT,
        UFFDIO_SET_MODE,
    ];
    let requests = with_result
        .into_iter()
        .map(|request| (request, 1))
        .chain(rest.map(|request| (request, 0)));
    for (request, outputs) in requests.filter(|&(request, _)| has_request(request)) {
        // All of what is read but its last word, down to nothing.
        for readable in 0..words_of(request) - outputs {
            let words = vec![0; words_of(request) as usize];
            expect_errno(
                argument.call_cut_behind(&uffd, request, &words, readable),
                EFAULT,
            );
        }
        for address in [0, usize::MAX & !7, 0xffff_8000_0000_0000] {
            // SAFETY: these are not addresses of memory that can be accessed.
            expect_errno(unsafe { uffd.ioctl(request, address) }, EFAULT);
        }
    }
}

/// Makes a request whose result field lies in the hole.
fn cut(uffd: &Uffd, request: u64, words: &[u64]) -> Result<i32, Errno> {
    assert_eq!(words.len() as u64 + 1, words_of(request));
    Argument::new().call_cut_behind(uffd, request, words, words.len() as u64)
}

fn register_without_a_result_field() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(1);
    expect_errno(
        cut(&uffd, UFFDIO_REGISTER, &[memory.start(), PAGE, 0]),
        EINVAL,
    );
    assert!(!vmas(memory.start(), memory.end())[0].has("um"));
    expect_errno(
        cut(&uffd, UFFDIO_REGISTER, &[memory.start(), PAGE, MISSING]),
        EFAULT,
    );
    assert!(
        vmas(memory.start(), memory.end())[0].has("um"),
        "it is registered all the same"
    );
}

fn copy_without_a_result_field() {
    let uffd = uffd_with(0);
    let (target, source) = (registered(Mapping::anon(1), &uffd), Mapping::anon(1));
    source.fill(0, PAGE, 7);
    let (to, from) = (target.start(), source.start());
    expect_errno(cut(&uffd, UFFDIO_COPY, &[to, from, PAGE, 4]), EINVAL);
    expect_errno(cut(&uffd, UFFDIO_COPY, &[to + 1, from, PAGE, 0]), EINVAL);
    expect_errno(uffd.read(), Errno::EAGAIN);
    expect_errno(cut(&uffd, UFFDIO_COPY, &[to, from, PAGE, 0]), EFAULT);
    assert_eq!(target.read(0), 7, "it is copied all the same");
    // What went wrong with the memory is to be stored as well, so it cannot be told.
    expect_errno(cut(&uffd, UFFDIO_COPY, &[to, from, PAGE, 0]), EFAULT);
    expect_errno(uffd.copy(to, from, PAGE, 0), EEXIST);
}

fn copy_without_a_result_field_wakes_nobody() {
    let uffd = uffd_with(0);
    let (target, source) = (registered(Mapping::anon(1), &uffd), Mapping::anon(1));
    let faulter = Faulter::read(&target, 0);
    faulter.wait_asleep();
    expect_errno(
        cut(
            &uffd,
            UFFDIO_COPY,
            &[target.start(), source.start(), PAGE, 0],
        ),
        EFAULT,
    );
    wait_queued(&uffd, 1);
    faulter.wait_asleep();
    assert_eq!(fdinfo(&uffd).pending, 1);
    uffd.wake(target.start(), PAGE).unwrap();
    assert_eq!(faulter.join(), 0);
}

/// Tries a request on a range of one page.
fn check_range(uffd: &Uffd, request: u64, start: u64) {
    expect_errno(cut(uffd, request, &[start, PAGE, 4]), EINVAL);
    expect_errno(cut(uffd, request, &[start, 0, 0]), EINVAL);
    expect_errno(cut(uffd, request, &[start, PAGE, 0]), EFAULT);
    // It was done: now there is something in the way.
    let (result, words) = Argument::new().call(uffd, request, &[start, PAGE, 0, 0]);
    expect_errno(result, EEXIST);
    assert_eq!(words[3] as i64, -(EEXIST as i64));
}

fn zeropage_without_a_result_field() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    check_range(&uffd, UFFDIO_ZEROPAGE, target.start());
    assert_eq!(target.read(0), 0);
}

fn continue_without_a_result_field() {
    let uffd = uffd_with(0);
    let file = memfd(1);
    nix::sys::uio::pwrite(&file, &[9], 0).unwrap();
    let target = Mapping::file(file.as_fd(), 1);
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_MINOR)
        .unwrap();
    check_range(&uffd, UFFDIO_CONTINUE, target.start());
    assert_eq!(target.read(0), 9);
}

fn poison_without_a_result_field() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    check_range(&uffd, UFFDIO_POISON, target.start());
}

fn move_without_a_result_field() {
    let uffd = uffd_with(0);
    let (target, source) = (registered(Mapping::anon(1), &uffd), Mapping::anon(1));
    source.fill(0, PAGE, 5);
    let (to, from) = (target.start(), source.start());
    expect_errno(cut(&uffd, UFFDIO_MOVE, &[to, from, PAGE, 4]), EINVAL);
    expect_errno(cut(&uffd, UFFDIO_MOVE, &[to, from, PAGE, 0]), EFAULT);
    assert_eq!(
        (target.read(0), source.read(0)),
        (5, 0),
        "it is moved all the same"
    );
}

fn read_only_result_field() {
    let uffd = uffd_with(0);
    let (target, source, argument) = (
        registered(Mapping::anon(1), &uffd),
        Mapping::anon(1),
        Mapping::anon(1),
    );
    for (word, offset) in [target.start(), source.start(), PAGE, 0, 0]
        .into_iter()
        .zip((0..).step_by(WORD as usize))
    {
        argument.write_bytes(offset, &u64::to_le_bytes(word));
    }
    argument.protect(0, PAGE, libc::PROT_READ).unwrap();
    // SAFETY: the argument lies in a mapping that no reference points into.
    expect_errno(
        unsafe { uffd.ioctl(UFFDIO_COPY, argument.start() as usize) },
        EFAULT,
    );
    expect_errno(uffd.copy(target.start(), source.start(), PAGE, 0), EEXIST);
}
