// SPDX-License-Identifier: GPL-2.0-only

//! The event queue: its protocol, and the bookkeeping done under its lock.
//!
//! fork, mremap, madvise and munmap change what a context serves, behind the back of whoever serves
//! it. A context that asked for it is told, and the thread that made the change waits until it has
//! been. That thread is the *announcer*. Its node lives on its kernel stack and is gone when the
//! system call goes on. What it has to say is the *payload*: a message, or, after a fork, the
//! userfaultfd of the child, which is owned and not opened yet. *Readers* are those of
//! [`super::wait`], and so are the wait queues and the names **P** and **N**.
//!
//! Each context has one *line* of announcers, in order of arrival. Its lock is a plain spinlock,
//! innermost like that of the fault queue. It protects the line, each announcer's [`Slot`], and the
//! count of those that are queued, `unread`, an atomic that anyone may load.
//!
//! # Who owns what
//!
//! | state | in the line | payload is owned by | node may be touched by |
//! |---|---|---|---|
//! | before | no | the announcer | the announcer |
//! | queued | yes | the slot | who holds the lock |
//! | delivering | yes, at its old place | the reader that took it | who holds the lock |
//! | done | no | nobody: handed out | the announcer |
//! | left | no | the announcer if it was queued, else still the reader | the announcer |
//!
//! The payload moves, it is never shared. So it is handed out once or disposed of once, and whoever
//! has it in the end does that, without a lock. To dispose of a fork's payload means what closing
//! the child's file means: its context is released and taken out of every VMA. Only if the fork
//! failed is it simply dropped, because the half-built address space must not be walked.
//!
//! A reader knows an announcer by its number of arrival, not by its address, and looks that up in
//! the line each time it has taken the lock. An announcer that is not there has left, and its stack
//! may be anything by now.
//!
//! # Mappings are changing
//!
//! The announcer counts its change in before the mappings change, while it holds the mmap lock and
//! with the context's rwsem held for writing, so that fills under way are over. Fills hold it for
//! reading as long as their VMA, and give up with `EAGAIN` while the count is not zero. The count
//! and a reference to the context belong to one value on the announcer's stack, whose drop gives
//! back both: once, on each way out.
//!
//! # Announcer
//!
//! 1. Count the change in. Make the change. Drop the mmap lock. (madvise counts in, drops the lock
//!    and announces; it makes the change afterwards.) An exiting thread goes to 6: nobody may be
//!    left to read.
//! 2. Lock. Enter the line at its end, queued, and count that. Set the task state to
//!    killable, which is a full barrier (**E**). Unlock.
//! 3. Wake one blocked reader and all pollers, even if a reader has the message by now.
//! 4. Sleep until `done` reads true (**G**), the context is released, or the thread is killed; look
//!    at all three each time the state has been set.
//! 5. Set the state to running. If `done` reads true (**G**, acquire), the node is in nobody's
//!    hands. Otherwise lock; unless `done` is true by now leave the line, with the payload if the
//!    slot has it. Unlock.
//! 6. Dispose of the payload, if it is here. Count the change out.
//!
//! # Reader
//!
//! 1. Faults first: take one, or find none. Then, if `unread` is not zero, make sure that the
//!    buffer is there, with nothing taken and faults on.
//! 2. Lock. Find the first announcer that is queued, take its payload and its number. Unlock.
//! 3. For a fork, reserve a descriptor and make a file that holds nothing. Copy the message to user
//!    space with faults off.
//! 4. If any of that failed: lock, look the number up. If it is there, the payload goes back into
//!    the slot; its place in the line it never left. Unlock. If it is not there, dispose of the
//!    payload. With an error to return, wake one reader and all pollers after a full barrier
//!    (**N**); if only the buffer's page went away, start over.
//! 5. Otherwise publish: the file takes the child over and is installed, which cannot fail. Lock,
//!    look the number up. If it is there, take the node out of the line, take a reference to its
//!    task, store `done` (**F**, release), which is the last access to the node, and put the task
//!    on a list of those to be woken. Unlock, wake.
//!
//! Nothing is published before all that can fail has succeeded, so an error loses no event and
//! leaves no descriptor behind.
//!
//! # Release
//!
//! Store `released`, take the VMAs away, lock, collect the tasks of the line, unlock, wake them.
//! They leave by themselves, in their step 5. No reader is under way: it would hold the file open.
//!
//! # No wake-up of an announcer is lost
//!
//! For `done` as for `woken` in [`super::wait`]: it is stored before the task is queued to be woken,
//! and the announcer looks at it after it set its state. `released` is stored before the line is
//! locked: an announcer that entered before is found with its state set, one that enters later sees
//! the store. A kill sets its signal before it wakes.
//!
//! # No stack is touched too late
//!
//! A node is reached through the line, under the lock, and its thread leaves the line under the
//! lock, unless `done` is true. **F** is the reader's last access and pairs with **G**.
//!
//! # No wake-up of a reader is lost
//!
//! The count of tokens in [`super::wait`] holds for both queues together. An announcer gets a token
//! in step 2 and always spends it, in step 3; a reader that puts a payload back and leaves spends a
//! new one; one that puts it back and starts over looks for a message before it sleeps. A reader
//! that leaves with an error before it took anything spends one, too: it may have been selected.
//! Between the store of `unread` and the look at the wait queues stands **E**, or **N**; it pairs
//! with **P**.
//!
//! # A reader does not wait while it has a payload
//!
//! The buffer may lie in memory that is itself served by a userfaultfd, and its fault may be
//! another thread's to resolve. If it were taken in step 3, that thread would get `EAGAIN` for as
//! long as the change is counted, which is until the reader is done. Hence step 1, and no faults in
//! step 3.

use core::mem;

/// Where the payload of an announcer in the line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot<P> {
    /// Here: nobody has read it, or delivery failed.
    Queued(P),
    /// With a reader that is delivering it.
    Delivering,
}

impl<P> Slot<P> {
    /// Whether there is something to read.
    pub const fn is_queued(&self) -> bool {
        matches!(self, Self::Queued(_))
    }

    /// Hands the payload over, to the reader or to the announcer that leaves. `None`: a reader has
    /// it.
    pub fn take(&mut self) -> Option<P> {
        match mem::replace(self, Self::Delivering) {
            Self::Queued(payload) => Some(payload),
            Self::Delivering => None,
        }
    }

    /// Takes the payload back from the reader that took it.
    pub fn put_back(&mut self, payload: P) {
        debug_assert!(!self.is_queued());
        *self = Self::Queued(payload);
    }
}

/// How an announcer's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A reader handed the payload out.
    Read,
    /// The thread was killed.
    Killed,
    /// Nobody will read it: the context was released.
    Released,
}

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn a_payload_is_in_one_place() {
        let mut slot = Slot::Queued("fork");
        assert_eq!(slot.take(), Some("fork"));
        assert_eq!((slot.take(), slot.is_queued()), (None, false));
        slot.put_back("fork");
        assert!(slot.is_queued());
        assert_eq!(slot.take(), Some("fork"));
        assert_eq!(slot, Slot::Delivering);
    }
}
