// SPDX-License-Identifier: GPL-2.0-only

//! What tracepoints show. Only the Rust implementation has them.

use crate::harness::managed::{next_fault, next_fork, Managed};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::Faulter;
use crate::harness::tracing::{Line, Tracing, EVENTS};
use crate::harness::{
    all_read, expect_errno, registered, release, remover, sleepers, tests, uffd_raw, uffd_with,
    Need,
};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    a_fault_is_shown_from_queue_to_end [TRACEPOINTS];
    nothing_is_shown_when_off [TRACEPOINTS];
    a_wake_shows_whom_it_woke [TRACEPOINTS];
    undelivered_messages_are_unread_again [TRACEPOINTS];
    refused_faults_are_shown [TRACEPOINTS];
    each_resolve_is_shown [TRACEPOINTS, Need::Feature(UFFD_FEATURE_POISON)];
    protection_is_shown [TRACEPOINTS, Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    changes_are_shown_with_what_they_refuse [TRACEPOINTS, Need::Feature(UFFD_FEATURE_EVENT_REMOVE)];
    forks_are_shown [TRACEPOINTS, Need::Feature(UFFD_FEATURE_EVENT_FORK)];
    closing_ends_what_sleeps [TRACEPOINTS];
    copies_without_the_lock_are_shown [TRACEPOINTS];
}

const TRACEPOINTS: Need = Need::Path(EVENTS);

/// A trace, and a descriptor that was made in its sight.
struct Watched {
    tracing: Tracing,
    uffd: Uffd,
    ctx: String,
}

impl Watched {
    #[track_caller]
    fn new(features: u64) -> Watched {
        let tracing = Tracing::on();
        let uffd = uffd_with(features);
        let lines = tracing.lines();
        let made = lines.last().expect("a context was made");
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        assert_eq!(made.name, "uffd_ctx_create");
        assert_eq!(made.thread, nix::unistd::gettid().as_raw());
        assert_eq!(made.field("flags"), format!("{flags:#x}"));
        let ctx = made.field("ctx").to_owned();
        Watched { tracing, uffd, ctx }
    }

    /// What this context was part of.
    fn lines(&self) -> Vec<Line> {
        let mut lines = self.tracing.lines();
        lines.retain(|line| line.field("ctx") == self.ctx);
        lines
    }

    /// Closes the descriptor. Returns what was shown after the context was made.
    fn close(self) -> Vec<Line> {
        drop(self.uffd);
        let mut lines = self.tracing.lines();
        lines.retain(|line| line.field("ctx") == self.ctx);
        assert_eq!(lines.remove(0).name, "uffd_ctx_create");
        lines
    }

    /// A line's text, `ctx` included.
    fn text(&self, name: &str, fields: &str) -> String {
        text(&self.ctx, name, fields)
    }
}

fn text(ctx: &str, name: &str, fields: &str) -> String {
    format!("uffd_{name}: ctx={ctx} {fields}")
        .trim_end()
        .to_owned()
}

/// What one thread did.
fn of_thread(lines: &[Line], thread: i32) -> Vec<String> {
    let mine = lines.iter().filter(|line| line.thread == thread);
    mine.map(Line::text).collect()
}

/// What this thread did.
fn of_this_thread(lines: &[Line]) -> Vec<String> {
    of_thread(lines, nix::unistd::gettid().as_raw())
}

/// The lines of some tracepoints.
fn named<'a>(lines: &'a [Line], names: &[&str]) -> Vec<&'a Line> {
    let named = |line: &&Line| names.contains(&&line.name["uffd_".len()..]);
    lines.iter().filter(named).collect()
}

fn names(lines: &[&Line]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.name["uffd_".len()..].to_owned())
        .collect()
}

/// A page of a byte, to copy from.
fn source(value: u8) -> Mapping {
    let source = Mapping::anon(1);
    source.fill(0, PAGE, value);
    source
}

fn a_fault_is_shown_from_queue_to_end() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(2), uffd);
    let (start, page) = (target.start(), target.page(1));
    let sleeper = sleepers(uffd, &target, [1]).remove(0);
    let tid = sleeper.tid();
    assert_eq!(next_fault(uffd), page);
    assert_eq!(uffd.copy(page, source(7).start(), PAGE, 0), Ok(PAGE));
    assert_eq!(sleeper.join(), 7);
    assert_eq!(uffd.wake(start, 2 * PAGE), Ok(()));
    assert_eq!(uffd.unregister(start, 2 * PAGE), Ok(()));

    let ctx = watched.ctx.clone();
    let text = |name, fields: &str| text(&ctx, name, fields);
    let lines = watched.close();
    let fault = format!("fault=1 address={page:#x}");
    let range = format!("start={start:#x} len=0x2000");
    let one = format!("start={page:#x} len=0x1000");
    let lock = named(&lines, &["lock_drop"])[0].field("what").to_owned();
    assert!(["mmap", "vma"].contains(&lock.as_str()), "{lock}");
    assert_eq!(
        of_thread(&lines, tid),
        [
            text("fault_queue", &format!("{fault} flags=0x0 reason=missing")),
            text("lock_drop", &format!("what={lock} address={page:#x}")),
            text("fault_done", &format!("{fault} how=woken")),
        ]
    );
    assert_eq!(
        of_this_thread(&lines),
        [
            text("register", &format!("{range} modes=0x1 ret=0")),
            text("fault_read", &fault),
            text("resolve", &format!("kind=copy {one} mode=0x0 ret=4096")),
            text("fault_wake", &fault),
            text("wake", &format!("{one} woken=1")),
            text("wake", &format!("{range} woken=0")),
            text("wake", &format!("{range} woken=0")),
            text("unregister", &format!("{range} ret=0")),
            text("ctx_release", ""),
            text("wake", "start=0x0 len=0xffffffffffffffff woken=0"),
            text("ctx_free", ""),
        ]
    );
    let life = ["fault_queue", "fault_read", "fault_wake", "fault_done"];
    assert_eq!(names(&named(&lines, &life)), life);
}

fn nothing_is_shown_when_off() {
    let (off, on) = (Tracing::off(), Tracing::on());
    on.switch(false);
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let sleeper = sleepers(&uffd, &target, [0]).remove(0);
    on.switch(true);
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(sleeper.join(), 0);
    assert_eq!(off.lines(), []);
    // Of a fault that is under way, the rest is shown.
    let seen = on.lines();
    let seen: Vec<_> = seen.iter().map(|line| line.name.as_str()).collect();
    assert!(
        seen.starts_with(&["uffd_resolve", "uffd_fault_wake"]),
        "{seen:?}"
    );
}

fn a_wake_shows_whom_it_woke() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(6), uffd);
    let page = |number| target.page(number);
    let asleep = sleepers(uffd, &target, [4, 1, 2, 1]);
    assert_eq!(
        uffd.zeropage(page(1), 2 * PAGE, UFFDIO_ZEROPAGE_MODE_DONTWAKE),
        Ok(2 * PAGE)
    );
    let before = watched.lines().len();
    assert_eq!(uffd.wake(page(0), 2 * PAGE), Ok(()));
    assert_eq!(uffd.wake(page(2), PAGE), Ok(()));
    let lines = watched.lines().split_off(before);
    let wakes = named(&lines, &["fault_wake", "wake"]);
    let wakes: Vec<_> = wakes.into_iter().map(Line::text).collect();
    let text = |name, fields: String| watched.text(name, &fields);
    assert_eq!(
        wakes,
        [
            text("fault_wake", format!("fault=2 address={:#x}", page(1))),
            text("fault_wake", format!("fault=4 address={:#x}", page(1))),
            text("wake", format!("start={:#x} len=0x2000 woken=2", page(0))),
            text("fault_wake", format!("fault=3 address={:#x}", page(2))),
            text("wake", format!("start={:#x} len=0x1000 woken=1", page(2))),
        ]
    );
    assert_eq!(uffd.unregister(target.start(), target.len()), Ok(()));
    all_read(asleep, 0);
}

/// A reader whose buffer cannot be written.
#[track_caller]
fn read_badly(uffd: &Uffd) {
    let target = Mapping::anon(1);
    target.protect(0, PAGE, libc::PROT_READ).unwrap();
    // SAFETY: the kernel finds out that the mapping cannot be written.
    let read = unsafe {
        libc::read(
            uffd.as_raw_fd(),
            target.start() as *mut libc::c_void,
            size_of::<UffdMsg>(),
        )
    };
    assert_eq!((read, Errno::last()), (-1, Errno::EFAULT));
}

fn undelivered_messages_are_unread_again() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(1), uffd);
    let asleep = sleepers(uffd, &target, [0]);
    read_badly(uffd);
    assert_eq!(next_fault(uffd), target.start());
    let fault = format!("fault=1 address={:#x}", target.start());
    let lines = watched.lines();
    assert_eq!(
        of_this_thread(&lines)[2..],
        ["fault_read", "fault_unread", "fault_read"].map(|name| watched.text(name, &fault))
    );
    release(uffd, &target, asleep);
}

fn refused_faults_are_shown() {
    let tracing = Tracing::on();
    let uffd = uffd_raw(libc::O_NONBLOCK | UFFD_USER_MODE_ONLY as i32);
    uffd.api(0).unwrap();
    let target = registered(Mapping::anon(1), &uffd);
    // An access of the kernel's, to a page that is not there.
    let pipe = nix::unistd::pipe().unwrap();
    // SAFETY: the bytes belong to a mapping that is not referenced.
    let written =
        unsafe { libc::write(pipe.1.as_raw_fd(), target.start() as *const libc::c_void, 1) };
    assert_eq!((written, Errno::last()), (-1, Errno::EFAULT));
    let lines = tracing.lines();
    let refused = named(&lines, &["fault_refused"]);
    assert!(!refused.is_empty());
    for line in refused {
        assert_eq!(line.field("address"), format!("{:#x}", target.start()));
        assert_eq!(line.field("ctx"), lines[0].field("ctx"));
        assert_eq!(line.field("why"), "kernel_mode");
    }
}

fn each_resolve_is_shown() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(4), uffd);
    let source = source(1);
    let page = |number| target.page(number);
    assert_eq!(uffd.zeropage(page(0), PAGE, 0), Ok(PAGE));
    assert_eq!(
        uffd.poison(page(1), PAGE, UFFDIO_POISON_MODE_DONTWAKE),
        Ok(PAGE)
    );
    // One page, then one that is there.
    let partial = uffd.copy(page(3), source.start(), PAGE, 0);
    assert_eq!(partial, Ok(PAGE));
    assert!(uffd.zeropage(page(2), 2 * PAGE, 0).is_err());
    assert!(uffd.zeropage(page(2) + 1, PAGE, 0).is_err());
    assert!(uffd.copy(page(0), source.start(), PAGE, 1 << 9).is_err());
    let lines = watched.lines();
    let shown: Vec<_> = named(&lines, &["resolve", "eagain"])
        .into_iter()
        .map(Line::text)
        .collect();
    let resolve = |kind, start: u64, len: u64, mode: u64, ret: i64| {
        let fields = format!("kind={kind} start={start:#x} len={len:#x} mode={mode:#x} ret={ret}");
        watched.text("resolve", &fields)
    };
    assert_eq!(
        shown,
        [
            resolve("zeropage", page(0), PAGE, 0, 4096),
            resolve("poison", page(1), PAGE, 1, 4096),
            resolve("copy", page(3), PAGE, 0, 4096),
            watched.text("eagain", "kind=zeropage why=partial"),
            resolve("zeropage", page(2), 2 * PAGE, 0, 4096),
            resolve("zeropage", page(2) + 1, PAGE, 0, -22),
            resolve("copy", page(0), PAGE, 1 << 9, -22),
        ]
    );
}

fn protection_is_shown() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = Arc::new(Mapping::anon(1));
    target.write(0, 1);
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_WP)
        .unwrap();
    let mode = UFFDIO_WRITEPROTECT_MODE_WP;
    assert_eq!(uffd.writeprotect(target.start(), PAGE, mode), Ok(()));
    let writer = Faulter::write(&target, 0, 2);
    crate::harness::env::wait_queued(uffd, 1);
    assert_eq!(uffd.writeprotect(target.start(), PAGE, 0), Ok(()));
    assert_eq!(writer.join(), 2);
    let lines = watched.lines();
    let queued = named(&lines, &["fault_queue"])[0];
    assert_eq!(
        (queued.field("flags"), queued.field("reason")),
        ("0x3", "wp")
    );
    let modes: Vec<_> = named(&lines, &["resolve"])
        .into_iter()
        .map(|line| (line.field("kind"), line.field("mode"), line.field("ret")))
        .collect();
    let protect = "writeprotect";
    assert_eq!(modes, [(protect, "0x1", "4096"), (protect, "0x0", "4096")]);
}

fn changes_are_shown_with_what_they_refuse() {
    let watched = Watched::new(UFFD_FEATURE_EVENT_REMOVE);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(2), uffd);
    let changer = remover(&target);
    let tid = changer.tid();
    assert_eq!(
        uffd.zeropage(target.start(), PAGE, 0).unwrap_err().errno,
        Errno::EAGAIN
    );
    read_badly(uffd);
    let (start, end) = (target.page(1), target.end());
    assert_eq!(uffd.read_event(), Ok(Event::Remove { start, end }));
    changer.join();
    let lines = watched.lines();
    let text = |name, fields: &str| watched.text(name, fields);
    assert_eq!(
        of_thread(&lines, tid),
        [
            text("changing", "count=1"),
            text(
                "event_queue",
                &format!("event=1 kind=remove arg0={start:#x} arg1={end:#x} arg2=0x0")
            ),
            text("event_done", "event=1 how=read"),
            text("changing", "count=0"),
        ]
    );
    assert_eq!(
        of_this_thread(&lines)[2..],
        [
            text("eagain", "kind=zeropage why=changing"),
            text(
                "resolve",
                "kind=zeropage start=0x0 len=0x0 mode=0x0 ret=-11"
            ),
            text("event_read", "event=1"),
        ]
    );
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn forks_are_shown() {
    let tracing = Tracing::on();
    let target = Mapping::anon(1);
    let managed = Managed::start(UFFD_FEATURE_EVENT_FORK, &[&target], |_| {
        Child::spawn(|| {}).expect_success();
    });
    let child = next_fork(&managed.uffd);
    drop(child);
    managed.end();
    let lines = tracing.lines();
    let made = named(&lines, &["ctx_create", "ctx_dup"]);
    let (parent, child) = (made[0].field("ctx"), made[1].field("ctx"));
    assert_eq!(names(&made), ["ctx_create", "ctx_dup"]);
    assert_eq!(made[1].field("parent"), parent);
    let queued = named(&lines, &["event_queue"])[0];
    let child_number: u64 = child.parse().unwrap();
    assert_eq!(queued.field("kind"), "fork");
    assert_eq!(queued.field("arg0"), format!("{child_number:#x}"));
    let end = ["ctx_release", "ctx_free"];
    for ctx in [parent, child] {
        let mut ends = named(&lines, &end);
        ends.retain(|line| line.field("ctx") == ctx);
        assert_eq!(names(&ends), end, "context {ctx}");
    }
}

fn closing_ends_what_sleeps() {
    let watched = Watched::new(0);
    let target = registered(Mapping::anon(2), &watched.uffd);
    let asleep = sleepers(&watched.uffd, &target, [0, 1]);
    let tracing = watched.tracing;
    drop(watched.uffd);
    all_read(asleep, 0);
    let lines = tracing.lines();
    let all = "start=0x0 len=0xffffffffffffffff woken=2";
    assert_eq!(
        named(&lines, &["wake"])[0].text(),
        text(&watched.ctx, "wake", all)
    );
    // The last of the three that hold it gives it back.
    assert_eq!(names(&named(&lines, &["ctx_free"])), ["ctx_free"]);
    assert_eq!(lines.last().unwrap().name, "uffd_ctx_free");
    let done = named(&lines, &["fault_done"]);
    assert!(done.len() == 2 && done.iter().all(|line| line.field("how") == "woken"));
}

fn copies_without_the_lock_are_shown() {
    let watched = Watched::new(0);
    let uffd = &watched.uffd;
    let target = registered(Mapping::anon(1), uffd);
    // Nobody has touched it: it has to be faulted in.
    let source = Mapping::anon(1);
    assert_eq!(uffd.copy(target.start(), source.start(), PAGE, 0), Ok(PAGE));
    let lines = watched.lines();
    let dropped = named(&lines, &["lock_drop", "resolve"]);
    assert_eq!(names(&dropped), ["lock_drop", "resolve"]);
    assert_eq!(
        dropped[0].field("address"),
        format!("{:#x}", target.start())
    );
}
