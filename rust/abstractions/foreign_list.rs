// SPDX-License-Identifier: GPL-2.0-only

//! Lists that C keeps for us from one call to the next: C has the head, the nodes are ours.

use core::{
    iter,
    marker::PhantomData,
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*, //
};

/// An element of such a list.
#[repr(C)]
struct Node<T> {
    // First, so that its address is the node's.
    links: bindings::list_head,
    value: T,
}

const _: () = assert!(offset_of!(Node<()>, links) == 0);

/// Room for one more element, so that adding it cannot fail.
pub(crate) struct Reserved<T>(KBox<MaybeUninit<Node<T>>>);

impl<T> Reserved<T> {
    /// Allocates; may sleep. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KBox::new_uninit(GFP_KERNEL)?))
    }
}

/// A list whose head is C's.
///
/// # Invariants
///
/// `head` points at an initialised list, reached through this value alone for `'a`. All elements
/// are `Node<T>`s, each allocated as a `KBox` that the list owns.
pub(crate) struct ForeignList<'a, T> {
    head: NonNull<bindings::list_head>,
    _elements: PhantomData<&'a mut Node<T>>,
}

impl<T> ForeignList<'_, T> {
    /// Takes on a list that C carries.
    ///
    /// # Safety
    ///
    /// `head` points at an initialised list that only this value reaches while it lives. Whatever
    /// is in it was put there by a `ForeignList<T>`.
    pub(crate) unsafe fn adopt(head: NonNull<bindings::list_head>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            head,
            _elements: PhantomData,
        }
    }

    /// The elements, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: By the type invariants the list is valid, and it does not change while borrowed.
        let first = unsafe { (*self.head.as_ptr()).next };
        iter::successors(Some(first), |links| {
            // SAFETY: As above.
            Some(unsafe { (**links).next })
        })
        .take_while(|links| *links != self.head.as_ptr())
        // SAFETY: By the type invariants what is not the head is the first field of a `Node<T>`.
        .map(|links| unsafe { &(*links.cast::<Node<T>>()).value })
    }

    /// Adds `value` at the end.
    pub(crate) fn push(&mut self, room: Reserved<T>, value: T) {
        let node = room.0.write(Node {
            links: bindings::list_head::default(),
            value,
        });
        let node = KBox::into_raw(node);
        // SAFETY: By the type invariants the list is valid; it owns the node from here on.
        unsafe { bindings::list_add_tail(&raw mut (*node).links, self.head.as_ptr()) };
    }

    /// Takes the oldest element out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let head = self.head.as_ptr();
        // SAFETY: By the type invariants the list is valid and what is not the head is the first
        // field of a boxed `Node<T>`, which is taken out of the list here and owned by the box.
        let node = unsafe {
            let first = (*head).next;
            if first == head {
                return None;
            }
            (*head).next = (*first).next;
            (*(*first).next).prev = head;
            KBox::from_raw(first.cast::<Node<T>>())
        };
        Some(KBox::into_inner(node).value)
    }
}
