// SPDX-License-Identifier: GPL-2.0-only

//! The kernel around the fault queue, as far as the protocol needs it.
//!
//! Tasks and wait queues are made of loom's mutexes and condition variables; what the protocol
//! itself orders is made of relaxed atomics and explicit fences, as in the kernel. Loom runs all
//! threads of a model on one thread of the host, so `Rc` shares among them and `Cell` records what
//! loom should not see as an access.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{fence, AtomicBool, AtomicUsize};
use loom::sync::{Mutex, RwLock};

use uffd_pure::range::Range;
use uffd_pure::wait::{Key, Scope};

use super::common::Queue;
use events::Announcements;
use sched::{WaitQueue, WakeQueue};

pub use events::Child;
pub use sched::Task;

mod events;
mod sched;

/// What to leave out or to do wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    None,
    /// The sleeper doesn't look at the page table again.
    NoRecheck,
    /// The sleeper sets its state after its last look.
    LateState,
    NoSleeperBarrier,
    /// The sleeper takes any wake-up for its own.
    SingleSchedule,
    NoWakerBarrier,
    /// The waker reads the node once more after it stored `woken`.
    TouchAfterWoken,
    WokenBeforeUnlink,
    /// `woken` is stored without release.
    WokenRelaxed,
    /// A sleeper that was not woken returns with its node in the queue.
    LeaveQueued,
    /// A sleeper whose message has been taken wakes no reader.
    FrugalWake,
    /// A sleeper that needn't sleep leaves without a look at `unread`.
    SilentLeave,
    /// Readers and pollers sleep without a look at `unread`.
    NoReaderRecheck,
    /// Nothing orders entering the wait queue and the look at `unread`.
    NoReaderBarrier,
    NoReaderWake,
    /// A reader with a signal returns before it looks for a message.
    SignalSwallows,
    /// A message that was put back wakes nobody.
    SilentPutBack,
    /// A message that can't be copied out is dropped.
    NoPutBack,
    /// A message is put back without a look whether its sleeper is there.
    BlindPutBack,
    NoDrain,
    /// `released` is stored after the queue was drained.
    LateReleased,
    /// The waker puts the task on its wake_q first and stores `woken` then.
    QueueBeforeWoken,
    /// The announcer sets its state after its last look at `done`.
    LateAnnouncerState,
    NoAnnouncerBarrier,
    /// An announcer that is killed before it slept tells nobody.
    SilentAnnouncer,
    /// `done` is stored without release.
    DoneRelaxed,
    /// The reader reads the node once more after it stored `done`.
    TouchAfterDone,
    /// The reader keeps the address of the announcer, not its number.
    FinishByAddress,
    /// The same, when it puts a payload back.
    PutBackByAddress,
    /// An announcer that leaves disposes of a payload that a reader has.
    DisposeTwice,
    /// A reader that cannot put a payload back forgets it.
    ForgetPayload,
    /// A reader opens the child before it knows that the message can be copied.
    OpenTooEarly,
    /// A killed announcer leaves its change counted.
    CountStays,
    /// A payload that was put back wakes nobody.
    SilentEventPutBack,
    /// A reader whose buffer is bad before it took an event leaves without a word.
    SilentRefusal,
    NoEventDrain,
    /// A sleeper that needn't sleep leaves without a look at unread events.
    LeaveWithoutEvents,
}

/// What a reader brings along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    Good,
    /// Found unwritable once the message was taken.
    Bad,
    /// Found unwritable before an event is taken.
    Absent,
}

/// What a sleeper has on its stack. The memory stays, so that a late touch can be told.
struct Node {
    task: Task,
    woken: AtomicBool,
    gone: Cell<bool>,
    memory: UnsafeCell<()>,
}

impl Node {
    fn new(task: &Task) -> Rc<Self> {
        Rc::new(Self {
            task: task.clone(),
            woken: AtomicBool::new(false),
            gone: Cell::new(false),
            memory: UnsafeCell::new(()),
        })
    }

    /// Someone else uses the node.
    fn touch(&self) {
        assert!(!self.gone.get(), "stack is gone");
        self.memory.with(|_| ());
    }

    /// The fault handler returns.
    fn pop_stack(&self) {
        self.gone.set(true);
        self.memory.with_mut(|_| ());
    }
}

/// How a read() ended.
pub enum Read {
    /// With the fault at this address.
    Message(usize),
    /// With an event, whose announcer goes on.
    Event,
    Interrupted,
    BadBuffer,
}

/// A context, its pages, and the VMA they are in.
#[derive(Clone)]
pub struct Context(Rc<Inner>);

struct Inner {
    defect: Defect,
    queue: Mutex<Queue<Rc<Node>>>,
    sleepers: AtomicUsize,
    unread: AtomicUsize,
    released: AtomicBool,
    events: Announcements,
    fd: WaitQueue,
    /// The mmap lock; inside, whether the VMA is registered.
    mmap: RwLock<bool>,
    /// Page table entries: whether the page is there.
    pages: BTreeMap<usize, AtomicBool>,
    /// Messages queued so far.
    faults: Cell<usize>,
}

impl Context {
    pub fn new(defect: Defect) -> Self {
        let pages = [super::PAGE, 2 * super::PAGE];
        Self(Rc::new(Inner {
            defect,
            queue: Mutex::new(Queue::new()),
            sleepers: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            released: AtomicBool::new(false),
            events: Announcements::new(),
            fd: WaitQueue::default(),
            mmap: RwLock::new(true),
            pages: pages.map(|page| (page, AtomicBool::new(false))).into(),
            faults: Cell::new(0),
        }))
    }

    fn has(&self, defect: Defect) -> bool {
        self.0.defect == defect
    }

    /// Changes the queue under its lock. Changing links touches neighbours, so all nodes are
    /// touched.
    fn locked<T>(&self, change: impl FnOnce(&mut Queue<Rc<Node>>) -> T) -> T {
        self.locked_until(change, || ())
    }

    /// The same, with a last step before the lock is dropped.
    fn locked_until<T>(
        &self,
        change: impl FnOnce(&mut Queue<Rc<Node>>) -> T,
        last: impl FnOnce(),
    ) -> T {
        let mut queue = self.0.queue.lock().unwrap();
        queue.nodes().for_each(|node| node.touch());
        let result = change(&mut queue);
        let tally = queue.tally();
        self.0.sleepers.store(tally.sleepers() as usize, Relaxed);
        self.0.unread.store(tally.unread() as usize, Relaxed);
        last();
        result
    }

    /// A thread uses a page until it gets it, the VMA is no longer registered, or it is killed.
    pub fn access(&self, page: usize, task: &Task) {
        while !self.0.pages[&page].load(Relaxed) && !task.signal_pending() {
            let vma = self.0.mmap.read().unwrap();
            if !*vma || self.0.released.load(Relaxed) {
                return;
            }
            self.handle_fault(page, task, || drop(vma));
        }
    }

    fn handle_fault(&self, page: usize, task: &Task, release_fault_lock: impl FnOnce()) {
        let node = Node::new(task);
        self.0.faults.set(self.0.faults.get() + 1);
        let late_state = self.has(Defect::LateState);
        let key = self.locked_until(
            |queue| queue.enqueue(page, node.clone()),
            || {
                if !late_state {
                    task.set_blocked(true);
                }
                if !self.has(Defect::NoSleeperBarrier) {
                    fence(SeqCst);
                }
            },
        );

        let must_wait = !self.0.pages[&page].load(Relaxed) && !self.0.released.load(Relaxed);
        release_fault_lock();
        let waits = must_wait || self.has(Defect::NoRecheck);
        if waits {
            if !self.has(Defect::FrugalWake) || self.locked(|queue| queue.is_unread(key)) {
                self.wake_readers();
            }
            if late_state {
                task.set_blocked(true);
            }
            task.schedule();
            let again = !self.has(Defect::SingleSchedule);
            while again && !node.woken.load(Acquire) && !task.signal_pending() {
                task.set_blocked(true);
                if node.woken.load(Acquire) {
                    break;
                }
                task.schedule();
            }
        }

        task.set_blocked(false);
        if !node.woken.load(Acquire) && !self.has(Defect::LeaveQueued) {
            self.locked(|queue| {
                if !node.woken.load(Relaxed) {
                    queue.remove(key);
                }
            });
        }
        let events = !self.has(Defect::LeaveWithoutEvents) && self.has_unread_event();
        let unread = self.0.unread.load(Relaxed) != 0 || events;
        if !waits && !self.has(Defect::SilentLeave) && unread {
            fence(SeqCst);
            self.wake_readers();
        }
        node.pop_stack();
    }

    fn wake_readers(&self) {
        if !self.has(Defect::NoReaderWake) {
            self.0.fd.wake_up();
        }
    }

    /// Maps a page and wakes those who wait for it.
    pub fn resolve(&self, page: usize) {
        self.0.pages[&page].store(true, Relaxed);
        let range = Range::new(page, page + super::PAGE).unwrap();
        self.wake(&Scope::Range(range));
    }

    fn wake(&self, scope: &Scope) {
        if !self.has(Defect::NoWakerBarrier) {
            fence(SeqCst);
        }
        if self.0.sleepers.load(Relaxed) == 0 {
            return;
        }
        let woken_order = if self.has(Defect::WokenRelaxed) {
            Relaxed
        } else {
            Release
        };
        let mut woken = WakeQueue::default();
        self.locked(|queue| {
            while let Some((key, node)) = queue.first_in(scope) {
                if self.has(Defect::WokenBeforeUnlink) {
                    node.woken.store(true, woken_order);
                }
                node.touch();
                queue.remove(key);
                let task = node.task.clone();
                if self.has(Defect::QueueBeforeWoken) {
                    woken.add(task);
                    node.woken.store(true, woken_order);
                } else {
                    node.woken.store(true, woken_order);
                    woken.add(task);
                }
                if self.has(Defect::TouchAfterWoken) {
                    node.touch();
                }
            }
        });
        woken.wake();
    }

    /// Reads one message, blocking.
    pub fn read(&self, task: &Task, buffer: Buffer) -> Read {
        loop {
            if let Some(key) = self.locked(Queue::take) {
                if buffer != Buffer::Good {
                    self.put_back(key);
                    return Read::BadBuffer;
                }
                return Read::Message(key.address());
            }
            if let Some(read) = self.deliver_event(buffer) {
                return read;
            }
            if task.signal_pending() {
                return Read::Interrupted;
            }
            self.0.fd.prepare_exclusive(task);
            self.sleep_unless_unread(task);
            self.0.fd.finish(task);
            if self.has(Defect::SignalSwallows) && task.signal_pending() {
                return Read::Interrupted;
            }
        }
    }

    fn put_back(&self, key: Key) {
        if self.has(Defect::NoPutBack) {
            return;
        }
        let unread_again = self.locked(|queue| {
            assert!(
                !self.has(Defect::BlindPutBack) || queue.contains(key),
                "stack is gone"
            );
            queue.put_back(key)
        });
        if unread_again && !self.has(Defect::SilentPutBack) {
            fence(SeqCst);
            self.wake_readers();
        }
    }

    /// Waits for a message without reading, then reads it. Nobody else may read or resolve.
    pub fn poll_and_read(&self, task: &Task) -> Read {
        self.0.fd.prepare_poller(task);
        self.sleep_unless_unread(task);
        self.0.fd.finish(task);
        match self.locked(Queue::take) {
            Some(key) => Read::Message(key.address()),
            None => self.deliver_event(Buffer::Good).expect("polled, so unread"),
        }
    }

    fn sleep_unless_unread(&self, task: &Task) {
        if !self.has(Defect::NoReaderBarrier) {
            fence(SeqCst);
        }
        let nothing = self.0.unread.load(Relaxed) == 0 && !self.has_unread_event();
        if nothing || self.has(Defect::NoReaderRecheck) {
            task.schedule();
        }
    }

    /// Closes the fd. `mm_alive` tells whether the address space could be pinned and locked.
    pub fn release(&self, mm_alive: bool) {
        let late = self.has(Defect::LateReleased);
        if !late {
            self.0.released.store(true, Relaxed);
        }
        if mm_alive {
            *self.0.mmap.write().unwrap() = false;
        }
        if !self.has(Defect::NoDrain) {
            self.wake(&Scope::All);
        }
        self.wake_announcers();
        if late {
            self.0.released.store(true, Relaxed);
        }
    }

    /// Messages queued so far.
    pub fn faults(&self) -> usize {
        self.0.faults.get()
    }

    /// Checks that all is over and nothing was left behind.
    pub fn assert_idle(&self) {
        self.locked(|queue| assert_eq!(queue.nodes().count(), 0, "a node was left"));
        assert_eq!(self.0.sleepers.load(Relaxed), 0);
        assert_eq!(self.0.unread.load(Relaxed), 0);
        self.assert_all_told();
    }
}
