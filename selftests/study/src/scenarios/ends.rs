// SPDX-License-Identifier: GPL-2.0-only

//! Faults that nobody answers.

use crate::stage::{expect_fault, sleeper, step};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use std::sync::atomic::{AtomicUsize, Ordering};
use uffd_harness::env::fdinfo;
use uffd_harness::managed::{next_fault, Managed};
use uffd_harness::mem::{Mapping, PAGE};
use uffd_harness::task::{exits, set_name, until};
use uffd_harness::{registered, uffd_with};

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

pub fn signal() {
    let handler = SigHandler::Handler(count_signal);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only touches an atomic.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let faulter = sleeper(&uffd, "faulter", &target, 0);
    expect_fault(&uffd, target.start());
    step("a signal: the thread leaves the fault, handles it, and touches the page again");
    faulter.signal(Signal::SIGUSR1);
    expect_fault(&uffd, target.start());
    assert_eq!(SIGNALS.load(Ordering::SeqCst), 1);
    step("now it gets its page");
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 0);
}

pub fn killed_sleeper() {
    let target = Mapping::anon(1);
    let victim = Managed::start(0, &[&target], |_| {
        set_name(c"victim");
        step("a process touches a page that its manager is to fill");
        target.read(0);
    });
    assert_eq!(next_fault(&victim.uffd), target.start());
    step("the manager has read the message, and the process is killed");
    let uffd = victim.kill();
    step("nothing is left of the fault");
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 0));
}

pub fn close_sleepers() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(4), &uffd);
    step("four threads sleep");
    let sleepers: Vec<_> = (0..4)
        .map(|page| sleeper(&uffd, &format!("sleeper-{}", page + 1), &target, page))
        .collect();
    step("two of the messages are read, none is answered");
    expect_fault(&uffd, target.page(0));
    expect_fault(&uffd, target.page(1));
    step("the descriptor is closed: all four go on, with pages of zeroes");
    drop(uffd);
    for sleeper in sleepers {
        assert_eq!(sleeper.join(), 0);
    }
}

pub fn exit_close() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let leaver = sleeper(&uffd, "leaver", &target, 0);
    expect_fault(&uffd, target.start());
    step("the thread gets its page, and ends");
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    until(|| exits(leaver.tid()));
    step("while it ends, the descriptor is closed");
    drop(uffd);
    assert_eq!(leaver.join(), 0);
}
