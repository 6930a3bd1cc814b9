// SPDX-License-Identifier: GPL-2.0-only

//! What debugfs counts of contexts. Only the Rust implementation has it.

use super::fill::failed;
use super::shmem::{awaiting, MISSING};
use crate::harness::env::wait_queued;
use crate::harness::kind::Kind;
use crate::harness::managed::{next_fault, next_fork, Managed};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::protect::Against;
use crate::harness::task::Faulter;
use crate::harness::tracing::{Tracing, EVENTS};
use crate::harness::{
    all_read, expect_errno, registered, release, remover, sleepers, tests, uffd_raw, uffd_with,
    user, Need,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    counts_are_exact [FILES];
    protected_writes_are_counted [FILES, Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    minor_faults_are_counted [FILES, Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
    protected_accesses_are_counted [FILES, Need::Feature(UFFD_FEATURE_RWP)];
    fills_are_counted_by_kind [FILES, Need::Feature(UFFD_FEATURE_POISON | UFFD_FEATURE_MOVE)];
    refusals_to_change_mappings_are_counted [FILES, Need::Feature(UFFD_FEATURE_EVENT_REMOVE)];
    a_target_that_changes_meanwhile_is_counted [FILES, Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    refused_faults_are_counted [FILES];
    killed_sleepers_are_counted [FILES];
    times_are_complete [FILES];
    times_need_the_switch_all_the_while [FILES];
    nothing_is_counted_when_off [FILES];
    a_trace_counts_nothing [FILES, Need::Path(EVENTS)];
    a_context_from_before_the_switch_is_counted_from_its_next_call [FILES];
    a_context_is_listed_while_it_lives [FILES];
    a_fork_is_counted_apart [FILES, Need::Feature(UFFD_FEATURE_EVENT_FORK)];
    the_switch_takes_0_and_1 [FILES];
    reading_against_opening_and_closing [FILES];
    the_switch_moves_against_faults [FILES];
}

const FOLDER: &str = "/sys/kernel/debug/userfaultfd";
const FILES: Need = Need::Path("/sys/kernel/debug/userfaultfd/contexts");

fn read(file: &str) -> String {
    fs::read_to_string(format!("{FOLDER}/{file}")).expect(file)
}

fn switch(on: bool) {
    fs::write(format!("{FOLDER}/statistics"), if on { "1" } else { "0" }).expect("statistics");
}

/// Counting is on until this is dropped.
struct Switched;

impl Switched {
    fn on() -> Switched {
        switch(true);
        Switched
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        switch(false);
    }
}

/// The pairs of each line of a file: the first is `ctx`.
fn lines(file: &str) -> Vec<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').expect("a pair");
        (key.to_owned(), value.to_owned())
    };
    let lines: Vec<Vec<_>> = read(file)
        .lines()
        .map(|line| line.split(' ').map(pair).collect())
        .collect();
    assert!(lines.iter().all(|line| line[0].0 == "ctx"));
    lines
}

/// A descriptor that is counted, as the newest one.
struct Counted {
    uffd: Uffd,
    ctx: String,
}

impl Counted {
    #[track_caller]
    fn new(uffd: Uffd) -> Counted {
        let ctx = lines("contexts").pop().expect("a line")[0].1.clone();
        Counted { uffd, ctx }
    }

    #[track_caller]
    fn with(features: u64) -> Counted {
        Counted::new(uffd_with(features))
    }

    /// The lines of a file that are about it.
    fn lines(&self, file: &str) -> Vec<Vec<(String, String)>> {
        let lines = lines(file).into_iter();
        lines.filter(|line| line[0].1 == self.ctx).collect()
    }

    /// Fails unless these are the counts that are not zero.
    #[track_caller]
    fn expect(&self, want: &[(&str, u64)]) {
        let lines = self.lines("contexts");
        assert_eq!(lines.len(), 1);
        let counts: BTreeMap<_, _> = lines[0][1..]
            .iter()
            .map(|(key, value)| (key.as_str(), value.parse::<u64>().expect("number")))
            .filter(|(_, count)| *count != 0)
            .collect();
        assert_eq!(counts, want.iter().copied().collect());
    }

    /// How many times there are from the queue to the reader, and from there to the waker.
    #[track_caller]
    fn times(&self) -> [u64; 2] {
        let lines = self.lines("latency");
        let names: Vec<_> = lines.iter().map(|line| line[1].clone()).collect();
        let name = |what: &str| ("what".to_owned(), what.to_owned());
        assert_eq!(names, [name("queued_read"), name("read_woken")]);
        [0, 1].map(|line| sum(&lines[line][2..]))
    }

    /// Lets a thread read a page, reads the message, fills the page.
    #[track_caller]
    fn serve(&self, target: &Arc<Mapping>, page: u64) {
        let sleeper = Faulter::read(target, page * PAGE);
        wait_queued(&self.uffd, 1);
        assert_eq!(next_fault(&self.uffd), target.page(page));
        assert_eq!(self.uffd.zeropage(target.page(page), PAGE, 0), Ok(PAGE));
        assert_eq!(sleeper.join(), 0);
    }
}

/// The counts of a histogram, whose buckets are powers of two in ascending order.
#[track_caller]
fn sum(buckets: &[(String, String)]) -> u64 {
    let number = |text: &String| text.parse::<u64>().expect("number");
    let bounds: Vec<_> = buckets.iter().map(|(bound, _)| number(bound)).collect();
    assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
    assert!(bounds
        .iter()
        .all(|&bound| bound == 0 || bound.is_power_of_two()));
    let counts: Vec<_> = buckets.iter().map(|(_, count)| number(count)).collect();
    assert!(!counts.contains(&0));
    counts.iter().sum()
}

/// A reader whose buffer cannot be written.
#[track_caller]
fn read_badly(uffd: &Uffd) {
    let hole = Mapping::anon(1);
    hole.protect(0, PAGE, libc::PROT_NONE).unwrap();
    // SAFETY: the kernel finds out that the mapping cannot be written.
    let read = unsafe { libc::read(uffd.as_raw_fd(), user::pointer(hole.start()), 32) };
    assert_eq!((read, Errno::last()), (-1, Errno::EFAULT));
}

/// A page of a byte, to copy from.
fn source() -> Mapping {
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 1);
    source
}

fn counts_are_exact() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    let uffd = &counted.uffd;
    counted.expect(&[]);
    let target = registered(Mapping::anon(4), uffd);
    let asleep = sleepers(uffd, &target, [0, 1, 1]);
    counted.expect(&[("missing", 3), ("sleepers", 3), ("most", 3)]);
    // A reader that cannot take the message, and two that can.
    read_badly(uffd);
    assert_eq!(next_fault(uffd), target.page(0));
    assert_eq!(next_fault(uffd), target.page(1));
    let seen = [("missing", 3), ("most", 3), ("read", 3), ("unread", 1)];
    counted.expect(&[&seen[..], &[("sleepers", 3)]].concat());
    // A fill, a part of a fill, a wake-up of nobody, and a fill of a page that is there.
    assert_eq!(uffd.zeropage(target.page(1), PAGE, 0), Ok(PAGE));
    assert!(uffd.zeropage(target.page(0), 2 * PAGE, 0).is_err());
    assert_eq!(uffd.wake(target.page(2), PAGE), Ok(()));
    assert!(uffd.zeropage(target.page(0), PAGE, 0).is_err());
    all_read(asleep, 0);
    let rest = [("woken", 3), ("wakes", 3), ("zeropage", 2), ("partial", 1)];
    counted.expect(&[&seen[..], &rest].concat());
}

/// A fault on memory that is protected against something, and the request that ended it.
fn protection_is_counted(against: Against, reason: &str, request: &str) {
    let _on = Switched::on();
    let counted = Counted::new(against.uffd(0));
    let uffd = &counted.uffd;
    let target = against.guarded(uffd, Kind::Anon, 2);
    let writer = against.writer(uffd, Kind::Anon, &target, (0, 1));
    against.off(uffd, &target, 0, PAGE);
    assert_eq!(writer.join(), 1);
    let rest = ["most", "read", "woken", "wakes"].map(|key| (key, 1));
    counted.expect(&[&rest[..], &[(reason, 1), (request, 2)]].concat());
}

fn protected_writes_are_counted() {
    protection_is_counted(Against::Write, "wp", "writeprotect");
}

fn protected_accesses_are_counted() {
    protection_is_counted(Against::Access, "rwp", "rwprotect");
}

fn minor_faults_are_counted() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    let uffd = &counted.uffd;
    let memory = Kind::Memfd.map(1);
    memory.twin().fill(0, PAGE, 1);
    memory.register(uffd, UFFDIO_REGISTER_MODE_MINOR);
    let target = &memory.target;
    let sleeper = Faulter::read(target, 0);
    wait_queued(uffd, 1);
    assert_eq!(uffd.continue_pages(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(sleeper.join(), 1);
    let minor = [("minor", 1), ("most", 1), ("woken", 1), ("wakes", 1)];
    counted.expect(&[&minor[..], &[("continue", 1)]].concat());
}

fn fills_are_counted_by_kind() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    let uffd = &counted.uffd;
    let target = registered(Mapping::anon(5), uffd);
    let (source, moved) = (source(), source());
    let copy = |page, mode| uffd.copy(target.page(page), source.start(), PAGE, mode);
    assert_eq!((copy(0, 0), copy(1, 0)), (Ok(PAGE), Ok(PAGE)));
    assert!(copy(1, 0).is_err());
    assert!(copy(2, 1 << 9).is_err());
    assert_eq!(uffd.zeropage(target.page(2), PAGE, 0), Ok(PAGE));
    assert_eq!(uffd.poison(target.page(3), PAGE, 0), Ok(PAGE));
    assert_eq!(
        uffd.move_pages(target.page(4), moved.start(), PAGE, 0),
        Ok(PAGE)
    );
    let kinds = ["zeropage", "poison", "move"].map(|kind| (kind, 1));
    counted.expect(&[&kinds[..], &[("copy", 2), ("wakes", 5)]].concat());
}

fn refusals_to_change_mappings_are_counted() {
    let _on = Switched::on();
    let counted = Counted::with(UFFD_FEATURE_EVENT_REMOVE);
    let uffd = &counted.uffd;
    let target = registered(Mapping::anon(2), uffd);
    let changer = remover(&target);
    for _ in 0..2 {
        let refused = uffd.zeropage(target.start(), PAGE, 0).unwrap_err();
        assert_eq!(refused.errno, Errno::EAGAIN);
    }
    let (start, end) = (target.page(1), target.end());
    assert_eq!(uffd.read_event(), Ok(Event::Remove { start, end }));
    changer.join();
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    counted.expect(&[("changing", 2), ("zeropage", 1), ("wakes", 1)]);
}

fn a_target_that_changes_meanwhile_is_counted() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    let memory = Kind::Memfd.map(2);
    memory.register(&counted.uffd, MISSING);
    let (target, other) = (Arc::clone(&memory.target), uffd_with(0));
    let result = awaiting(&memory, &counted.uffd, 1, move || {
        target.map_over(1);
        other.register(target.page(1), PAGE, MISSING).unwrap();
    });
    assert_eq!(result, Err(failed(Errno::EAGAIN)));
    counted.expect(&[("retry", 1)]);
}

fn refused_faults_are_counted() {
    let _on = Switched::on();
    let uffd = uffd_raw(libc::O_NONBLOCK | UFFD_USER_MODE_ONLY as i32);
    uffd.api(0).unwrap();
    let counted = Counted::new(uffd);
    let target = registered(Mapping::anon(1), &counted.uffd);
    // An access of the kernel's, to a page that is not there. It may try more than once.
    let pipe = nix::unistd::pipe().unwrap();
    // SAFETY: the bytes belong to a mapping that is not referenced.
    let written = unsafe { libc::write(pipe.1.as_raw_fd(), user::pointer(target.start()), 1) };
    assert_eq!((written, Errno::last()), (-1, Errno::EFAULT));
    let line = counted.lines("contexts").remove(0);
    let refused = line.iter().find(|(key, _)| key == "refused").unwrap();
    counted.expect(&[("refused", refused.1.parse().unwrap())]);
    assert_ne!(refused.1, "0");
}

fn killed_sleepers_are_counted() {
    let _on = Switched::on();
    let target = Mapping::anon(1);
    let managed = Managed::start(0, &[&target], |_| {
        target.read(0);
    });
    let ctx = lines("contexts").pop().expect("a line")[0].1.clone();
    wait_queued(&managed.uffd, 1);
    let uffd = managed.kill();
    let counted = Counted { uffd, ctx };
    counted.expect(&[("missing", 1), ("most", 1), ("signal", 1)]);
}

fn times_are_complete() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    let uffd = &counted.uffd;
    let target = registered(Mapping::anon(8), uffd);
    (0..5).for_each(|page| counted.serve(&target, page));
    assert_eq!(counted.times(), [5, 5]);
    // What is unread again waits anew. Nobody reads the second one.
    let asleep = sleepers(uffd, &target, [5, 6]);
    read_badly(uffd);
    assert_eq!(next_fault(uffd), target.page(5));
    release(uffd, &target, asleep);
    assert_eq!(counted.times(), [7, 6]);
}

fn times_need_the_switch_all_the_while() {
    let switched = Switched::on();
    let counted = Counted::with(0);
    let uffd = &counted.uffd;
    let target = registered(Mapping::anon(8), uffd);
    let fill = |page| assert_eq!(uffd.zeropage(target.page(page), PAGE, 0), Ok(PAGE));
    // Queued before it is switched off, read and woken afterwards.
    let asleep = sleepers(uffd, &target, [0, 1, 2]);
    drop(switched);
    assert_eq!(next_fault(uffd), target.page(0));
    fill(0);
    let _on = Switched::on();
    // Read after it was on again; then it is off, and on, before the wake-up.
    assert_eq!(next_fault(uffd), target.page(1));
    switch(false);
    switch(true);
    fill(1);
    // Read and woken while it is on, but not queued.
    assert_eq!(next_fault(uffd), target.page(2));
    fill(2);
    all_read(asleep, 0);
    assert_eq!(counted.times(), [0, 1]);
    counted.serve(&target, 3);
    assert_eq!(counted.times(), [1, 2]);
}

fn nothing_is_counted_when_off() {
    let switched = Switched::on();
    let counted = Counted::with(0);
    let target = registered(Mapping::anon(2), &counted.uffd);
    drop(switched);
    let before = lines("contexts").len();
    let other = uffd_with(0);
    counted.serve(&target, 0);
    expect_errno(other.read(), Errno::EAGAIN);
    assert_eq!(lines("contexts").len(), before);
    counted.expect(&[]);
    // Who sleeps is looked up, not counted.
    let asleep = sleepers(&counted.uffd, &target, [1]);
    counted.expect(&[("sleepers", 1), ("most", 1)]);
    release(&counted.uffd, &target, asleep);
    assert_eq!(counted.times(), [0, 0]);
}

fn a_trace_counts_nothing() {
    let tracing = Tracing::on();
    let before = lines("contexts").len();
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    next_fault(&uffd);
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    all_read(asleep, 0);
    assert!(!tracing.lines().is_empty());
    assert_eq!(lines("contexts").len(), before);
}

fn a_context_from_before_the_switch_is_counted_from_its_next_call() {
    let before = lines("contexts").len();
    let (reader, filler) = (uffd_with(0), uffd_with(0));
    let target = registered(Mapping::anon(2), &reader);
    let other = registered(Mapping::anon(1), &filler);
    let asleep = sleepers(&reader, &target, [0, 1]);
    let _on = Switched::on();
    assert_eq!(lines("contexts").len(), before);
    assert_eq!(next_fault(&reader), target.page(0));
    let counted = Counted::new(reader);
    counted.expect(&[("sleepers", 2), ("most", 2), ("read", 1)]);
    assert_eq!(filler.zeropage(other.start(), PAGE, 0), Ok(PAGE));
    let filler = Counted::new(filler);
    filler.expect(&[("zeropage", 1), ("wakes", 1)]);
    release(&counted.uffd, &target, asleep);
    counted.expect(&[("most", 2), ("read", 1), ("wakes", 1), ("woken", 2)]);
    assert_eq!(counted.times(), [0, 1]);
}

fn a_context_is_listed_while_it_lives() {
    let _on = Switched::on();
    let (one, other) = (Counted::with(0), Counted::with(0));
    let number = |counted: &Counted| counted.ctx.parse::<u64>().unwrap();
    assert!(number(&other) > number(&one));
    let gone = one.ctx.clone();
    drop(one);
    for file in ["contexts", "latency"] {
        assert!(lines(file).iter().all(|line| line[0].1 != gone));
    }
    assert_eq!(other.lines("contexts").len(), 1);
    assert_eq!(other.lines("latency").len(), 2);
}

fn a_fork_is_counted_apart() {
    let _on = Switched::on();
    let target = Mapping::anon(1);
    let managed = Managed::start(UFFD_FEATURE_EVENT_FORK, &[&target], |_| {
        Child::spawn(|| {}).expect_success();
    });
    let forked = Counted::new(next_fork(&managed.uffd));
    let made = lines("contexts").len();
    forked.expect(&[]);
    drop(forked);
    assert_eq!(lines("contexts").len(), made - 1);
    managed.end();
}

fn the_switch_takes_0_and_1() {
    let file = format!("{FOLDER}/statistics");
    for (text, want) in [("1\n", "1\n"), ("1", "1\n"), ("0\n", "0\n"), ("0", "0\n")] {
        fs::write(&file, text).expect("write");
        assert_eq!(read("statistics"), want);
    }
    for text in [
        "2", "yes", "10", "1x", "0x1", " 1", "-1", "\n", "1\n\n", "on\n",
    ] {
        let error = fs::write(&file, text).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{text:?}");
        assert_eq!(read("statistics"), "0\n");
    }
}

/// Has so many threads do it, each with its number, from the same moment on.
fn together(count: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let (body, start) = (Arc::new(body), Arc::new(Barrier::new(count)));
    let spawned = (0..count).map(|number| {
        let (body, start) = (Arc::clone(&body), Arc::clone(&start));
        Faulter::spawn(move || {
            start.wait();
            body(number);
        })
    });
    let threads: Vec<_> = spawned.collect();
    threads.into_iter().for_each(Faulter::join);
}

fn reading_against_opening_and_closing() {
    let _on = Switched::on();
    let before = lines("contexts").len();
    // All of them do a certain number of rounds: nobody waits for anybody to have had enough.
    together(4, |number| match number {
        0 => (0..100).for_each(|_| drop(lines("contexts"))),
        1 => (0..100).for_each(|_| drop(lines("latency"))),
        _ => (0..40).for_each(|_| {
            let some = [uffd_with(0), uffd_with(0)];
            let target = registered(Mapping::anon(1), &some[0]);
            let sleeper = Faulter::read(&target, 0);
            wait_queued(&some[0], 1);
            assert_eq!(next_fault(&some[0]), target.start());
            // The last reference may be the sleeper's.
            drop(some);
            assert_eq!(sleeper.join(), 0);
        }),
    });
    assert_eq!(lines("contexts").len(), before);
}

fn the_switch_moves_against_faults() {
    let _on = Switched::on();
    let counted = Counted::with(0);
    together(2, move |number| match number {
        0 => (0..60).for_each(|round| switch(round % 2 == 1)),
        _ => {
            let target = registered(Mapping::anon(60), &counted.uffd);
            (0..60).for_each(|page| counted.serve(&target, page));
            assert!(counted.times().into_iter().all(|times| times <= 60));
        }
    });
}
