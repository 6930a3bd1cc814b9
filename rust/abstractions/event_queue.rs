// SPDX-License-Identifier: GPL-2.0-only

//! The event queue: threads that changed the mappings and wait until user space knows.
//!
//! The protocol, with each barrier and its pair, stands in [`crate::pure::events`]; names like
//! **E**, **F** and **G** below are its. This file gives it memory: nodes on the stacks of the
//! waiting threads, linked in order of arrival.

use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        SpinLock, //
    },
    task::Task, //
};

use super::{
    beside::{
        Beside,
        Locked, //
    },
    fifo::{
        Arrived,
        Fifo,
        Link,
        Neighbours, //
    },
    observer::Observer,
    task,
    trace::{
        self,
        Announcement, //
    }, //
};
use crate::pure::{
    events::{
        End,
        Slot, //
    },
    fault::BlockingState,
    wait::Numbers,
};

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// A waiting thread, on its own kernel stack.
///
/// # Invariants
///
/// - `seq`, `place` and `slot` change under the queue's lock only.
/// - `task` is the thread whose stack this is.
/// - `done` goes from false to true once, when the node was unlinked by a reader that will not touch
///   it again.
struct Announcer<P> {
    seq: u64,
    place: Neighbours<Self>,
    task: NonNull<Task>,
    slot: Slot<P>,
    done: Atomic<bool>,
}

// SAFETY: `place` is such a field.
unsafe impl<P> Arrived for Announcer<P> {
    unsafe fn neighbours(this: NonNull<Self>) -> NonNull<Neighbours<Self>> {
        // SAFETY: The node is alive, and no field is at null.
        unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).place) }
    }

    unsafe fn seq(this: NonNull<Self>) -> u64 {
        // SAFETY: The node is alive.
        unsafe { (*this.as_ptr()).seq }
    }
}

/// What the queue's lock protects.
///
/// # Invariants
///
/// `fifo` holds all linked announcers, by `seq`.
struct Links<P> {
    fifo: Fifo<Announcer<P>>,
    numbers: Numbers,
}

// SAFETY: The pointers are followed under the queue's lock only, where the announcers they lead to
// are alive; an `Announcer` holds nothing but `P` that would be tied to a thread.
unsafe impl<P: Send> Send for Links<P> {}

/// A payload on its way to user space. Dropping it puts the payload back, if its announcer still
/// waits; whoever drops it tells another reader afterwards.
#[must_use = "complete it, or its announcer waits for the next reader"]
pub(crate) struct Delivery<'a, P: Announcement> {
    queue: &'a EventQueue<P>,
    observer: &'a Observer,
    seq: u64,
    payload: ManuallyDrop<P>,
}

/// All announcers of one context.
///
/// Locks: takes its own spinlock, which is innermost, so callers hold no raw spinlock and no wait
/// queue's lock, and interrupts are on. Payloads are dropped without it.
#[pin_data]
pub(crate) struct EventQueue<P: Announcement> {
    #[pin]
    lock: SpinLock<()>,
    /// Announcers whose slot is queued. Written under the lock.
    unread: Atomic<u32>,
    links: Beside<Links<P>>,
}

/// How announcers sleep.
const STATE: BlockingState = BlockingState::Killable;

impl<P: Announcement> EventQueue<P> {
    /// The empty queue of a context.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_spinlock!((), "uffd_events"),
            unread: Atomic::new(0),
            links: Beside::new(Links {
                fifo: Fifo::new(),
                numbers: Numbers::new(),
            }),
        })
    }

    fn lock(&self) -> Locked<'_, Links<P>> {
        // SAFETY: The links are reached here only.
        unsafe { self.links.under(self.lock.lock()) }
    }

    /// Offers `payload` to readers and sleeps until one of them handed it out, `is_over` says that
    /// nobody will, or the thread is killed.
    ///
    /// `notify` tells readers; it runs once. It and `is_over` run as a task about to sleep: they
    /// must not sleep themselves. Who makes `is_over` true calls [`Self::wake_all`] afterwards. On
    /// return the thread is not in the queue, and running.
    ///
    /// Returns the payload if nobody took it.
    pub(crate) fn announce(
        &self,
        observer: &Observer,
        payload: P,
        notify: impl FnOnce(),
        is_over: impl Fn() -> bool,
    ) -> Option<P> {
        let state = if defect!(ExitWaits) {
            BlockingState::Uninterruptible
        } else {
            STATE
        };
        let mut announcer = UnsafeCell::new(Announcer {
            seq: 0,
            place: Neighbours::NONE,
            task: NonNull::from(&**current!()),
            slot: Slot::Queued(payload),
            done: Atomic::new(false),
        });
        // SAFETY: The address of a local is never null. From here to the end of this function the
        // announcer is reached through this pointer only; it does not move, and it is unlinked
        // before the function returns.
        let this = unsafe { NonNull::new_unchecked(announcer.get()) };
        {
            let mut links = self.lock();
            // SAFETY: The announcer is alive, pinned to this frame, and not linked yet.
            unsafe { links.append(this) };
            self.count_in(&links);
            // SAFETY: The announcer is alive; nobody else changes it while the lock is held.
            let queued = unsafe { this.as_ref() };
            if let Slot::Queued(payload) = &queued.slot {
                trace::event_queue(observer, queued.seq, payload);
            }
            // Barrier **E**; pairs with **P** in `FileWaiters`.
            task::set_current_state(state);
        }
        notify();

        // SAFETY: The announcer is alive until this function returns.
        while !unsafe { Self::is_done(this) } {
            if is_over() || task::signal_ends(state) {
                break;
            }
            task::schedule();
            // The wake-up may be a late one for something else.
            task::set_current_state(state);
        }
        task::set_running();

        let mut payload = None;
        // SAFETY: As above.
        let mut is_done = unsafe { Self::is_done(this) };
        if !is_done {
            let mut links = self.lock();
            // SAFETY: As above; under the lock the answer is final.
            is_done = unsafe { Self::is_done(this) };
            if !is_done {
                // SAFETY: Not done, so still linked.
                payload = unsafe {
                    links.fifo.remove(this);
                    self.take(&mut links, this)
                };
            }
        }
        // From here on nobody knows of `announcer`.
        trace::event_done(observer, announcer.get_mut().seq, || match is_done {
            true => End::Read,
            false if is_over() => End::Released,
            false => End::Killed,
        });
        payload
    }

    /// Whether a reader is done with the announcer. Load **G**; pairs with **F** in `finish`.
    ///
    /// # Safety
    ///
    /// `this` is alive.
    unsafe fn is_done(this: NonNull<Announcer<P>>) -> bool {
        // SAFETY: Alive by the safety requirements; only the atomic is borrowed.
        unsafe { &(*this.as_ptr()).done }.load(Acquire)
    }

    /// Takes the payload that was offered first.
    pub(crate) fn claim<'a>(&'a self, observer: &'a Observer) -> Option<Delivery<'a, P>> {
        if !self.has_unread() {
            return None;
        }
        let mut links = self.lock();
        let mut next = links.fifo.oldest();
        while let Some(announcer) = next {
            // SAFETY: Linked announcers are alive while the lock is held.
            let (payload, seq, newer) = unsafe {
                let seq = (*announcer.as_ptr()).seq;
                let payload = self.take(&mut links, announcer);
                (payload, seq, links.fifo.newer(announcer))
            };
            if let Some(payload) = payload {
                trace::event_read(observer, seq);
                return Some(Delivery {
                    queue: self,
                    observer,
                    seq,
                    payload: ManuallyDrop::new(payload),
                });
            }
            next = newer;
        }
        None
    }

    /// Puts a payload back into the slot of its announcer. Returns it if that one has left.
    fn put_back(&self, observer: &Observer, seq: u64, payload: P) -> Option<P> {
        let links = self.lock();
        let Some(announcer) = links.find(seq) else {
            return Some(payload);
        };
        // SAFETY: The announcer is linked, and the slot is empty since its payload is here. Only
        // the slot is borrowed, under the lock.
        let slot = unsafe { &mut (*announcer.as_ptr()).slot };
        slot.put_back(payload);
        self.count_in(&links);
        trace::event_unread(observer, seq);
        None
    }

    /// Lets the announcer go whose payload was handed out, unless it has left.
    fn finish(&self, seq: u64) {
        task::wake_after(|woken| {
            let mut links = self.lock();
            let Some(announcer) = links.find(seq) else {
                return;
            };
            // SAFETY: The announcer is linked, so it and its task are alive while the lock is held,
            // until the store of `done`.
            unsafe {
                links.fifo.remove(announcer);
                let task = ARef::from((*announcer.as_ptr()).task.as_ref());
                // Store **F**; pairs with **G**. The announcer may be gone after this line.
                (*announcer.as_ptr()).done.store(true, Release);
                woken.add(task);
            }
        });
    }

    /// Wakes all announcers, so that they look at `is_over` again. They leave by themselves.
    pub(crate) fn wake_all(&self) {
        task::wake_after(|woken| {
            let links = self.lock();
            let mut next = links.fifo.oldest();
            while let Some(announcer) = next {
                // SAFETY: Linked announcers and their tasks are alive while the lock is held.
                unsafe {
                    woken.add(ARef::from((*announcer.as_ptr()).task.as_ref()));
                    next = links.fifo.newer(announcer);
                }
            }
        });
    }

    /// Whether there is something to read.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed) != 0
    }

    /// Counts a payload that was put into its slot.
    fn count_in(&self, _links: &Locked<'_, Links<P>>) {
        // OVERFLOW: every announcer has a kernel stack of its own.
        let unread = self.unread.load(Relaxed).wrapping_add(1);
        self.unread.store(unread, Relaxed);
    }

    /// Takes the payload out of the slot, if it is there.
    ///
    /// # Safety
    ///
    /// `announcer` is alive.
    unsafe fn take(
        &self,
        _links: &mut Locked<'_, Links<P>>,
        announcer: NonNull<Announcer<P>>,
    ) -> Option<P> {
        // SAFETY: By the safety requirements. Only the slot is borrowed, under the lock.
        let payload = unsafe { &mut (*announcer.as_ptr()).slot }.take()?;
        // OVERFLOW: it was counted when it was put there.
        let unread = self.unread.load(Relaxed).wrapping_sub(1);
        self.unread.store(unread, Relaxed);
        Some(payload)
    }
}

impl<P> Links<P> {
    /// Links an announcer at the end of the line.
    ///
    /// # Safety
    ///
    /// `announcer` is alive, queued and not linked, and stays alive and in place until it is
    /// unlinked.
    unsafe fn append(&mut self, announcer: NonNull<Announcer<P>>) {
        let seq = self.numbers.take();
        // SAFETY: By the safety requirements.
        unsafe {
            (*announcer.as_ptr()).seq = seq;
            self.fifo.append(announcer);
        }
    }

    /// The announcer with number `seq`, if it has not left. Those before it are being delivered as
    /// well, or were put back, so there are few.
    fn find(&self, seq: u64) -> Link<Announcer<P>> {
        let mut next = self.fifo.oldest();
        while let Some(announcer) = next {
            // SAFETY: Who is in the line is alive.
            let (found, newer) = unsafe { ((*announcer.as_ptr()).seq, self.fifo.newer(announcer)) };
            if found >= seq {
                return next.filter(|_| found == seq);
            }
            next = newer;
        }
        None
    }
}

impl<P: Announcement> Delivery<'_, P> {
    /// `publish` hands the payload out, which cannot fail; then the announcer goes on.
    pub(crate) fn complete(self, publish: impl FnOnce(P)) {
        let this = ManuallyDrop::new(self);
        // SAFETY: Read once: `this` is not dropped.
        publish(unsafe { core::ptr::read(&raw const *this.payload) });
        this.queue.finish(this.seq);
    }
}

impl<P: Announcement> Deref for Delivery<'_, P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.payload
    }
}

impl<P: Announcement> Drop for Delivery<'_, P> {
    fn drop(&mut self) {
        // SAFETY: Taken once: the delivery is going.
        let payload = unsafe { ManuallyDrop::take(&mut self.payload) };
        // Of an announcer that has left, the payload is ours to dispose of.
        drop(self.queue.put_back(self.observer, self.seq, payload));
    }
}
