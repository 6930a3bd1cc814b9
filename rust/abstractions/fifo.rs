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
/// While the node is in a list, its neighbours there. The list is a ring: before the node that
/// arrived first comes the one that arrived last.
pub(super) struct Neighbours<T> {
    older: NonNull<T>,
    newer: NonNull<T>,
}

impl<T> Neighbours<T> {
    /// Of a node that is in no list.
    pub(super) const NONE: Self = Self {
        older: NonNull::dangling(),
        newer: NonNull::dangling(),
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
/// From `oldest` on the ring is in order of arrival, and its nodes are alive.
pub(super) struct Fifo<T> {
    oldest: Link<T>,
}

impl<T: Arrived> Fifo<T> {
    /// An empty list.
    pub(super) const fn new() -> Self {
        Self { oldest: None }
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
        let newer = unsafe { (*T::neighbours(node).as_ptr()).newer };
        Some(newer).filter(|_| self.oldest != Some(newer))
    }

    /// Adds a node that arrived after all others.
    ///
    /// # Safety
    ///
    /// `node` is alive and in no list, and stays alive and in place until it is removed.
    pub(super) unsafe fn append(&mut self, node: NonNull<T>) {
        // SAFETY: By the safety requirements; nodes of a list are alive.
        unsafe {
            match self.oldest {
                Some(oldest) => Self::link((*T::neighbours(oldest).as_ptr()).older, node),
                None => self.start(node),
            }
        }
    }

    /// Adds a node that has been in the list before at its old place, which is close to the front.
    ///
    /// # Safety
    ///
    /// As for [`append`](Self::append).
    pub(super) unsafe fn put_back(&mut self, node: NonNull<T>) {
        // SAFETY: Nodes of a list are alive, and so is this one.
        unsafe {
            let Some(oldest) = self.oldest else {
                return self.start(node);
            };
            let mut older = (*T::neighbours(oldest).as_ptr()).older;
            let mut newer = self.oldest;
            while let Some(other) = newer.filter(|&other| T::seq(other) < T::seq(node)) {
                older = other;
                newer = self.newer(other);
            }
            Self::link(older, node);
            if newer == self.oldest {
                self.oldest = Some(node);
            }
        }
    }

    /// Adds the first node.
    ///
    /// # Safety
    ///
    /// As for [`append`](Self::append); the list is empty.
    unsafe fn start(&mut self, node: NonNull<T>) {
        let (older, newer) = (node, node);
        // SAFETY: By the safety requirements.
        unsafe { T::neighbours(node).write(Neighbours { older, newer }) };
        self.oldest = Some(node);
    }

    /// Adds a node behind `older`.
    ///
    /// # Safety
    ///
    /// As for [`append`](Self::append); `older` is in the list.
    unsafe fn link(older: NonNull<T>, node: NonNull<T>) {
        // SAFETY: By the safety requirements; nodes of a list are alive.
        unsafe {
            let newer = (*T::neighbours(older).as_ptr()).newer;
            T::neighbours(node).write(Neighbours { older, newer });
            (*T::neighbours(older).as_ptr()).newer = node;
            (*T::neighbours(newer).as_ptr()).older = node;
        }
    }

    /// Removes a node.
    ///
    /// # Safety
    ///
    /// `node` is in this list.
    pub(super) unsafe fn remove(&mut self, node: NonNull<T>) {
        // SAFETY: Nodes of a list are alive.
        let Neighbours { older, newer } = unsafe { T::neighbours(node).read() };
        if newer == node {
            self.oldest = None;
            return;
        }
        // SAFETY: As above.
        unsafe {
            (*T::neighbours(older).as_ptr()).newer = newer;
            (*T::neighbours(newer).as_ptr()).older = older;
        }
        if self.oldest == Some(node) {
            self.oldest = Some(newer);
        }
    }
}
