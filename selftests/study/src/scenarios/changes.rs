// SPDX-License-Identifier: GPL-2.0-only

//! Memory that changes while it is managed.

use crate::stage::{expect_fault, numbered, sleeper, step};
use std::sync::Arc;
use uffd::abi::{UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_EVENT_FORK, UFFD_FEATURE_EVENT_REMAP};
use uffd::{Errno, Event};
use uffd_harness::managed::{next_event, next_fork, Managed};
use uffd_harness::mem::{Mapping, PAGE};
use uffd_harness::process::Child;
use uffd_harness::task::{set_name, wait_asleep_in, Faulter};
use uffd_harness::{uffd_with, user};

pub fn fork_event() {
    let (target, source) = (Mapping::anon(1), numbered(2));
    let parent = Managed::start(UFFD_FEATURE_EVENT_FORK, &[&target], |_| {
        set_name(c"parent");
        step("the program forks, and waits until its manager knows");
        let child = Child::spawn(|| {
            set_name(c"child");
            assert_eq!(target.read(0), 2);
        });
        child.expect_success();
        assert_eq!(target.read(0), 1);
    });
    parent.wait_in(libc::SYS_clone);
    step("reading the event brings a descriptor for the child");
    let child = next_fork(&parent.uffd);
    step("the child's fault comes there, the parent's where it always did");
    for (uffd, page) in [(&child, 1), (&parent.uffd, 0)] {
        expect_fault(uffd, target.start());
        let from = source.page(page);
        assert_eq!(uffd.copy(target.start(), from, PAGE, 0), Ok(PAGE));
    }
    parent.end();
}

pub fn mremap_copy() {
    let uffd = uffd_with(UFFD_FEATURE_EVENT_REMAP);
    let (target, place) = (Mapping::anon(1), Mapping::anon(1));
    let (from, to, source) = (target.start(), place.start(), numbered(1));
    let mode = UFFDIO_REGISTER_MODE_MISSING;
    uffd.register(from, PAGE, mode).unwrap();
    // Its memory is going to be somebody else's.
    target.leak();
    step("a thread moves the memory, and waits until the manager knows");
    let mover = Faulter::named("mover", move || user::remap(from, PAGE, PAGE, Some(to)));
    wait_asleep_in(mover.tid(), libc::SYS_mremap);
    step("until then nothing can be filled, wherever it is");
    for address in [from, to] {
        let refused = uffd.copy(address, source.start(), PAGE, 0);
        assert_eq!(refused.map_err(|partial| partial.errno), Err(Errno::EAGAIN));
    }
    step("the manager reads where the memory has gone");
    let moved = Event::Remap {
        from,
        to,
        len: PAGE,
    };
    assert_eq!(next_event(&uffd), moved);
    assert_eq!(mover.join(), Ok(to));
    step("there it works as ever");
    let faulter = sleeper(&uffd, "faulter", &Arc::new(place), 0);
    expect_fault(&uffd, to);
    assert_eq!(uffd.copy(to, source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 1);
}
