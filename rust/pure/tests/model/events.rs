// SPDX-License-Identifier: GPL-2.0-only

//! Announcers, and readers of what they have to say.
//!
//! Every payload is a fork's. It counts what becomes of it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{fence, AtomicUsize};
use loom::sync::Mutex;

use uffd_pure::events::Slot;
use uffd_pure::wait::Numbers;

use super::{Buffer, Context, Defect, Node, Read, Task, WakeQueue};

/// The child's userfaultfd, and how often it was opened and closed. The protocol moves it; only
/// defects make copies.
#[derive(Clone)]
pub struct Child(Rc<Ends>);

#[derive(Default)]
struct Ends {
    opened: Cell<u32>,
    closed: Cell<u32>,
}

impl Child {
    pub fn new() -> Self {
        Self(Rc::default())
    }

    fn open(self) {
        self.0.opened.set(self.0.opened.get() + 1);
    }

    fn close(self) {
        self.0.closed.set(self.0.closed.get() + 1);
    }

    /// Checks that it went one way, once; tells which: whether it was opened.
    pub fn assert_gone(&self) -> bool {
        let (opened, closed) = (self.0.opened.get(), self.0.closed.get());
        assert!(opened + closed < 2, "payload used twice");
        assert!(opened + closed > 0, "payload leaked");
        opened == 1
    }
}

/// The line of a context, and the count of changes.
pub(super) struct Announcements {
    line: Mutex<Announcers>,
    unread: AtomicUsize,
    changes: AtomicUsize,
}

struct Announcers {
    waiting: VecDeque<(u64, Rc<Node>, Slot<Child>)>,
    numbers: Numbers,
}

impl Announcements {
    pub(super) fn new() -> Self {
        Self {
            line: Mutex::new(Announcers {
                waiting: VecDeque::new(),
                numbers: Numbers::new(),
            }),
            unread: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
        }
    }

    /// Changes the line under its lock. Changing links touches neighbours, so all nodes are touched.
    fn locked<T>(&self, change: impl FnOnce(&mut Announcers) -> T) -> T {
        self.locked_until(change, || ())
    }

    fn locked_until<T>(&self, change: impl FnOnce(&mut Announcers) -> T, last: impl FnOnce()) -> T {
        let mut line = self.line.lock().unwrap();
        line.waiting.iter().for_each(|(_, node, _)| node.touch());
        let result = change(&mut line);
        let queued = line.waiting.iter().filter(|(.., slot)| slot.is_queued());
        self.unread.store(queued.count(), Relaxed);
        last();
        result
    }
}

impl Announcers {
    fn append(&mut self, node: Rc<Node>, child: Child) -> u64 {
        let seq = self.numbers.take();
        self.waiting.push_back((seq, node, Slot::Queued(child)));
        seq
    }

    /// The payload that waits longest, the number of its announcer, and the address.
    fn claim(&mut self) -> Option<(Child, u64, Rc<Node>)> {
        self.waiting
            .iter_mut()
            .find_map(|(seq, node, slot)| Some((slot.take()?, *seq, node.clone())))
    }

    /// The payload, if the announcer has left.
    fn put_back(&mut self, seq: u64, child: Child) -> Option<Child> {
        match self.waiting.iter_mut().find(|(other, ..)| *other == seq) {
            Some((_, _, slot)) => {
                slot.put_back(child);
                None
            }
            None => Some(child),
        }
    }

    /// Takes an announcer out, with its payload if that is in its slot.
    fn remove(&mut self, seq: u64) -> Option<(Rc<Node>, Option<Child>)> {
        let place = self.waiting.iter().position(|(other, ..)| *other == seq)?;
        let (_, node, mut slot) = self.waiting.remove(place)?;
        Some((node, slot.take()))
    }
}

impl Context {
    /// A thread forks, and tells of it.
    pub fn fork(&self, child: Child, task: &Task) {
        let events = &self.0.events;
        events.changes.fetch_add(1, Relaxed);
        let node = Node::new(task);
        let late_state = self.has(Defect::LateAnnouncerState);
        let seq = events.locked_until(
            |line| line.append(node.clone(), child.clone()),
            || {
                if !late_state {
                    task.set_blocked(true);
                }
                if !self.has(Defect::NoAnnouncerBarrier) {
                    fence(SeqCst);
                }
            },
        );
        let quits = || self.0.released.load(Relaxed) || task.signal_pending();
        if !(self.has(Defect::SilentAnnouncer) && quits()) {
            self.wake_readers();
        }
        while !node.woken.load(Acquire) && !quits() {
            if late_state {
                task.set_blocked(true);
            }
            task.schedule();
            if !late_state {
                task.set_blocked(true);
            }
        }
        task.set_blocked(false);

        let mut left = false;
        if !node.woken.load(Acquire) {
            let removed = events.locked(|line| {
                (!node.woken.load(Relaxed))
                    .then(|| line.remove(seq))
                    .flatten()
            });
            left = removed.is_some();
            if let Some((_, payload)) = removed {
                let twice = self.has(Defect::DisposeTwice).then_some(child);
                if let Some(child) = payload.or(twice) {
                    child.close();
                }
            }
        }
        if !(left && self.has(Defect::CountStays)) {
            events.changes.fetch_sub(1, Relaxed);
        }
        node.pop_stack();
    }

    /// A reader that found no fault: takes an event, if there is one, and hands it out or puts it
    /// back.
    pub(super) fn deliver_event(&self, buffer: Buffer) -> Option<Read> {
        if !self.has_unread_event() {
            return None;
        }
        if buffer == Buffer::Absent {
            self.tell_others(Defect::SilentRefusal);
            return Some(Read::BadBuffer);
        }
        let (child, seq, node) = self.0.events.locked(Announcers::claim)?;
        if self.has(Defect::OpenTooEarly) {
            child.clone().open();
        }
        if buffer == Buffer::Bad {
            self.put_event_back(seq, child, &node);
            self.tell_others(Defect::SilentEventPutBack);
            return Some(Read::BadBuffer);
        }
        if !self.has(Defect::OpenTooEarly) {
            child.open();
        }
        self.finish(seq, &node);
        Some(Read::Event)
    }

    fn tell_others(&self, unless: Defect) {
        if !self.has(unless) {
            fence(SeqCst);
            self.wake_readers();
        }
    }

    fn put_event_back(&self, seq: u64, child: Child, node: &Node) {
        if self.has(Defect::PutBackByAddress) {
            node.touch();
        }
        let homeless = self.0.events.locked(|line| line.put_back(seq, child));
        if let Some(child) = homeless.filter(|_| !self.has(Defect::ForgetPayload)) {
            child.close();
        }
    }

    fn finish(&self, seq: u64, address: &Node) {
        if self.has(Defect::FinishByAddress) {
            address.touch();
        }
        let done_order = if self.has(Defect::DoneRelaxed) {
            Relaxed
        } else {
            Release
        };
        let mut woken = WakeQueue::default();
        self.0.events.locked(|line| {
            let Some((node, _)) = line.remove(seq) else {
                return;
            };
            node.touch();
            let task = node.task.clone();
            node.woken.store(true, done_order);
            if self.has(Defect::TouchAfterDone) {
                node.touch();
            }
            woken.add(task);
        });
        woken.wake();
    }

    /// The end of release: announcers leave by themselves.
    pub(super) fn wake_announcers(&self) {
        if self.has(Defect::NoEventDrain) {
            return;
        }
        let mut woken = WakeQueue::default();
        self.0.events.locked(|line| {
            let tasks = line.waiting.iter().map(|(_, node, _)| node.task.clone());
            tasks.for_each(|task| woken.add(task));
        });
        woken.wake();
    }

    pub(super) fn has_unread_event(&self) -> bool {
        self.0.events.unread.load(Relaxed) != 0
    }

    /// Checks that no announcer was left behind, nor its count.
    pub(super) fn assert_all_told(&self) {
        let events = &self.0.events;
        events.locked(|line| assert!(line.waiting.is_empty(), "an announcer was left"));
        assert_eq!(events.unread.load(Relaxed), 0);
        assert_eq!(events.changes.load(Relaxed), 0, "still changing");
    }
}
