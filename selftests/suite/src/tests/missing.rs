// SPDX-License-Identifier: GPL-2.0-only

//! Faults on missing pages: what is reported, who sleeps, and what ends the sleep.

use crate::harness::env::{fdinfo, wait_queued};
use crate::harness::handler::Handler;
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_with, Need};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Pagefault, Uffd};

tests! {
    read_fault_is_reported;
    write_fault_is_reported;
    shared_memory_faults_are_reported [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    private_file_faults_are_reported [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    message_has_no_stray_bytes;
    present_pages_do_not_fault;
    only_the_registered_range_faults;
    dropped_pages_are_missing_again;
    two_faults_on_a_page_give_two_messages;
    wake_without_filling_faults_again;
    unregister_ends_the_sleep;
    unregistered_part_ends_its_sleeps_only;
    close_ends_the_sleep;
    register_again_keeps_the_sleepers;
    many_threads_are_served;
}

fn page_of(value: u8) -> Mapping {
    let mapping = Mapping::anon(1);
    mapping.fill(0, PAGE, value);
    mapping
}

/// The next message, which has to be a page fault.
#[track_caller]
fn next_fault(uffd: &Uffd) -> Pagefault {
    uffd.read_event()
        .expect("a message")
        .pagefault()
        .expect("a page fault")
}

fn check_report(mapping: Mapping, write: bool) {
    let uffd = uffd_with(0);
    let target = registered(mapping, &uffd);
    let source = page_of(0x11);
    let offset = PAGE + 123;
    let faulter = if write {
        Faulter::write(&target, offset, 0x22)
    } else {
        Faulter::read(&target, offset)
    };
    faulter.wait_asleep();
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (1, 1));

    let flags = if write { UFFD_PAGEFAULT_FLAG_WRITE } else { 0 };
    let want = Pagefault {
        flags,
        address: target.page(1),
        ptid: 0,
    };
    assert_eq!(next_fault(&uffd), want);
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 1));
    expect_errno(uffd.read(), Errno::EAGAIN);

    assert_eq!(uffd.copy(target.page(1), source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), if write { 0x22 } else { 0x11 });
    assert_eq!(target.read(offset + 1), 0x11);
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 0));
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn read_fault_is_reported() {
    check_report(Mapping::anon(3), false);
}

fn write_fault_is_reported() {
    check_report(Mapping::anon(3), true);
}

fn shared_memory_faults_are_reported() {
    check_report(Mapping::shared(3), false);
    check_report(Mapping::shared(3), true);
}

fn private_file_faults_are_reported() {
    let file = memfd(3);
    for write in [false, true] {
        let flags = libc::MAP_PRIVATE;
        check_report(
            Mapping::new(
                3 * PAGE,
                crate::harness::mem::RW,
                flags,
                Some(file.as_fd()),
                0,
            )
            .unwrap(),
            write,
        );
    }
    // What was filled stayed private: the file still consists of holes.
    let blocks = nix::sys::stat::fstat(&file).unwrap().st_blocks;
    assert_eq!(blocks, 0);
}

fn message_has_no_stray_bytes() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let faulter = Faulter::write(&target, 5, 1);
    faulter.wait_asleep();
    let msg = uffd.read().unwrap();
    let mut want = [0; 32];
    want[0] = UFFD_EVENT_PAGEFAULT;
    want[8..16].copy_from_slice(&UFFD_PAGEFAULT_FLAG_WRITE.to_le_bytes());
    want[16..24].copy_from_slice(&target.page(0).to_le_bytes());
    assert_eq!(msg.to_bytes(), want);
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    faulter.join();
}

fn present_pages_do_not_fault() {
    let uffd = uffd_with(0);
    let target = Mapping::anon(2);
    target.write(0, 7);
    let target = registered(target, &uffd);
    assert_eq!(target.read(0), 7);
    target.write(1, 8);
    assert_eq!(target.read(1), 8);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn only_the_registered_range_faults() {
    let uffd = uffd_with(0);
    let target = Arc::new(Mapping::anon(3));
    uffd.register(target.page(1), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    assert_eq!(target.read(PAGE - 1), 0);
    target.write(2 * PAGE, 1);
    expect_errno(uffd.read(), Errno::EAGAIN);
    for offset in [PAGE, 2 * PAGE - 1] {
        target.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
        let faulter = Faulter::read(&target, offset);
        faulter.wait_asleep();
        assert_eq!(next_fault(&uffd).address, target.page(1));
        uffd.zeropage(target.page(1), PAGE, 0).unwrap();
        assert_eq!(faulter.join(), 0);
    }
}

fn dropped_pages_are_missing_again() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    for value in 1..=3 {
        let faulter = Faulter::read(&target, 0);
        faulter.wait_asleep();
        assert_eq!(next_fault(&uffd).address, target.page(0));
        uffd.copy(target.page(0), page_of(value).start(), PAGE, 0)
            .unwrap();
        assert_eq!(faulter.join(), value);
        // Nobody asked for events, so this needs no reader.
        target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    }
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn two_faults_on_a_page_give_two_messages() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let first = Faulter::read(&target, 1);
    wait_queued(&uffd, 1);
    let second = Faulter::write(&target, 2, 9);
    wait_queued(&uffd, 2);
    assert_eq!(
        next_fault(&uffd),
        Pagefault {
            flags: 0,
            address: target.page(0),
            ptid: 0
        }
    );
    let write = UFFD_PAGEFAULT_FLAG_WRITE;
    assert_eq!(
        next_fault(&uffd),
        Pagefault {
            flags: write,
            address: target.page(0),
            ptid: 0
        }
    );
    uffd.copy(target.page(0), page_of(4).start(), PAGE, 0)
        .unwrap();
    assert_eq!((first.join(), second.join()), (4, 9));
}

fn wake_without_filling_faults_again() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let faulter = Faulter::read(&target, 0);
    for _ in 0..3 {
        wait_queued(&uffd, 1);
        faulter.wait_asleep();
        assert_eq!(next_fault(&uffd).address, target.page(0));
        uffd.wake(target.page(0), PAGE).unwrap();
        // The fault comes back as a new one.
        crate::harness::task::until(|| fdinfo(&uffd).pending == 1);
        assert!(!faulter.is_finished());
    }
    // Woken before its message was read, the fault comes back too, and only once.
    uffd.wake(target.page(0), PAGE).unwrap();
    wait_queued(&uffd, 1);
    faulter.wait_asleep();
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    assert_eq!(faulter.join(), 0);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn unregister_ends_the_sleep() {
    let uffd = uffd_with(0);
    for read_message in [false, true] {
        let target = registered(Mapping::anon(2), &uffd);
        let faulter = Faulter::write(&target, PAGE, 3);
        faulter.wait_asleep();
        if read_message {
            next_fault(&uffd);
        }
        uffd.unregister(target.start(), target.len()).unwrap();
        assert_eq!(faulter.join(), 3);
        expect_errno(uffd.read(), Errno::EAGAIN);
        assert_eq!(target.read(0), 0);
    }
}

fn unregistered_part_ends_its_sleeps_only() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let gone = Faulter::read(&target, PAGE);
    wait_queued(&uffd, 1);
    let kept = Faulter::read(&target, 2 * PAGE);
    wait_queued(&uffd, 2);
    kept.wait_asleep();
    uffd.unregister(target.page(1), PAGE).unwrap();
    assert_eq!(gone.join(), 0);
    kept.wait_asleep();
    assert_eq!(next_fault(&uffd).address, target.page(2));
    expect_errno(uffd.read(), Errno::EAGAIN);
    uffd.copy(target.page(2), page_of(6).start(), PAGE, 0)
        .unwrap();
    assert_eq!(kept.join(), 6);
}

fn close_ends_the_sleep() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let unread = Faulter::read(&target, 0);
    let read = Faulter::write(&target, PAGE, 1);
    wait_queued(&uffd, 2);
    next_fault(&uffd);
    unread.wait_asleep();
    read.wait_asleep();
    drop(uffd);
    assert_eq!((unread.join(), read.join()), (0, 1));
    assert_eq!(target.read(2 * PAGE), 0);
}

fn register_again_keeps_the_sleepers() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let faulter = Faulter::read(&target, 0);
    faulter.wait_asleep();
    uffd.register(target.start(), target.len(), UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    faulter.wait_asleep();
    assert_eq!(fdinfo(&uffd).pending, 1);
    uffd.copy(target.page(0), page_of(2).start(), PAGE, 0)
        .unwrap();
    assert_eq!(faulter.join(), 2);
}

fn many_threads_are_served() {
    const THREADS: u64 = 8;
    const PAGES: u64 = 256;
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(PAGES), &uffd);
    let start = target.start();
    let value = |page: u64| (page * 7 + 1) as u8;
    let source = Mapping::anon(1);
    let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
        let fault = event.pagefault().expect("a page fault");
        source.fill(0, PAGE, value((fault.address - start) / PAGE));
        match uffd.copy(fault.address, source.start(), PAGE, 0) {
            Ok(PAGE) => {}
            // Another thread's fault on the page came first, and woke this one as well, unless
            // it slept later than that: then it looks again after this.
            Err(failed) => {
                assert_eq!(
                    (failed.errno, failed.result),
                    (Errno::EEXIST, -(Errno::EEXIST as i64))
                );
                uffd.wake(fault.address, PAGE).unwrap();
            }
            Ok(bytes) => panic!("{bytes} bytes of one page"),
        }
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let target = Arc::clone(&target);
            // Every page is wanted by two threads.
            Faulter::spawn(move || {
                for page in (0..PAGES)
                    .filter(|page| page % THREADS == thread || (page + 1) % THREADS == thread)
                {
                    assert_eq!(target.read(page * PAGE + page), value(page), "page {page}");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Faulter::join);
    let seen = handler.stop();
    assert!(seen.len() as u64 >= PAGES);
    assert!(seen
        .iter()
        .all(|event| matches!(event, Event::Pagefault(_))));
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 0));
}
