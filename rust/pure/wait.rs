// SPDX-License-Identifier: GPL-2.0-only

//! The fault queue: its protocol, and the bookkeeping done under its lock.
//!
//! Each context has one queue. A *sleeper* is a faulting thread and its node, which lives on that
//! thread's kernel stack and is gone when the fault handler returns. A *waker* has changed a page
//! table (or `released`, or the features) and wakes those it concerns. A *reader* hands messages to
//! user space.
//!
//! The queue's lock is a plain spinlock, innermost, and never taken with the fd's wait queue
//! locked. It protects
//!
//! - a tree of all sleepers, ordered by [`Key`];
//! - a FIFO of those whose message is unread, ordered by [`Key::seq`];
//! - the [`Tally`], which counts both.
//!
//! Whether there are sleepers and unread messages is mirrored into `sleepers` and `unread`, atomics
//! that anyone may load.
//!
//! # Sleeper
//!
//! 1. Lock. Insert into the tree and at the end of the FIFO, update the mirrors, set the task state
//!    to the blocking state, which is a full barrier (**S**). Unlock.
//! 2. Look again: does the page table entry still say wait, and is the context not released? Then
//!    drop the fault lock.
//! 3. If so, wake one blocked reader and all pollers, even if a reader has the message by now. Then
//!    sleep until `woken` reads true (**A**) or a signal ends the sleep; a wake-up without either
//!    is a late one, meant for a fault that is over: set the state anew, and look at `woken` after
//!    that, before sleeping on. The first sleep needs no look: the state was set before the node
//!    could be found, so who stores `woken` has the task woken.
//! 4. Set the task state to running. If `woken` reads true (**A**, acquire), the node is in
//!    nobody's hands. Otherwise lock, and unless `woken` is true by now take the node out.
//! 5. If step 3 was skipped and a message is `unread`, here or in the line of [`super::events`], wake
//!    one reader and all pollers, after a full barrier.
//!
//! Every way out makes the fault run again, so a wake-up for no reason costs time and nothing else.
//!
//! # Waker
//!
//! 1. Change what sleepers look at in their step 2.
//! 2. Full barrier (**W**). Load `sleepers`; if there are none, done.
//! 3. Lock. For each node in the range: take it out of the tree and the FIFO, take a reference to
//!    its task, store `woken` (**R**, release), which is the last access to the node, and keep the
//!    task: the first one at hand, others on a list. Update the mirrors, unlock.
//! 4. Wake the tasks and drop the references.
//!
//! The order of the last two in step 3 matters. A task can be on one such list (wake_q) at a time,
//! anybody's; who finds it on another leaves the wake-up to that one's owner. That wake-up may come
//! at once, and the sleeper must then find `woken` true, or it sleeps on with nobody to wake it.
//!
//! Release does the same with "every node" for the range and `released` for the change.
//!
//! # Reader
//!
//! 1. Lock. Take the head of the FIFO, if there is one, and copy its message. The node stays in the
//!    tree. Unlock. With a message, go to 4. Without one, look for an event ([`super::events`]).
//! 2. Return for a signal, or if the caller must not block.
//! 3. Enter the fd's wait queue exclusively, at its end, and set the task state. If nothing is
//!    `unread` in either queue, sleep. Leave the wait queue, go to 1.
//! 4. Copy the message to user space, without the lock. If that fails, lock and look the key up in
//!    the tree. If it is there, the message goes back into the FIFO, in order of `seq`; unlock, and
//!    after a full barrier wake one reader and all pollers. If it is not, the sleeper has left or
//!    was woken, and nobody needs the message any more. Either way, return the error.
//!
//! There is no "being read" state: only the reader that took a message can put it back, and a key
//! is never used twice, so a node on a recycled stack is never mistaken for the one that was there.
//!
//! # No wake-up of a sleeper is lost
//!
//! **S** and **W** pair. A sleeper stores `sleepers` before **S** and loads the page table entry
//! after it; a waker stores the entry before **W** and loads `sleepers` after it. At least one of
//! the loads sees the other's store. If the sleeper does, it doesn't sleep. If the waker does, it
//! takes the lock after the sleeper's step 1, finds the node and wakes a task whose state was set
//! in that step, so a `schedule()` that comes later doesn't sleep either.
//!
//! # No stack is touched too late
//!
//! **R** and **A** pair. A node is reached only through the tree and the FIFO, both under the lock.
//! While it is linked, its thread must take the lock to leave; when it has been unlinked, only the
//! waker that did it still holds it, and **R** is that waker's last access. After **R** the thread
//! may be anywhere, even gone, hence the reference to its task.
//!
//! # No wake-up of a reader is lost
//!
//! A wake-up selects one reader and takes it off the wait queue, so it must not be wasted. Count
//! tokens: a sleeper gets one in its step 1 and spends it on a wake-up in step 3 or 5. It may let
//! it drop in step 5 when nothing is unread, events included. A reader that puts a message back spends a new one.
//! The reader that a wake-up selects has the token, and uses it up in its step 1, where it takes a
//! message or finds none. Then there are at least as many tokens as unread messages whenever a
//! reader sleeps:
//!
//! - Readers look for a message only while off the wait queue, and always between leaving it and
//!   returning. So no token leaves with a reader, be it for a signal or with another message.
//! - Tokens belong to no message. The wake-up for B may select a reader that takes A, which came
//!   first. If A's sleeper kept its token, because its page is there or its message is taken, B
//!   would be unread and the other readers asleep.
//! - A reader that enters too late to be selected finds `unread` set. Who wakes looks at the wait
//!   queue without its lock first, and takes the lock only if someone is there. Between its store
//!   of `unread` and that look stands a full barrier: **S**, or that of step 5, or that of a
//!   message put back. The reader has one (**P**) between entering the queue and its look at
//!   `unread`. One of the two looks sees the other's store. This holds for pollers, too.
//!
//! Readers and pollers wait in two queues: a poller may ask to be woken exclusively, and must not
//! be selected in a reader's place.

use super::range::Range;

/// What identifies a sleeper in its queue, and orders the tree.
///
/// Ordered by address, then by arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    address: usize,
    seq: u64,
}

impl Key {
    /// The address in the message, which is what user space compares its ranges with: on huge pages
    /// the page's or the access's, as the context chose.
    pub const fn address(&self) -> usize {
        self.address
    }

    /// Number of arrival in the queue, from 1 on, never used twice.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

/// Whether the message of a queued sleeper has been handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The node is in the tree and in the FIFO.
    Unread,
    /// The node is in the tree only.
    Read,
}

/// Which sleepers a wake-up concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the queue.
    All,
    /// Those whose address lies in the range.
    Range(Range),
}

impl Scope {
    /// The first and the last address that it concerns (`userfaultfd_wake_function`, its
    /// comparison). The scope is one run of the tree.
    pub const fn bounds(&self) -> (usize, usize) {
        match self {
            Self::All => (0, usize::MAX),
            // OVERFLOW: a range is not empty.
            Self::Range(range) => (range.start(), range.end() - 1),
        }
    }
}

/// Numbers of arrival in a queue, given out under its lock.
#[derive(Debug)]
pub struct Numbers(u64);

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

impl Numbers {
    /// None was given out.
    pub const fn new() -> Self {
        Self(1)
    }

    /// The next one, from 1 on, which is never given out again.
    pub fn take(&mut self) -> u64 {
        let number = self.0;
        // OVERFLOW: one every nanosecond takes five centuries to get there.
        self.0 = number.wrapping_add(1);
        number
    }
}

/// Counts of a queue, kept under its lock.
///
/// # Invariants
///
/// `unread <= sleepers`.
#[derive(Debug)]
pub struct Tally {
    sleepers: u32,
    unread: u32,
    numbers: Numbers,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Counts of an empty queue.
    pub const fn new() -> Self {
        Self {
            sleepers: 0,
            unread: 0,
            numbers: Numbers::new(),
        }
    }

    /// Sleepers in the tree; fdinfo's "total".
    pub const fn sleepers(&self) -> u32 {
        self.sleepers
    }

    /// Sleepers in the FIFO; fdinfo's "pending".
    pub const fn unread(&self) -> u32 {
        self.unread
    }

    /// Counts a sleeper in. It is [`Delivery::Unread`] and belongs behind all others in the FIFO.
    pub fn enqueue(&mut self, address: usize) -> Key {
        let seq = self.numbers.take();
        // OVERFLOW: every sleeper has a kernel stack of its own.
        self.sleepers += 1;
        self.unread += 1;
        Key { address, seq }
    }

    /// Counts a message as handed out: the node has left the FIFO and is [`Delivery::Read`].
    pub fn take(&mut self) {
        debug_assert!(self.unread > 0);
        // OVERFLOW: there was an unread one.
        self.unread -= 1;
    }

    /// Counts a message as unread again: the node is back in the FIFO and [`Delivery::Unread`].
    pub fn put_back(&mut self) {
        debug_assert!(self.unread < self.sleepers);
        self.unread += 1;
    }

    /// Counts a sleeper out, woken or leaving by itself.
    pub fn remove(&mut self, delivery: Delivery) {
        debug_assert!(self.sleepers > 0);
        if delivery == Delivery::Unread {
            self.take();
        }
        // OVERFLOW: there was a sleeper.
        self.sleepers -= 1;
    }
}
