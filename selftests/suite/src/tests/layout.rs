// SPDX-License-Identifier: GPL-2.0-only

//! Mappings that change, and mappings of unusual kinds.

use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::process::Child;
use crate::harness::task::Faulter;
use crate::harness::{
    env, expect_errno, registered, release, skip, sleepers, smaps, tests, uffd_with, user,
};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::fs::{self, File};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

tests! {
    unmapping_does_not_wake;
    fault_on_memory_unmapped_meanwhile_is_an_error;
    fault_on_memory_protected_meanwhile_is_an_error;
    hole_in_the_middle;
    mapping_over_a_sleeper;
    moving_away_from_a_sleeper;
    moving_back;
    growing_and_shrinking_in_place;
    dropping_pages_under_a_sleeper;
    protection_of_a_filled_page;
    locked_memory;
    heap;
    stack;
    memory_that_grows_down;
    private_mapping_of_dev_zero;
    secret_memory_is_refused;
    droppable_memory_is_refused;
    device_memory_is_refused;
}

fn unmapping_does_not_wake() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let mut asleep = sleepers(&uffd, &target, 0..3);
    target.unmap(PAGE, PAGE);
    // The fault is still there to be read, about memory that is not.
    assert_eq!(env::fdinfo(&uffd).pending, 3);
    let middle = asleep.remove(1);
    middle.wait_asleep();
    let partial = uffd.zeropage(target.page(1), PAGE, 0).unwrap_err();
    assert_eq!(partial.errno, Errno::ENOENT);
    // By the time it is woken there is something again.
    target.map_over(1);
    target.write(PAGE, 4);
    uffd.wake(target.page(1), PAGE).unwrap();
    assert_eq!(middle.join(), 4);
    release(&uffd, &target, asleep);
}

/// The signal that ends a process whose thread is woken in a fault after the change.
fn fatal_after(change: impl FnOnce(&Mapping)) -> Signal {
    let child = Child::spawn(|| {
        let uffd = uffd_with(0);
        let target = registered(Mapping::anon(1), &uffd);
        let mut asleep = sleepers(&uffd, &target, [0]);
        change(&target);
        uffd.wake(target.start(), PAGE).unwrap();
        asleep.remove(0).join();
    });
    match child.wait() {
        WaitStatus::Signaled(_, signal, _) => signal,
        status => panic!("the child ended with {status:?}"),
    }
}

fn fault_on_memory_unmapped_meanwhile_is_an_error() {
    assert_eq!(fatal_after(|target| target.unmap(0, PAGE)), Signal::SIGSEGV);
}

fn fault_on_memory_protected_meanwhile_is_an_error() {
    let change = |target: &Mapping| target.protect(0, PAGE, libc::PROT_NONE).unwrap();
    assert_eq!(fatal_after(change), Signal::SIGSEGV);
}

fn hole_in_the_middle() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(5), &uffd);
    target.unmap(2 * PAGE, PAGE);
    let asleep = sleepers(&uffd, &target, [1, 3]);
    let source = Mapping::anon(5);
    for page in [1, 3] {
        let partial = uffd
            .copy(target.page(page), source.start(), 2 * PAGE, 0)
            .err();
        // Neither pair of pages is one mapping: the first ends at the hole.
        let expected = (page == 1).then_some(Errno::ENOENT);
        assert_eq!(partial.map(|partial| partial.errno), expected);
    }
    uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    assert!(asleep.into_iter().all(|sleeper| sleeper.join() == 0));
    // Unregistering passes over the hole.
    uffd.unregister(target.start(), target.len()).unwrap();
    assert_eq!(target.read(0), 0);
}

fn mapping_over_a_sleeper() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let mut asleep = sleepers(&uffd, &target, [0]);
    target.map_over(0);
    target.write(0, 8);
    let partial = uffd.zeropage(target.start(), PAGE, 0).unwrap_err();
    assert_eq!(partial.errno, Errno::ENOENT);
    assert_eq!(env::fdinfo(&uffd).total, 1);
    uffd.wake(target.start(), PAGE).unwrap();
    assert_eq!(asleep.remove(0).join(), 8);
}

fn moving_away_from_a_sleeper() {
    let uffd = uffd_with(0);
    let (target, place) = (registered(Mapping::anon(2), &uffd), Mapping::anon(2));
    uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    target.write(PAGE, 3);
    let mut asleep = sleepers(&uffd, &target, [0]);
    let to = user::remap(target.start(), 2 * PAGE, 2 * PAGE, Some(place.start()));
    assert_eq!(to, Ok(place.start()));
    // The sleeper waits at the old address, and the new one is not registered.
    assert_eq!(env::fdinfo(&uffd).total, 1);
    assert_eq!((place.read(0), place.read(PAGE)), (0, 3));
    assert!(!smaps::vmas(place.start(), place.end())[0].has("um"));
    target.map_over(0);
    uffd.wake(target.start(), PAGE).unwrap();
    assert_eq!(asleep.remove(0).join(), 0);
}

fn moving_back() {
    let uffd = uffd_with(0);
    let (target, place) = (registered(Mapping::anon(1), &uffd), Mapping::anon(1));
    let mut asleep = sleepers(&uffd, &target, [0]);
    let (here, there) = (target.start(), place.start());
    user::remap(here, PAGE, PAGE, Some(there)).unwrap();
    user::remap(there, PAGE, PAGE, Some(here)).unwrap();
    // Like new memory: a fault there asks nobody, but the old one is not told.
    asleep[0].wait_asleep();
    assert_eq!(target.read(0), 0);
    uffd.wake(here, PAGE).unwrap();
    assert_eq!(asleep.remove(0).join(), 0);
    uffd.register(here, PAGE, MISSING).unwrap();
}

fn growing_and_shrinking_in_place() {
    let uffd = uffd_with(0);
    let target = Mapping::anon(4);
    target.unmap(2 * PAGE, 2 * PAGE);
    uffd.register(target.start(), 2 * PAGE, MISSING).unwrap();
    let grown = user::remap(target.start(), 2 * PAGE, 4 * PAGE, None);
    assert_eq!(grown, Ok(target.start()));
    let vmas = smaps::vmas(target.start(), target.end());
    let registered: Vec<_> = vmas
        .iter()
        .map(|vma| (vma.start.max(target.start()), vma.has("um")))
        .collect();
    // One mapping before and after: what it has grown by is registered, too.
    assert_eq!(registered, [(target.start(), true)]);
    let target = Arc::new(target);
    let asleep = sleepers(&uffd, &target, [1, 3]);
    let shrunk = user::remap(target.start(), 4 * PAGE, 3 * PAGE, None);
    assert_eq!(shrunk, Ok(target.start()));
    target.map_over(3);
    let kept = smaps::vmas(target.start(), target.page(2) + PAGE);
    assert!(kept.iter().all(|vma| vma.has("um")));
    uffd.wake(target.page(3), PAGE).unwrap();
    release(&uffd, &target, asleep);
}

fn dropping_pages_under_a_sleeper() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let mut asleep = sleepers(&uffd, &target, [0]);
    uffd.read().unwrap();
    for advice in [libc::MADV_DONTNEED, libc::MADV_FREE] {
        target.advise(0, 2 * PAGE, advice).unwrap();
        asleep[0].wait_asleep();
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
    // Filled and dropped before the sleeper has seen it: the fault comes again.
    uffd.zeropage(target.start(), PAGE, UFFDIO_ZEROPAGE_MODE_DONTWAKE)
        .unwrap();
    target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    uffd.wake(target.start(), PAGE).unwrap();
    env::wait_queued(&uffd, 1);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(fault.address, target.start());
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    assert_eq!(asleep.remove(0).join(), 0);
}

fn protection_of_a_filled_page() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 2);
    let asleep = Faulter::write(&target, 0, 9);
    env::wait_queued(&uffd, 1);
    target.protect(0, PAGE, libc::PROT_READ).unwrap();
    // Filling goes by what the memory may become, access by what it is.
    let mode = UFFDIO_COPY_MODE_DONTWAKE;
    uffd.copy(target.start(), source.start(), PAGE, mode)
        .unwrap();
    assert_eq!(target.read(0), 2);
    target.protect(0, PAGE, RW).unwrap();
    uffd.wake(target.start(), PAGE).unwrap();
    assert_eq!(asleep.join(), 9);
}

fn locked_memory() {
    let uffd = uffd_with(0);
    let target = Mapping::anon(2);
    let args = [
        target.start(),
        target.len(),
        libc::MLOCK_ONFAULT.into(),
        0,
        0,
        0,
    ];
    // SAFETY: locking changes no contents.
    unsafe { user::syscall(libc::SYS_mlock2, args) }.unwrap();
    let target = registered(target, &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    assert!(asleep.into_iter().all(|sleeper| sleeper.join() == 0));
    expect_errno(target.advise(0, PAGE, libc::MADV_DONTNEED), Errno::EINVAL);
    let vma = &smaps::vmas(target.start(), target.end())[0];
    assert!(vma.has("um") && vma.has("lo"));
}

/// A fault at an address outside of any mapping of ours, answered with zeroes.
#[track_caller]
fn assert_serves(uffd: &Uffd, address: u64) {
    let faulter = Faulter::spawn(move || user::read_byte(address));
    env::wait_queued(uffd, 1);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    let page = address & !(PAGE - 1);
    assert_eq!(fault.address, page);
    assert_eq!(uffd.zeropage(page, PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 0);
}

fn heap() {
    let uffd = uffd_with(0);
    // SAFETY: the allocator copes with others moving the end, and gets nothing of this.
    let old_end = unsafe { libc::sbrk(4 * PAGE as isize) };
    assert_ne!(old_end.addr(), usize::MAX, "sbrk");
    let start = (old_end.addr() as u64).next_multiple_of(PAGE) + PAGE;
    uffd.register(start, PAGE, MISSING).unwrap();
    assert_serves(&uffd, start + 5);
    uffd.unregister(start, PAGE).unwrap();
}

/// The range of a mapping with a name.
pub(super) fn named(name: &str) -> Option<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(name))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((
        u64::from_str_radix(start, 16).unwrap(),
        u64::from_str_radix(end, 16).unwrap(),
    ))
}

fn stack() {
    let uffd = uffd_with(0);
    let (start, _) = named("[stack]").expect("a stack");
    // The far end, which this thread has not got to.
    uffd.register(start, PAGE, MISSING).unwrap();
    assert_serves(&uffd, start + 5);
    // It grows, and what it grows by is registered as well.
    assert_serves(&uffd, start - 3);
    uffd.unregister(start - PAGE, 2 * PAGE).unwrap();
}

fn memory_that_grows_down() {
    const ROOM: u64 = 8;
    let uffd = uffd_with(0);
    // Below the room lies what cannot be accessed: from that, no distance has to be kept.
    let room = Mapping::anon(2 * ROOM);
    room.protect(0, ROOM * PAGE, libc::PROT_NONE).unwrap();
    room.unmap(ROOM * PAGE, ROOM * PAGE);
    let top = room.page(2 * ROOM - 1);
    let flags = ANON | libc::MAP_FIXED | libc::MAP_GROWSDOWN;
    // SAFETY: the page lies in what was just given up.
    let at = unsafe { libc::mmap(user::pointer(top), PAGE as usize, RW, flags, -1, 0) };
    assert_eq!(at, user::pointer(top));
    uffd.register(top, PAGE, MISSING).unwrap();
    assert_serves(&uffd, top);
    assert_serves(&uffd, top - PAGE);
    // Several pages in one step; the rest of them is missing like any other.
    assert_serves(&uffd, top - 4 * PAGE);
    assert_serves(&uffd, top - 2 * PAGE);
    uffd.unregister(top - 4 * PAGE, 5 * PAGE).unwrap();
}

fn private_mapping_of_dev_zero() {
    // Private anonymous memory in all but one thing: it has a file, which is empty, and filling
    // pages beyond the end of a file fails.
    let uffd = uffd_with(0);
    let zero = File::open("/dev/zero").unwrap();
    let target = Mapping::new(2 * PAGE, RW, libc::MAP_PRIVATE, Some(zero.as_fd()), 0).unwrap();
    let target = registered(target, &uffd);
    let source = Mapping::anon(1);
    let copied = uffd.copy(target.start(), source.start(), PAGE, 0);
    assert_eq!(copied.unwrap_err().errno, Errno::EFAULT);
    let zeroed = uffd.zeropage(target.start(), PAGE, 0);
    assert_eq!(zeroed.unwrap_err().errno, Errno::EFAULT);
    let asleep = sleepers(&uffd, &target, [1]);
    release(&uffd, &target, asleep);
}

#[track_caller]
fn assert_refused(start: u64, len: u64) {
    let uffd = uffd_with(0);
    expect_errno(uffd.register(start, len, MISSING), Errno::EINVAL);
    let source = Mapping::anon(1);
    let filled = uffd.copy(start, source.start(), PAGE, 0);
    assert_eq!(filled.unwrap_err().errno, Errno::ENOENT);
}

fn secret_memory_is_refused() {
    // SAFETY: the call takes an integer.
    let fd = match unsafe { user::syscall(libc::SYS_memfd_secret, [0; 6]) } {
        // SAFETY: the call has just made the descriptor.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
        Err(Errno::ENOSYS) => skip("the kernel has no secret memory"),
        Err(errno) => panic!("memfd_secret: {errno}"),
    };
    nix::unistd::ftruncate(&fd, PAGE as i64).unwrap();
    let target = Mapping::file(fd.as_fd(), 1);
    assert_refused(target.start(), PAGE);
}

fn droppable_memory_is_refused() {
    const MAP_DROPPABLE: i32 = 8;
    match Mapping::new(PAGE, RW, MAP_DROPPABLE | libc::MAP_ANONYMOUS, None, 0) {
        Ok(target) => assert_refused(target.start(), PAGE),
        Err(errno) => skip(&format!("no droppable memory: {errno}")),
    }
}

fn device_memory_is_refused() {
    let Some((start, end)) = named("[vvar]") else {
        skip("there is no vvar");
    };
    assert_refused(start, end - start);
}
