// SPDX-License-Identifier: GPL-2.0-only

//! A copy whose source is missing: the locks are dropped until it is there, and meanwhile
//! anything can happen to the destination.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::{task_info, until, wait_asleep_in, Faulter};
use crate::harness::{env, registered, tests, uffd_with};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

tests! {
    succeeds;
    after_unmapping;
    after_unregistering;
    after_replacement;
    after_protection;
    after_another_fill;
    after_the_source_is_gone;
    killed_while_it_waits;
}

/// What becomes of a copy if the source page is missing itself, and this happens to the
/// destination before the source page is there.
fn copy_meanwhile(change: impl FnOnce(&Uffd, &Mapping)) -> (Result<u64, Partial>, Arc<Mapping>) {
    let (outer, inner) = (Arc::new(uffd_with(0)), uffd_with(0));
    let source = registered(Mapping::anon(1), &inner);
    let target = registered(Mapping::anon(3), &outer);
    let (uffd, to, from) = (Arc::clone(&outer), target.page(1), source.start());
    let copier = Faulter::spawn(move || uffd.copy(to, from, PAGE, 0));
    env::wait_queued(&inner, 1);
    wait_asleep_in(copier.tid(), libc::SYS_ioctl);
    change(&outer, &target);
    let content = Mapping::anon(1);
    content.fill(0, PAGE, 6);
    inner.copy(from, content.start(), PAGE, 0).unwrap();
    (copier.join(), target)
}

fn errno_of(result: Result<u64, Partial>) -> Errno {
    let partial = result.unwrap_err();
    // Nothing was done, so the field holds the error as well.
    assert_eq!(partial.result, -(partial.errno as i64));
    partial.errno
}

fn succeeds() {
    let (result, target) = copy_meanwhile(|_, _| {});
    assert_eq!(result, Ok(PAGE));
    assert_eq!(target.read_bytes(PAGE, PAGE), [6; PAGE as usize]);
    // Split, merged and registered once more, it is still the same kind of memory.
    let (result, target) = copy_meanwhile(|uffd, target| {
        uffd.unregister(target.page(1), PAGE).unwrap();
        uffd.register(target.page(1), PAGE, MISSING).unwrap();
    });
    assert_eq!((result, target.read(PAGE)), (Ok(PAGE), 6));
}

fn after_unmapping() {
    let (result, _) = copy_meanwhile(|_, target| target.unmap(PAGE, PAGE));
    assert_eq!(errno_of(result), Errno::ENOENT);
}

fn after_unregistering() {
    let (result, target) = copy_meanwhile(|uffd, target| {
        uffd.unregister(target.page(1), PAGE).unwrap();
    });
    assert_eq!(errno_of(result), Errno::ENOENT);
    assert_eq!(target.read(PAGE), 0);
}

fn after_replacement() {
    // New memory at the same place is as good if it is registered, whoever has it.
    let (result, target) = copy_meanwhile(|uffd, target| {
        target.map_over(1);
        uffd.register(target.page(1), PAGE, MISSING).unwrap();
    });
    assert_eq!((result, target.read(PAGE)), (Ok(PAGE), 6));
    let other = uffd_with(0);
    let (result, target) = copy_meanwhile(|_, target| {
        target.map_over(1);
        other.register(target.page(1), PAGE, MISSING).unwrap();
    });
    assert_eq!((result, target.read(PAGE)), (Ok(PAGE), 6));
}

fn after_protection() {
    let (result, target) = copy_meanwhile(|_, target| {
        target.protect(PAGE, PAGE, libc::PROT_NONE).unwrap();
    });
    assert_eq!(result, Ok(PAGE));
    target.protect(PAGE, PAGE, libc::PROT_READ).unwrap();
    assert_eq!(target.read(PAGE), 6);
}

fn after_another_fill() {
    let (result, target) = copy_meanwhile(|uffd, target| {
        uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    });
    assert_eq!(errno_of(result), Errno::EEXIST);
    assert_eq!(target.read(PAGE), 0);
}

fn after_the_source_is_gone() {
    let (outer, inner) = (Arc::new(uffd_with(0)), uffd_with(0));
    let source = registered(Mapping::anon(1), &inner);
    let target = registered(Mapping::anon(1), &outer);
    let (uffd, to, from) = (Arc::clone(&outer), target.start(), source.start());
    let copier = Faulter::spawn(move || uffd.copy(to, from, PAGE, 0));
    env::wait_queued(&inner, 1);
    source.unmap(0, PAGE);
    inner.wake(from, PAGE).unwrap();
    assert_eq!(errno_of(copier.join()), Errno::EFAULT);
    assert_eq!(outer.zeropage(to, PAGE, 0), Ok(PAGE));
}

fn killed_while_it_waits() {
    let ready = Mapping::shared(1);
    let child = Child::spawn(|| {
        let (outer, inner) = (uffd_with(0), uffd_with(0));
        let source = registered(Mapping::anon(1), &inner);
        let target = registered(Mapping::anon(1), &outer);
        ready.write(0, 1);
        let _ = outer.copy(target.start(), source.start(), PAGE, 0);
    });
    let folder = format!("/proc/{}", child.pid());
    until(|| ready.read(0) == 1);
    until(|| {
        task_info(&folder)
            .is_some_and(|info| info.state != 'R' && info.syscall == Some(libc::SYS_ioctl))
    });
    let pid = child.pid();
    child.signal(Signal::SIGKILL);
    let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
    assert_eq!(child.wait(), killed);
}
