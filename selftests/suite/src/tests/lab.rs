// SPDX-License-Identifier: GPL-2.0-only

//! What the laboratory's defects break (`rust/lab` in the kernel, Documentation/lab.md).
//!
//! Each test brings about the moment that one defect spoils, once. A kernel without it passes. Where a
//! moment is short, the defect holds it open, and these tests only have to be there; so they are quick
//! on a sound kernel.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::{exits, task_info, until, wait_asleep_in, Faulter};
use crate::harness::{
    accounts, blocking_uffd_with, env, registered, sleepers, tests, uffd_raw, uffd_with, Need,
};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    exit_while_the_descriptor_is_closed;
    close_under_a_sleeper;
    close_after_a_fault;
    wake_of_a_thread_that_runs;
    fill_before_the_fault_has_queued_up;
    wake_while_the_message_is_read;
    two_fills_of_one_page;
    unmapping_under_a_sleeper;
    write_after_protection [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP), Need::Cpus(2)];
    exit_before_a_manager_that_does_not_read;
    failed_fills_keep_no_memory;
    protecting_after_a_fill [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_UNMAP)];
    contexts_stay_within_their_bounds;
}

/// Makes the allocator hand out, and look at, objects that were freed before.
fn turn_contexts_over() {
    let kept: Vec<_> = (0..64).map(|_| uffd_raw(0)).collect();
    drop(kept);
}

fn copy(uffd: &Uffd, target: &Mapping, byte: u8) -> Result<(), Errno> {
    let source = Mapping::anon(1);
    source.fill(0, PAGE, byte);
    uffd.copy(target.start(), source.start(), PAGE, 0)
        .map(drop)
        .map_err(|failed| failed.errno)
}

fn exit_while_the_descriptor_is_closed() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let thread = Faulter::spawn(|| ());
    until(|| exits(thread.tid()));
    drop(uffd);
    thread.join();
    turn_contexts_over();
    drop(target);
}

fn close_under_a_sleeper() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    drop(uffd);
    assert!(asleep.into_iter().all(|faulter| faulter.join() == 0));
    turn_contexts_over();
}

fn close_after_a_fault() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    copy(&uffd, &target, 7).unwrap();
    assert!(asleep.into_iter().all(|faulter| faulter.join() == 7));
    drop(uffd);
    turn_contexts_over();
}

fn wake_of_a_thread_that_runs() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let stop = Arc::new(AtomicBool::new(false));
    let (memory, over) = (Arc::clone(&target), Arc::clone(&stop));
    let faulter = Faulter::spawn(move || {
        let value = memory.read(0);
        // What the fault had on the kernel's stack is overwritten, in many ways.
        while !over.load(Ordering::SeqCst) {
            drop(fs::read_to_string("/proc/self/smaps"));
            drop(fs::metadata("/proc/self/exe"));
        }
        value
    });
    let mut ready = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ready, PollTimeout::NONE), Ok(1));
    copy(&uffd, &target, 7).unwrap();
    stop.store(true, Ordering::SeqCst);
    assert_eq!(faulter.join(), 7);
}

fn fill_before_the_fault_has_queued_up() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let faulter = Faulter::read(&target, 0);
    // In the queue, or in front of it.
    faulter.wait_asleep();
    copy(&uffd, &target, 7).unwrap();
    assert_eq!(faulter.join(), 7);
}

fn wake_while_the_message_is_read() {
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    let reader = {
        let uffd = Arc::clone(&uffd);
        Faulter::spawn(move || uffd.read().map(drop))
    };
    // It is done, or still at it.
    let folder = format!("/proc/self/task/{}", reader.tid());
    until(|| reader.is_finished() || task_info(&folder).is_none_or(|info| info.state == 'D'));
    copy(&uffd, &target, 7).unwrap();
    assert!(asleep.into_iter().all(|faulter| faulter.join() == 7));
    assert_eq!(reader.join(), Ok(()));
}

fn two_fills_of_one_page() {
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let other = {
        let (uffd, target) = (Arc::clone(&uffd), Arc::clone(&target));
        Faulter::spawn(move || copy(&uffd, &target, 1))
    };
    let results = [copy(&uffd, &target, 2), other.join()];
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "{results:?}");
}

fn unmapping_under_a_sleeper() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::lone(1), &uffd);
    let faulter = Faulter::read(&target, 0);
    // In the queue, with its lock dropped.
    faulter.wait_asleep();
    target.map_over(0);
    uffd.wake(target.start(), PAGE).unwrap();
    assert_eq!(faulter.join(), 0);
}

fn write_after_protection() {
    let uffd = uffd_with(0);
    let target = Arc::new(Mapping::anon(1));
    target.write(0, 0);
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_WP)
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (memory, over) = (Arc::clone(&target), Arc::clone(&stop));
    let writer = Faulter::spawn(move || {
        for count in 0u64.. {
            memory.write(0, count as u8);
            if over.load(Ordering::SeqCst) {
                break;
            }
        }
    });
    let before = target.read(0);
    until(|| target.read(0) != before);
    uffd.writeprotect(target.start(), PAGE, UFFDIO_WRITEPROTECT_MODE_WP)
        .unwrap();
    let protected = target.read(0);
    let mut ready = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ready, PollTimeout::NONE), Ok(1));
    assert_eq!(target.read(0), protected, "written after it was protected");
    stop.store(true, Ordering::SeqCst);
    uffd.writeprotect(target.start(), PAGE, 0).unwrap();
    writer.join();
}

fn exit_before_a_manager_that_does_not_read() {
    let child = Child::spawn(|| {
        let uffd = uffd_with(0);
        let target = registered(Mapping::anon(1), &uffd);
        std::mem::forget((uffd, target));
    });
    child.expect_success();
}

fn failed_fills_keep_no_memory() {
    const FILLS: u64 = 4096;
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 1);
    uffd.copy(target.start(), source.start(), PAGE, 0).unwrap();
    let before = accounts::free_memory();
    for _ in 0..FILLS {
        let again = uffd.copy(target.start(), source.start(), PAGE, 0);
        assert_eq!(again.map_err(|failed| failed.errno), Err(Errno::EEXIST));
    }
    let lost = before.saturating_sub(accounts::free_memory());
    assert!(lost < FILLS / 2 * PAGE, "{lost} bytes are lost");
}

fn protecting_after_a_fill() {
    let uffd = uffd_with(UFFD_FEATURE_EVENT_UNMAP);
    let target = Arc::new(Mapping::lone(2));
    let modes = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    uffd.register(target.start(), target.len(), modes).unwrap();
    copy(&uffd, &target, 7).unwrap();
    let memory = Arc::clone(&target);
    let changer = Faulter::spawn(move || memory.unmap(PAGE, PAGE));
    wait_asleep_in(changer.tid(), libc::SYS_munmap);
    assert!(matches!(uffd.read_event(), Ok(Event::Unmap { .. })));
    changer.join();
    uffd.writeprotect(target.start(), PAGE, UFFDIO_WRITEPROTECT_MODE_WP)
        .unwrap();
    // Its second page is no longer there to be unmapped.
    drop(uffd);
    std::mem::forget(target);
}

fn contexts_stay_within_their_bounds() {
    let kept: Vec<_> = (0..64).map(|_| uffd_with(0)).collect();
    assert!(kept.iter().all(|uffd| env::fdinfo(uffd).total == 0));
    drop(kept);
    turn_contexts_over();
}
