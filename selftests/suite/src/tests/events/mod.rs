// SPDX-License-Identifier: GPL-2.0-only

//! Memory that changes behind its manager's back: what the manager is told, and who waits.

use crate::harness::managed::{next_fault, next_message, Link, Managed};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::{expect_errno, user, Need};
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use std::fs;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

pub mod end;
pub mod fork;
pub mod fork_fails;
pub mod layout;
pub mod order;
pub mod storm;

const REMAP: u64 = UFFD_FEATURE_EVENT_REMAP;
const REMOVE: u64 = UFFD_FEATURE_EVENT_REMOVE;
const UNMAP: u64 = UFFD_FEATURE_EVENT_UNMAP;
const EVENTS: u64 = REMAP | REMOVE | UNMAP;
const FORK: Need = Need::Feature(UFFD_FEATURE_EVENT_FORK);
/// Contexts are counted.
const CONTEXTS: Need = Need::Path("/sys/kernel/slab/userfaultfd_ctx_cache/objects");

/// A message as bytes: all that has no meaning is zero.
fn message(event: u8, words: [u64; 3]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = event;
    for (word, place) in words.iter().zip(bytes[8..].chunks_mut(8)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Fails unless the next message is this one.
#[track_caller]
fn expect(uffd: &Uffd, event: u8, words: [u64; 3]) {
    assert_eq!(next_message(uffd).to_bytes(), message(event, words));
}

/// Fails if there is anything to read.
#[track_caller]
fn expect_silence(uffd: &Uffd) {
    expect_errno(uffd.read(), Errno::EAGAIN);
}

/// A thread that makes a change, and waits in it.
fn changing<T: Send + 'static>(
    call: i64,
    change: impl FnOnce() -> T + Send + 'static,
) -> Faulter<T> {
    let changer = Faulter::spawn(change);
    wait_asleep_in(changer.tid(), call);
    changer
}

/// A thread that drops pages, and waits in it.
fn removing(target: &Arc<Mapping>, page: u64, pages: u64) -> Faulter<Result<(), Errno>> {
    let target = Arc::clone(target);
    changing(libc::SYS_madvise, move || {
        target.advise(page * PAGE, pages * PAGE, libc::MADV_DONTNEED)
    })
}

/// A thread that moves memory, and waits in it.
fn moving(from: &Mapping, to: &Mapping, flags: i32) -> Faulter<Result<u64, Errno>> {
    let (from, len, to, new_len) = (from.start(), from.len(), to.start(), to.len());
    changing(libc::SYS_mremap, move || {
        remap(from, len, to, new_len, flags)
    })
}

/// mremap(2) to a place.
fn remap(from: u64, len: u64, to: u64, new_len: u64, flags: i32) -> Result<u64, Errno> {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | flags) as u64;
    // SAFETY: the ranges lie in mappings, which no reference points into.
    unsafe { user::syscall(libc::SYS_mremap, [from, len, new_len, flags, to, 0]) }
        .map(|address| address as u64)
}

/// Fills a page with a byte.
#[track_caller]
fn fill(uffd: &Uffd, address: u64, value: u8) {
    let source = Mapping::anon(1);
    source.fill(0, PAGE, value);
    assert_eq!(uffd.copy(address, source.start(), PAGE, 0), Ok(PAGE));
}

/// What becomes of a fill.
fn fill_error(uffd: &Uffd, address: u64) -> Option<Errno> {
    let source = Mapping::anon(1);
    source.write(0, 1);
    let result = uffd.copy(address, source.start(), PAGE, 0);
    result.err().map(|partial| partial.errno)
}

/// Fails unless a fault at the page is told, and served.
#[track_caller]
fn expect_served(uffd: &Uffd, memory: &Arc<Mapping>, page: u64) {
    let faulter = Faulter::read(memory, page * PAGE);
    assert_eq!(next_fault(uffd), memory.page(page));
    fill(uffd, memory.page(page), 9);
    assert_eq!(faulter.join(), 9);
}

/// A program that only has fork to tell of.
#[track_caller]
fn forking(target: &Mapping, body: impl FnOnce(Link)) -> Managed {
    Managed::start(UFFD_FEATURE_EVENT_FORK, &[target], body)
}

/// Forks, and waits for the child to end well.
#[track_caller]
fn fork(body: impl FnOnce()) {
    Child::spawn(body).expect_success();
}

/// Waits for a fault there, and answers it.
#[track_caller]
fn serve(uffd: &Uffd, address: u64, value: u8) {
    assert_eq!(next_fault(uffd), address);
    fill(uffd, address, value);
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Fails unless the process of the descriptor is gone.
#[track_caller]
fn expect_gone(uffd: &Uffd, target: &Mapping) {
    assert_eq!(fill_error(uffd, target.start()), Some(Errno::ESRCH));
}

/// Makes a call while this process can have no more descriptors.
fn without_room<T>(call: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let result = call();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}
