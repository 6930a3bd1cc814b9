// SPDX-License-Identifier: GPL-2.0-only

//! The tree of sleepers by address, and with it their list by arrival.

use core::ptr::NonNull;

use kernel::bindings;

use super::{
    Claim,
    Link,
    Links,
    Sleeper, //
};
use crate::pure::wait::{
    Delivery,
    Key, //
};

impl<M> Links<M> {
    /// Links a sleeper into the tree and at the end of the FIFO.
    ///
    /// # Safety
    ///
    /// `sleeper` is alive and not linked, and stays alive and in place until it is unlinked. Its
    /// `task`, `message`, `woken` and `stamp` were written; the other fields are written here.
    pub(super) unsafe fn insert(&mut self, sleeper: NonNull<Sleeper<M>>, address: usize) {
        let key = self.tally.enqueue(address);
        let mut slot: *mut *mut bindings::rb_node = &raw mut self.root.rb_node;
        let mut parent = core::ptr::null_mut();
        // SAFETY: Every node of the tree is the first field of a live sleeper, by the type
        // invariants, and `sleeper` is alive by the safety requirements.
        unsafe {
            (&raw mut (*sleeper.as_ptr()).key).write(key);
            (&raw mut (*sleeper.as_ptr()).delivery).write(Delivery::Unread);
            while let Some(node) = NonNull::new(*slot) {
                parent = node.as_ptr();
                // Others with the same address came before, so this is the order of keys.
                slot = if address < (*node.cast::<Sleeper<M>>().as_ptr()).key.address() {
                    &raw mut (*parent).rb_left
                } else {
                    &raw mut (*parent).rb_right
                };
            }
            let node = &raw mut (*sleeper.as_ptr()).node;
            bindings::rb_link_node(node, parent, slot);
            bindings::rb_insert_color(node, &raw mut self.root);
            self.fifo.append(sleeper);
        }
    }

    /// Unlinks a sleeper from tree and FIFO. Returns whether it was in the latter.
    ///
    /// # Safety
    ///
    /// `sleeper` is linked.
    pub(super) unsafe fn remove(&mut self, sleeper: NonNull<Sleeper<M>>) -> Delivery {
        // SAFETY: Linked sleepers are alive, and their nodes are in this tree.
        unsafe {
            let delivery = (*sleeper.as_ptr()).delivery;
            if delivery == Delivery::Unread {
                self.fifo.remove(sleeper);
            }
            bindings::rb_erase(&raw mut (*sleeper.as_ptr()).node, &raw mut self.root);
            self.tally.remove(delivery);
            delivery
        }
    }

    /// Takes the message of a sleeper, which stays in the tree.
    ///
    /// # Safety
    ///
    /// `sleeper` is linked, and its message unread.
    #[inline(always)]
    pub(super) unsafe fn take(&mut self, sleeper: NonNull<Sleeper<M>>) -> Claim<M>
    where
        M: Copy,
    {
        self.tally.take();
        // SAFETY: Linked sleepers are alive, and those with an unread message are in the FIFO.
        unsafe {
            self.fifo.remove(sleeper);
            let sleeper = sleeper.as_ptr();
            (*sleeper).delivery = Delivery::Read;
            Claim {
                key: (*sleeper).key,
                message: (*sleeper).message,
            }
        }
    }

    /// The first sleeper, in order of keys, for which `before` is false.
    pub(super) fn first_not(&self, before: impl Fn(&Key) -> bool) -> Link<Sleeper<M>> {
        let mut found = None;
        let mut next = NonNull::new(self.root.rb_node);
        while let Some(node) = next {
            let sleeper = node.cast::<Sleeper<M>>();
            // SAFETY: Every node of the tree is the first field of a live sleeper.
            unsafe {
                next = if before(&(*sleeper.as_ptr()).key) {
                    NonNull::new((*node.as_ptr()).rb_right)
                } else {
                    found = Some(sleeper);
                    NonNull::new((*node.as_ptr()).rb_left)
                };
            }
        }
        found
    }

    /// The sleeper with `key`, if it has not left.
    pub(super) fn find(&self, key: &Key) -> Link<Sleeper<M>> {
        let first = self.first_not(|other| other < key)?;
        // SAFETY: Just found in the tree, hence alive.
        (unsafe { (*first.as_ptr()).key } == *key).then_some(first)
    }

    /// The next sleeper in order of keys.
    ///
    /// # Safety
    ///
    /// `sleeper` is linked.
    pub(super) unsafe fn successor(sleeper: NonNull<Sleeper<M>>) -> Link<Sleeper<M>> {
        // SAFETY: A linked node has its place in the tree; nodes are first in their sleepers.
        NonNull::new(unsafe { bindings::rb_next(&raw const (*sleeper.as_ptr()).node) })
            .map(NonNull::cast)
    }
}
