// SPDX-License-Identifier: GPL-2.0-only

//! Waiting threads in order of arrival.
//!
//! A node lives on the stack of the thread that waits; the list owns none of them.

use core::ptr::NonNull;

/// A node, or the end of the list.
pub(super) type Link<T> = Option<NonNull<T>>;

/// A node's place in the list.
///
/// # Invariants
///
/// While the node is in a list, its neighbours there.
pub(super) struct Neighbours<T> {
    older: Link<T>,
    newer: Link<T>,
}

impl<T> Neighbours<T> {
    /// Of a node that is in no list.
    pub(super) const NONE: Self = Self {
        older: None,
        newer: None,
    };
}

/// What can be in a [`Fifo`].
///
/// # Safety
///
/// `neighbours` returns a field of the node, which nothing but the list uses.
pub(super) unsafe trait Arrived: Sized {
    /// The place.
    ///
    /// # Safety
    ///
    /// The node is alive.
    unsafe fn neighbours(this: NonNull<Self>) -> NonNull<Neighbours<Self>>;

    /// The number of arrival, never used twice in a list.
    ///
    /// # Safety
    ///
    /// The node is alive and was in a list.
    unsafe fn seq(this: NonNull<Self>) -> u64;
}

/// A list of nodes.
///
/// # Invariants
///
/// The list from `oldest` to `newest` is in order of arrival, and its nodes are alive.
pub(super) struct Fifo<T> {
    oldest: Link<T>,
    newest: Link<T>,
}

impl<T: Arrived> Fifo<T> {
    /// An empty list.
    pub(super) const fn new() -> Self {
        Self {
            oldest: None,
            newest: None,
        }
    }

    /// The node that arrived first.
    pub(super) fn oldest(&self) -> Link<T> {
        self.oldest
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_none()
    }

    /// The node that arrived next.
    ///
    /// # Safety
    ///
    /// `node` is in this list.
    pub(super) unsafe fn newer(&self, node: NonNull<T>) -> Link<T> {
        // SAFETY: Nodes of a list are alive.
        unsafe { (*T::neighbours(node).as_ptr()).newer }
    }

    /// Adds a node that arrived after all others.
    ///
    /// # Safety
    ///
    /// `node` is alive and in no list, and stays alive and in place until it is removed.
    pub(super) unsafe fn append(&mut self, node: NonNull<T>) {
        // SAFETY: By the safety requirements; the newest node has no newer one.
        unsafe { self.link(node, self.newest, None) }
    }

    /// Adds a node that has been in the list before at its old place, which is close to the front.
    ///
    /// # Safety
    ///
    /// As for [`append`](Self::append).
    pub(super) unsafe fn put_back(&mut self, node: NonNull<T>) {
        let (mut older, mut newer) = (None, self.oldest);
        // SAFETY: Nodes of a list are alive, and so is this one. The two are neighbours.
        unsafe {
            while let Some(other) = newer.filter(|&other| T::seq(other) < T::seq(node)) {
                older = newer;
                newer = self.newer(other);
            }
            self.link(node, older, newer);
        }
    }

    /// Adds a node between two neighbours.
    ///
    /// # Safety
    ///
    /// As for [`append`](Self::append); `older` and `newer` are neighbours, or the ends.
    unsafe fn link(&mut self, node: NonNull<T>, older: Link<T>, newer: Link<T>) {
        // SAFETY: By the safety requirements; nodes of a list are alive.
        unsafe { T::neighbours(node).write(Neighbours { older, newer }) };
        // SAFETY: As above.
        unsafe { self.join(older, Some(node)) };
        // SAFETY: As above.
        unsafe { self.join(Some(node), newer) };
    }

    /// Removes a node.
    ///
    /// # Safety
    ///
    /// `node` is in this list.
    pub(super) unsafe fn remove(&mut self, node: NonNull<T>) {
        // SAFETY: Nodes of a list are alive, and what is left are neighbours.
        unsafe {
            let Neighbours { older, newer } = T::neighbours(node).read();
            self.join(older, newer);
        }
    }

    /// Makes neighbours of two nodes, of which none is the end of the list.
    ///
    /// # Safety
    ///
    /// The nodes are alive, and everything between them has gone.
    unsafe fn join(&mut self, older: Link<T>, newer: Link<T>) {
        // SAFETY: By the safety requirements.
        unsafe {
            match older {
                Some(node) => (*T::neighbours(node).as_ptr()).newer = newer,
                None => self.oldest = newer,
            }
            match newer {
                Some(node) => (*T::neighbours(node).as_ptr()).older = older,
                None => self.newest = older,
            }
        }
    }
}
