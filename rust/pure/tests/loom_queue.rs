// SPDX-License-Identifier: GPL-2.0-only

//! The protocol of `uffd_pure::wait` under loom, sound and with one part missing at a time.
//!
//! Run it with `RUSTFLAGS="--cfg loom" cargo test --release --test loom_queue`. A lost wake-up is a
//! deadlock, which loom reports; a touched stack is an assertion or a causality violation.
#![cfg(loom)]

mod common;
mod explore;
#[allow(dead_code, reason = "each of the two tests uses a part")]
mod model;

use explore::{broken, sound};
use loom::thread;
use model::{Buffer, Context, Defect, Read, Task};

const LOST: &[&str] = &["deadlock"];
const TWICE: &[&str] = &["queued twice"];
const STALE: &[&str] = &["stack is gone", "Causality violation"];

const PAGE: usize = 0x1000;

fn spawn_sleeper(context: &Context, page: usize) -> (Task, thread::JoinHandle<()>) {
    let task = Task::new();
    let (context, own) = (context.clone(), task.clone());
    let thread = thread::spawn(move || context.access(page, &own));
    (task, thread)
}

fn spawn_reader(context: &Context, buffer: Buffer) -> (Task, thread::JoinHandle<()>) {
    let task = Task::new();
    let (context, own) = (context.clone(), task.clone());
    let thread = thread::spawn(move || {
        if let Read::Message(address) = context.read(&own, buffer) {
            context.resolve(address);
        }
    });
    (task, thread)
}

fn sleeper_and_waker(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    context.resolve(PAGE);
    sleeper.join().unwrap();
    context.assert_idle();
}

fn stale_wake_up(defect: Defect) {
    let context = Context::new(defect);
    let (task, sleeper) = spawn_sleeper(&context, PAGE);
    // A waker that comes late with the wake-up for an earlier fault of the thread.
    task.wake();
    context.resolve(PAGE);
    sleeper.join().unwrap();
    assert!(context.faults() <= 1, "queued twice");
    context.assert_idle();
}

/// A thread is on somebody else's wake_q while it faults. Woken after another one, it would go on
/// the waker's.
fn on_another_wake_q(defect: Defect) {
    let context = Context::new(defect);
    let (_, first) = spawn_sleeper(&context, PAGE);
    let task = Task::new();
    assert!(task.queue());
    let sleeper = {
        let (context, own) = (context.clone(), task.clone());
        thread::spawn(move || context.access(PAGE, &own))
    };
    let other = {
        let own = task.clone();
        thread::spawn(move || own.wake_queued())
    };
    context.resolve(PAGE);
    first.join().unwrap();
    sleeper.join().unwrap();
    other.join().unwrap();
    context.assert_idle();
}

fn two_sleepers_on_a_page(defect: Defect) {
    let context = Context::new(defect);
    let (_, first) = spawn_sleeper(&context, PAGE);
    let (_, second) = spawn_sleeper(&context, PAGE);
    context.resolve(PAGE);
    first.join().unwrap();
    second.join().unwrap();
    context.assert_idle();
}

fn neighbour_stays_asleep(defect: Defect) {
    let context = Context::new(defect);
    let (_, near) = spawn_sleeper(&context, PAGE);
    let (_, far) = spawn_sleeper(&context, 2 * PAGE);
    context.resolve(PAGE);
    near.join().unwrap();
    context.resolve(2 * PAGE);
    far.join().unwrap();
    context.assert_idle();
}

fn killed_sleeper_and_waker(defect: Defect) {
    let context = Context::new(defect);
    let (task, sleeper) = spawn_sleeper(&context, PAGE);
    let waker = {
        let context = context.clone();
        thread::spawn(move || context.resolve(PAGE))
    };
    task.signal();
    sleeper.join().unwrap();
    waker.join().unwrap();
    context.assert_idle();
}

fn reader_and_sleeper(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    let (_, reader) = spawn_reader(&context, Buffer::Good);
    sleeper.join().unwrap();
    reader.join().unwrap();
    context.assert_idle();
}

fn reader_waker_and_sleeper(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    let (reader_task, reader) = spawn_reader(&context, Buffer::Good);
    context.resolve(PAGE);
    sleeper.join().unwrap();
    reader_task.signal();
    reader.join().unwrap();
    context.assert_idle();
}

fn poller_and_sleeper(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    if let Read::Message(address) = context.poll_and_read(&Task::new()) {
        context.resolve(address);
    }
    sleeper.join().unwrap();
    context.assert_idle();
}

fn two_readers_and_two_sleepers(defect: Defect) {
    let context = Context::new(defect);
    let (_, first_reader) = spawn_reader(&context, Buffer::Good);
    let (_, second_reader) = spawn_reader(&context, Buffer::Good);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    context.access(2 * PAGE, &Task::new());
    sleeper.join().unwrap();
    first_reader.join().unwrap();
    second_reader.join().unwrap();
    context.assert_idle();
}

/// Whoever of the two readers is left over when the fault has been served is signalled away.
fn signalled_reader(defect: Defect) {
    let context = Context::new(defect);
    let (first_task, first) = spawn_reader(&context, Buffer::Good);
    let (second_task, second) = spawn_reader(&context, Buffer::Good);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    first_task.signal();
    sleeper.join().unwrap();
    second_task.signal();
    first.join().unwrap();
    second.join().unwrap();
    context.assert_idle();
}

fn bad_buffer_and_second_reader(defect: Defect) {
    let context = Context::new(defect);
    let (bad_task, bad) = spawn_reader(&context, Buffer::Bad);
    let (good_task, good) = spawn_reader(&context, Buffer::Good);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    sleeper.join().unwrap();
    bad_task.signal();
    good_task.signal();
    bad.join().unwrap();
    good.join().unwrap();
    context.assert_idle();
}

/// The good reader serves both faults, whatever the bad one takes and puts back.
fn bad_buffer_and_two_sleepers(defect: Defect) {
    let context = Context::new(defect);
    let (bad_task, bad) = spawn_reader(&context, Buffer::Bad);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    let (_, other_sleeper) = spawn_sleeper(&context, 2 * PAGE);
    let task = Task::new();
    for _ in 0..2 {
        if let Read::Message(address) = context.read(&task, Buffer::Good) {
            context.resolve(address);
        }
    }
    sleeper.join().unwrap();
    other_sleeper.join().unwrap();
    bad_task.signal();
    bad.join().unwrap();
    context.assert_idle();
}

fn bad_buffer_and_waker(defect: Defect) {
    let context = Context::new(defect);
    let (bad_task, bad) = spawn_reader(&context, Buffer::Bad);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    context.resolve(PAGE);
    sleeper.join().unwrap();
    bad_task.signal();
    bad.join().unwrap();
    context.assert_idle();
}

fn release(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    context.release(true);
    sleeper.join().unwrap();
    context.assert_idle();
}

/// The address space is on its way out, so release can't take its lock.
fn release_without_mmap_lock(defect: Defect) {
    let context = Context::new(defect);
    let (_, sleeper) = spawn_sleeper(&context, PAGE);
    context.release(false);
    sleeper.join().unwrap();
    context.assert_idle();
}

sound! {
    sleeper_and_waker: 4;
    stale_wake_up: 4;
    on_another_wake_q: 3;
    two_sleepers_on_a_page: 3;
    neighbour_stays_asleep: 3;
    killed_sleeper_and_waker: 3;
    reader_and_sleeper: 4;
    reader_waker_and_sleeper: 3;
    poller_and_sleeper: 4;
    two_readers_and_two_sleepers: 2;
    signalled_reader: 3;
    bad_buffer_and_second_reader: 3;
    bad_buffer_and_two_sleepers: 2;
    bad_buffer_and_waker: 3;
    release: 4;
    release_without_mmap_lock: 4;
}

broken! {
    no_recheck: NoRecheck in sleeper_and_waker is LOST;
    state_set_after_recheck: LateState in sleeper_and_waker is LOST;
    no_sleeper_barrier: NoSleeperBarrier in sleeper_and_waker is LOST;
    wake_up_of_another_fault: SingleSchedule in stale_wake_up is TWICE;
    queued_before_woken: QueueBeforeWoken in on_another_wake_q is LOST;
    no_waker_barrier: NoWakerBarrier in sleeper_and_waker is LOST;
    node_touched_after_woken: TouchAfterWoken in sleeper_and_waker is STALE;
    woken_before_unlink: WokenBeforeUnlink in sleeper_and_waker is STALE;
    woken_not_released: WokenRelaxed in sleeper_and_waker is STALE;
    sleeper_leaves_queued: LeaveQueued in killed_sleeper_and_waker is STALE;
    no_reader_recheck: NoReaderRecheck in reader_and_sleeper is LOST;
    no_reader_barrier: NoReaderBarrier in reader_and_sleeper is LOST;
    no_poller_barrier: NoReaderBarrier in poller_and_sleeper is LOST;
    no_poller_recheck: NoReaderRecheck in poller_and_sleeper is LOST;
    reader_not_woken: NoReaderWake in reader_and_sleeper is LOST;
    signalled_reader_swallows: SignalSwallows in signalled_reader is LOST;
    wake_only_for_own_message: FrugalWake in two_readers_and_two_sleepers is LOST;
    silent_leave: SilentLeave in two_readers_and_two_sleepers is LOST;
    silent_put_back: SilentPutBack in bad_buffer_and_second_reader is LOST;
    message_dropped: NoPutBack in bad_buffer_and_second_reader is LOST;
    blind_put_back: BlindPutBack in bad_buffer_and_waker is STALE;
    release_without_drain: NoDrain in release is LOST;
    released_after_drain: LateReleased in release_without_mmap_lock is LOST;
}
