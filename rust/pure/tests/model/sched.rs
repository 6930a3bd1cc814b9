// SPDX-License-Identifier: GPL-2.0-only

//! Tasks and wait queues, as far as the protocol needs them.

use std::collections::VecDeque;
use std::rc::Rc;

use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{fence, AtomicBool};
use loom::sync::{Condvar, Mutex};

/// A thread as the scheduler sees it.
#[derive(Clone)]
pub struct Task(Rc<(Mutex<TaskState>, Condvar, OnWakeQ)>);

/// Whether the task stands on some wake_q, anybody's.
type OnWakeQ = AtomicBool;

#[derive(Default)]
struct TaskState {
    blocked: bool,
    signal: bool,
}

impl Task {
    pub fn new() -> Self {
        Self(Rc::new((
            Mutex::default(),
            Condvar::new(),
            AtomicBool::new(false),
        )))
    }

    /// Puts the task on a wake_q. Not if it is on one: then the wake-up is left to that one's
    /// owner.
    pub fn queue(&self) -> bool {
        fence(SeqCst);
        self.0
             .2
            .compare_exchange(false, true, Relaxed, Relaxed)
            .is_ok()
    }

    /// Takes the task off the wake_q and wakes it.
    pub fn wake_queued(&self) {
        self.0 .2.store(false, Relaxed);
        fence(SeqCst);
        self.wake();
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.0 .0.lock().unwrap().blocked = blocked;
    }

    pub(super) fn schedule(&self) {
        let (state, resumed, _) = &*self.0;
        let mut state = state.lock().unwrap();
        while state.blocked && !state.signal {
            state = resumed.wait(state).unwrap();
        }
        state.blocked = false;
    }

    /// Whether the task was blocked, which is what try_to_wake_up() returns.
    pub fn wake(&self) -> bool {
        let (state, resumed, _) = &*self.0;
        let was_blocked = std::mem::take(&mut state.lock().unwrap().blocked);
        if was_blocked {
            resumed.notify_one();
        }
        was_blocked
    }

    pub fn signal(&self) {
        let (state, resumed, _) = &*self.0;
        state.lock().unwrap().signal = true;
        resumed.notify_one();
    }

    pub(super) fn signal_pending(&self) -> bool {
        self.0 .0.lock().unwrap().signal
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Tasks to be woken after a lock: the first one at hand, others on a wake_q.
#[derive(Default)]
pub struct WakeQueue {
    first: Option<Task>,
    others: Vec<Task>,
}

impl WakeQueue {
    pub fn add(&mut self, task: Task) {
        if self.first.is_none() {
            self.first = Some(task);
        } else if task.queue() {
            self.others.push(task);
        }
    }

    pub fn wake(self) {
        if let Some(first) = self.first {
            fence(SeqCst);
            first.wake();
        }
        for task in self.others {
            task.wake_queued();
        }
    }
}

/// The fd's wait queue: exclusive entries for readers, plain ones for pollers.
#[derive(Default)]
pub(super) struct WaitQueue {
    entries: Mutex<Entries>,
    /// Whether anyone waits, for a look without the lock.
    active: AtomicBool,
}

#[derive(Default)]
struct Entries {
    readers: VecDeque<Task>,
    pollers: Vec<Task>,
}

impl WaitQueue {
    pub(super) fn prepare_exclusive(&self, task: &Task) {
        self.change(|entries| entries.readers.push_back(task.clone()));
        task.set_blocked(true);
    }

    pub(super) fn prepare_poller(&self, task: &Task) {
        self.change(|entries| entries.pollers.push(task.clone()));
        task.set_blocked(true);
    }

    pub(super) fn finish(&self, task: &Task) {
        task.set_blocked(false);
        self.change(|entries| {
            entries.readers.retain(|other| !other.is(task));
            entries.pollers.retain(|other| !other.is(task));
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        let mut entries = self.entries.lock().unwrap();
        let result = change(&mut entries);
        let active = !entries.readers.is_empty() || !entries.pollers.is_empty();
        self.active.store(active, Relaxed);
        result
    }

    /// Wakes all pollers and the first reader that is asleep, which leaves the queue by that.
    pub(super) fn wake_up(&self) {
        if !self.active.load(Relaxed) {
            return;
        }
        self.change(|entries| {
            for task in &entries.pollers {
                task.wake();
            }
            if let Some(first) = entries.readers.iter().position(Task::wake) {
                entries.readers.remove(first);
            }
        });
    }
}
