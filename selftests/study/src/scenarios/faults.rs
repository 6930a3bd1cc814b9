// SPDX-License-Identifier: GPL-2.0-only

//! Faults and who answers them.

use crate::stage::{expect_fault, numbered, sleeper, step};
use std::sync::mpsc;
use std::sync::Arc;
use uffd::abi::UFFDIO_REGISTER_MODE_MINOR;
use uffd::Errno;
use uffd_harness::mem::{memfd, Mapping, PAGE};
use uffd_harness::task::{wait_asleep_in, Faulter};
use uffd_harness::{blocking_uffd_with, expect_errno, registered, uffd_with};

pub fn single_fault() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let source = numbered(1);
    step("a thread touches a page that is not there");
    let faulter = sleeper(&uffd, "faulter", &target, 0);
    step("the manager reads its message");
    expect_fault(&uffd, target.start());
    step("and fills the page, which wakes the thread");
    assert_eq!(uffd.copy(target.start(), source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 1);
}

pub fn unread() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    step("a thread touches a page that is not there");
    let faulter = sleeper(&uffd, "faulter", &target, 0);
    step("the manager knew that it would: it fills the page, and there is nothing left to read");
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 0);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

pub fn two_readers() {
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(2), &uffd);
    let (seen, faults) = mpsc::channel();
    step("two threads wait for messages");
    let readers = ["reader-1", "reader-2"].map(|name| {
        let (uffd, seen) = (Arc::clone(&uffd), seen.clone());
        let reader = Faulter::named(name, move || {
            let fault = uffd.read_event().unwrap().pagefault().unwrap();
            seen.send(fault.address).unwrap();
        });
        wait_asleep_in(reader.tid(), libc::SYS_read);
        reader
    });
    step("a fault wakes one of them, the next fault the other");
    let first = sleeper(&uffd, "faulter-1", &target, 0);
    assert_eq!(faults.recv(), Ok(target.page(0)));
    let second = sleeper(&uffd, "faulter-2", &target, 1);
    assert_eq!(faults.recv(), Ok(target.page(1)));
    readers.into_iter().for_each(Faulter::join);
    step("one request answers both");
    assert_eq!(uffd.zeropage(target.start(), 2 * PAGE, 0), Ok(2 * PAGE));
    assert_eq!((first.join(), second.join()), (0, 0));
}

pub fn minor_continue() {
    let file = memfd(1);
    let (target, window) = [(); 2]
        .map(|()| Mapping::file(std::os::fd::AsFd::as_fd(&file), 1))
        .into();
    let uffd = uffd_with(0);
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_MINOR)
        .unwrap();
    step("the manager writes the page through a mapping of its own");
    window.write(0, 7);
    let target = Arc::new(target);
    step("a thread touches it where it is not mapped yet");
    let faulter = sleeper(&uffd, "faulter", &target, 0);
    expect_fault(&uffd, target.start());
    step("the page is right as it is: CONTINUE maps it");
    assert_eq!(uffd.continue_pages(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 7);
}
