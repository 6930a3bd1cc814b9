// SPDX-License-Identifier: GPL-2.0-only

//! The protocol of `uffd_pure::events` under loom, sound and with one part missing at a time.
//!
//! Run it with `RUSTFLAGS="--cfg loom" cargo test --release --test loom_events`. What becomes of a
//! payload is counted: it is opened or closed, once.
#![cfg(loom)]

mod common;
mod explore;
#[allow(dead_code, reason = "each of the two tests uses a part")]
mod model;

use explore::{broken, sound};
use loom::thread::{self, JoinHandle};
use model::{Buffer, Child, Context, Defect, Read, Task};

const LOST: &[&str] = &["deadlock"];
const STALE: &[&str] = &["stack is gone", "Causality violation"];
const TWICE: &[&str] = &["payload used twice"];
const LEAKED: &[&str] = &["payload leaked"];
const CHANGING: &[&str] = &["still changing"];

const PAGE: usize = 0x1000;

fn spawn_fork(context: &Context) -> (Task, Child, JoinHandle<()>) {
    let (task, child) = (Task::new(), Child::new());
    let (context, own, payload) = (context.clone(), task.clone(), child.clone());
    let thread = thread::spawn(move || context.fork(payload, &own));
    (task, child, thread)
}

/// Reads until it got so many messages, or was told to stop.
fn spawn_reader(context: &Context, buffer: Buffer, count: usize) -> (Task, JoinHandle<()>) {
    let task = Task::new();
    let (context, own) = (context.clone(), task.clone());
    let thread = thread::spawn(move || {
        for _ in 0..count {
            match context.read(&own, buffer) {
                Read::Message(address) => context.resolve(address),
                Read::Event => {}
                Read::Interrupted | Read::BadBuffer => return,
            }
        }
    });
    (task, thread)
}

fn fork_and_reader(defect: Defect) {
    let context = Context::new(defect);
    let (_, child, fork) = spawn_fork(&context);
    let (_, reader) = spawn_reader(&context, Buffer::Good, 1);
    fork.join().unwrap();
    reader.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

/// A wake-up that has nothing to do with the event comes in between.
fn stray_wake_up(defect: Defect) {
    let context = Context::new(defect);
    let (task, child, fork) = spawn_fork(&context);
    let (_, reader) = spawn_reader(&context, Buffer::Good, 1);
    task.wake();
    fork.join().unwrap();
    reader.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

/// The announcer is on somebody else's wake_q when its event is read.
fn on_another_wake_q(defect: Defect) {
    let context = Context::new(defect);
    let (task, child) = (Task::new(), Child::new());
    assert!(task.queue());
    let fork = {
        let (context, own, payload) = (context.clone(), task.clone(), child.clone());
        thread::spawn(move || context.fork(payload, &own))
    };
    let other = {
        let own = task.clone();
        thread::spawn(move || own.wake_queued())
    };
    let read = context.read(&Task::new(), Buffer::Good);
    assert!(matches!(read, Read::Event));
    fork.join().unwrap();
    other.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

/// The announcer is killed before, while or after its event is read.
fn killed_fork_and_reader(defect: Defect) {
    let context = Context::new(defect);
    let (task, child, fork) = spawn_fork(&context);
    let (reader_task, reader) = spawn_reader(&context, Buffer::Good, 1);
    task.signal();
    fork.join().unwrap();
    reader_task.signal();
    reader.join().unwrap();
    child.assert_gone();
    context.assert_idle();
}

/// The same, and delivery fails.
fn killed_fork_and_bad_buffer(defect: Defect) {
    let context = Context::new(defect);
    let (task, child, fork) = spawn_fork(&context);
    let (reader_task, reader) = spawn_reader(&context, Buffer::Bad, 1);
    task.signal();
    fork.join().unwrap();
    reader_task.signal();
    reader.join().unwrap();
    assert!(!child.assert_gone());
    context.assert_idle();
}

fn two_readers(buffer: Buffer, defect: Defect) {
    let context = Context::new(defect);
    let (bad_task, bad) = spawn_reader(&context, buffer, 1);
    let (good_task, good) = spawn_reader(&context, Buffer::Good, 1);
    let (_, child, fork) = spawn_fork(&context);
    fork.join().unwrap();
    bad_task.signal();
    good_task.signal();
    bad.join().unwrap();
    good.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

/// One reader fails after it took the event; the other one serves it.
fn bad_buffer_and_second_reader(defect: Defect) {
    two_readers(Buffer::Bad, defect);
}

/// One reader fails before it takes the event, though it may be the one that was told.
fn absent_buffer_and_second_reader(defect: Defect) {
    two_readers(Buffer::Absent, defect);
}

fn two_forks_and_a_reader(defect: Defect) {
    let context = Context::new(defect);
    let (_, first, first_fork) = spawn_fork(&context);
    let (_, second, second_fork) = spawn_fork(&context);
    let (_, reader) = spawn_reader(&context, Buffer::Good, 2);
    first_fork.join().unwrap();
    second_fork.join().unwrap();
    reader.join().unwrap();
    assert!(first.assert_gone() && second.assert_gone());
    context.assert_idle();
}

/// Readers that are told of the event may take the fault, which then needs nobody any more.
fn fork_fault_and_two_readers(defect: Defect) {
    let context = Context::new(defect);
    let (_, first) = spawn_reader(&context, Buffer::Good, 1);
    let (_, second) = spawn_reader(&context, Buffer::Good, 1);
    let (_, child, fork) = spawn_fork(&context);
    context.access(PAGE, &Task::new());
    fork.join().unwrap();
    first.join().unwrap();
    second.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

/// A thread that is killed announces while a fault is told of. The readers must not both sleep.
fn killed_fork_fault_and_two_readers(defect: Defect) {
    let context = Context::new(defect);
    let (first_task, first) = spawn_reader(&context, Buffer::Bad, 1);
    let (second_task, second) = spawn_reader(&context, Buffer::Good, 2);
    let (task, child, fork) = spawn_fork(&context);
    task.signal();
    context.access(PAGE, &Task::new());
    fork.join().unwrap();
    first_task.signal();
    second_task.signal();
    first.join().unwrap();
    second.join().unwrap();
    child.assert_gone();
    context.assert_idle();
}

fn release_and_fork(defect: Defect) {
    let context = Context::new(defect);
    let (_, child, fork) = spawn_fork(&context);
    context.release(true);
    fork.join().unwrap();
    assert!(!child.assert_gone());
    context.assert_idle();
}

fn poller_and_fork(defect: Defect) {
    let context = Context::new(defect);
    let (_, child, fork) = spawn_fork(&context);
    assert!(matches!(context.poll_and_read(&Task::new()), Read::Event));
    fork.join().unwrap();
    assert!(child.assert_gone());
    context.assert_idle();
}

sound! {
    fork_and_reader: 4;
    stray_wake_up: 3;
    on_another_wake_q: 3;
    killed_fork_and_reader: 3;
    killed_fork_and_bad_buffer: 3;
    bad_buffer_and_second_reader: 2;
    absent_buffer_and_second_reader: 2;
    two_forks_and_a_reader: 2;
    fork_fault_and_two_readers: 2;
    killed_fork_fault_and_two_readers: 1;
    release_and_fork: 4;
    poller_and_fork: 4;
}

broken! {
    state_set_after_last_look: LateAnnouncerState in fork_and_reader is LOST;
    no_announcer_barrier: NoAnnouncerBarrier in fork_and_reader is LOST;
    no_barrier_for_pollers: NoAnnouncerBarrier in poller_and_fork is LOST;
    done_not_released: DoneRelaxed in fork_and_reader is STALE;
    node_touched_after_done: TouchAfterDone in fork_and_reader is STALE;
    finished_by_address: FinishByAddress in killed_fork_and_reader is STALE;
    put_back_by_address: PutBackByAddress in killed_fork_and_bad_buffer is STALE;
    payload_disposed_of_twice: DisposeTwice in killed_fork_and_reader is TWICE;
    payload_forgotten: ForgetPayload in killed_fork_and_bad_buffer is LEAKED;
    opened_before_the_copy: OpenTooEarly in bad_buffer_and_second_reader is TWICE;
    count_stays_after_a_kill: CountStays in killed_fork_and_reader is CHANGING;
    silent_put_back: SilentEventPutBack in bad_buffer_and_second_reader is LOST;
    silent_refusal: SilentRefusal in absent_buffer_and_second_reader is LOST;
    fault_leaves_without_a_look: LeaveWithoutEvents in fork_fault_and_two_readers is LOST;
    release_without_wake_up: NoEventDrain in release_and_fork is LOST;
    released_after_wake_up: LateReleased in release_and_fork is LOST;
}
