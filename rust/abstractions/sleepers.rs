// SPDX-License-Identifier: GPL-2.0-only

//! The fault queue: faulting threads that sleep until their page is resolved.
//!
//! The protocol, with each barrier and its pair, stands in [`crate::pure::wait`]; names like **S**,
//! **W**, **R** and **A** below are its. This file gives it memory: nodes on the stacks of the
//! sleeping threads, linked into a red-black tree by address and into a list by arrival.

use core::{
    cell::UnsafeCell,
    cmp::Ordering,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::smp_mb,
        SpinLock, //
    },
    task::Task, //
};

use super::{
    task,
    trace::{
        self,
        ContextId,
        FaultMessage, //
    }, //
};
use crate::pure::{
    fault::{
        BlockingState,
        End,
        SecondLook, //
    },
    wait::{
        Delivery,
        Key,
        Scope,
        Tally, //
    },
};

#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
#[path = "../lab/sleepers.rs"]
mod lab_sleepers;
#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// A sleeping thread, on its own kernel stack.
///
/// # Invariants
///
/// - While linked, `node` is in the queue's tree, and `older` and `newer` are its neighbours in
///   the FIFO if `delivery` is `Unread`. All four, and `key`, change under the queue's lock only.
/// - `task` is the thread whose stack this is.
/// - `woken` goes from false to true once, when the node was unlinked by a waker that will not
///   touch it again.
#[repr(C)]
struct Sleeper<M> {
    // First, so that a node's address is its sleeper's.
    node: bindings::rb_node,
    key: Key,
    delivery: Delivery,
    older: Link<M>,
    newer: Link<M>,
    task: NonNull<Task>,
    message: M,
    woken: Atomic<bool>,
}

const _: () = assert!(core::mem::offset_of!(Sleeper<()>, node) == 0);

type Link<M> = Option<NonNull<Sleeper<M>>>;

/// What the queue's lock protects.
///
/// # Invariants
///
/// `root` orders all linked sleepers by [`Key`]; the list from `oldest` to `newest` holds those
/// whose message is unread, by [`Key::seq`].
struct Links<M> {
    root: bindings::rb_root,
    oldest: Link<M>,
    newest: Link<M>,
    tally: Tally,
}

// SAFETY: The pointers are followed under the queue's lock only, where the sleepers they lead to
// are alive; a `Sleeper` holds nothing but `M` that would be tied to a thread.
unsafe impl<M: Send> Send for Links<M> {}

/// A message that a reader took, and what puts it back.
pub(crate) struct Claim<M> {
    key: Key,
    /// What the sleeper has to say.
    pub(crate) message: M,
}

/// All sleepers of one context.
///
/// Locks: takes its own spinlock, which is innermost, so callers hold no raw spinlock and no wait
/// queue's lock, and interrupts are on. Only `sleep` sleeps; it may be entered with the fault lock
/// held, which `look_again` drops.
#[pin_data]
pub(crate) struct SleeperQueue<M: FaultMessage> {
    id: ContextId,
    #[pin]
    links: SpinLock<Links<M>>,
    /// Mirror of the tally: whether anyone sleeps. Written under the lock.
    sleepers: Atomic<i64>,
    /// Mirror of the tally: whether a message is unread. Written under the lock.
    unread: Atomic<i64>,
}

impl<M: FaultMessage> SleeperQueue<M> {
    /// The empty queue of a context.
    pub(crate) fn new(id: ContextId) -> impl PinInit<Self> {
        pin_init!(Self {
            id,
            links <- new_spinlock!(Links {
                root: bindings::rb_root::default(),
                oldest: None,
                newest: None,
                tally: Tally::new(),
            }, "uffd_sleepers"),
            sleepers: Atomic::new(0),
            unread: Atomic::new(0),
        })
    }

    /// Queues the current thread, lets `look_again` say whether it still has to sleep, and sleeps
    /// until a waker comes or a signal that ends sleeps in `state`.
    ///
    /// `look_again` runs as a task about to sleep: it must not sleep itself. It is the place to
    /// check what a waker changes, to drop locks, and to tell readers; what it returns beside the
    /// finding is passed on. On return the thread is in no list, and running.
    ///
    /// Returns the finding, and what came with it.
    pub(crate) fn sleep<T>(
        &self,
        address: usize,
        message: M,
        state: BlockingState,
        look_again: impl FnOnce() -> (SecondLook, T),
    ) -> (SecondLook, T) {
        let task = NonNull::from(&**current!());
        let mut sleeper = UnsafeCell::new(Sleeper {
            node: bindings::rb_node::default(),
            key: Key::default(),
            delivery: Delivery::Unread,
            older: None,
            newer: None,
            task,
            message,
            woken: Atomic::new(false),
        });
        // SAFETY: The address of a local is never null. From here to the end of this function the
        // sleeper is reached through this pointer only; it does not move, and it is unlinked
        // before the function returns.
        let this = unsafe { NonNull::new_unchecked(sleeper.get()) };
        {
            let mut links = self.links.lock();
            // SAFETY: The sleeper is alive, pinned to this frame, and not linked yet.
            unsafe { links.insert(this, address) };
            self.mirror(&links);
            // SAFETY: The sleeper is alive; keys of linked ones do not change.
            trace::fault_queue(&self.id, unsafe { &(*this.as_ptr()).key }, &message);
            // Barrier **S**; pairs with **W** in `wake`.
            task::set_current_state(state);
        }

        let (found, result) = look_again();
        defect!(TouchAfterWake, lab::busy_window(100));
        if found == SecondLook::Wait {
            // SAFETY: The sleeper is alive until this function returns.
            while !unsafe { Self::is_woken(this) } {
                // Before the look at signals: a fault of the kernel that a signal does not end is
                // tried again and again, and must give the processor away each time.
                task::schedule();
                if task::signal_ends(state) {
                    break;
                }
                // The wake-up may be a late one for something else: sleep on then.
                task::set_current_state(state);
            }
        }
        task::set_running();

        // SAFETY: As above.
        let mut woken = unsafe { Self::is_woken(this) };
        if !woken {
            let mut links = self.links.lock();
            // SAFETY: As above; under the lock the answer is final.
            woken = unsafe { Self::is_woken(this) };
            if !woken {
                // SAFETY: Not woken, so still linked.
                unsafe { links.remove(this) };
                self.mirror(&links);
            }
        }
        // From here on nobody knows of `sleeper`.
        let end = match found {
            _ if woken => End::Woken,
            SecondLook::Wait => End::Signal,
            SecondLook::Present => End::Present,
            SecondLook::Released => End::Released,
        };
        trace::fault_done(&self.id, &sleeper.get_mut().key, end);
        (found, result)
    }

    /// Whether a waker is done with the sleeper. Load **A**; pairs with **R** in `wake`.
    ///
    /// # Safety
    ///
    /// `this` is alive.
    unsafe fn is_woken(this: NonNull<Sleeper<M>>) -> bool {
        // SAFETY: Alive by the safety requirements; only the atomic is borrowed.
        unsafe { &(*this.as_ptr()).woken }.load(Acquire)
    }

    /// Takes the message that arrived first. Its sleeper sleeps on, and is woken by its address.
    pub(crate) fn claim(&self) -> Option<Claim<M>> {
        if !self.has_unread() {
            return None;
        }
        let mut links = self.links.lock();
        let oldest = links.oldest?;
        defect!(
            RefileWindow,
            return lab_sleepers::claim_by_refiling(self, links, oldest)
        );
        // SAFETY: `oldest` is linked, so it is alive while the lock is held.
        let claim = unsafe {
            links.unlink_unread(oldest);
            let sleeper = oldest.as_ptr();
            (*sleeper).delivery = Delivery::Read;
            Claim {
                key: (*sleeper).key,
                message: (*sleeper).message,
            }
        };
        links.tally.take();
        self.mirror(&links);
        trace::fault_read(&self.id, &claim.key);
        Some(claim)
    }

    /// Puts a message back that could not be handed out. Returns whether its sleeper still waits,
    /// so that there is a message to read again.
    pub(crate) fn put_back(&self, claim: Claim<M>) -> bool {
        let mut links = self.links.lock();
        let Some(sleeper) = links.find(&claim.key) else {
            return false;
        };
        // SAFETY: `sleeper` is linked.
        if unsafe { (*sleeper.as_ptr()).delivery } == Delivery::Unread {
            // Not a claim of this queue.
            return false;
        }
        // SAFETY: `sleeper` is linked in the tree, and not in the FIFO.
        unsafe { links.link_unread(sleeper) };
        links.tally.put_back();
        self.mirror(&links);
        trace::fault_unread(&self.id, &claim.key);
        true
    }

    /// Wakes the sleepers that `scope` concerns.
    ///
    /// What they look at before they sleep was changed by the caller before the call. Costs a
    /// barrier and a load when nobody sleeps, otherwise what lies in the scope.
    #[inline(always)]
    pub(crate) fn wake(&self, scope: Scope) {
        // Barrier **W**; pairs with **S** in `sleep`.
        smp_mb(Full);
        if self.sleepers.load(Relaxed) != 0 {
            self.wake_sleepers(scope);
        } else {
            trace::wake(&self.id, &scope, 0);
        }
    }

    #[inline(never)]
    fn wake_sleepers(&self, scope: Scope) {
        // Its drop wakes, so it must be dropped after the lock.
        pin_init::stack_pin_init!(let woken = task::WakeQueue::new());
        let mut links = self.links.lock();
        let mut next = links.first_in(&scope);
        let asleep = links.tally.sleepers();
        while let Some(sleeper) = next {
            // SAFETY: `sleeper` is linked, so it and its task are alive while the lock is held,
            // until the store of `woken`.
            unsafe {
                defect!(TouchAfterWake, lab_sleepers::wake_too_early(sleeper));
                next = Links::successor(sleeper)
                    .filter(|other| scope.locate(&(*other.as_ptr()).key) == Ordering::Equal);
                links.remove(sleeper);
                trace::fault_wake(&self.id, &(*sleeper.as_ptr()).key);
                let task = ARef::from((*sleeper.as_ptr()).task.as_ref());
                // Store **R**; pairs with **A**. The sleeper may be gone after this line.
                (*sleeper.as_ptr()).woken.store(true, Release);
                woken.add(task);
            }
        }
        self.mirror(&links);
        trace::wake(&self.id, &scope, asleep - links.tally.sleepers());
    }

    /// Whether there is a message to read.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed) != 0
    }

    /// Sleepers whose message is unread, and all sleepers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let links = self.links.lock();
        (links.tally.unread(), links.tally.sleepers())
    }

    fn mirror(&self, links: &Links<M>) {
        self.sleepers.store(links.tally.sleepers() as i64, Relaxed);
        self.unread.store(links.tally.unread() as i64, Relaxed);
    }
}

impl<M> Links<M> {
    /// Links a sleeper into the tree and at the end of the FIFO.
    ///
    /// # Safety
    ///
    /// `sleeper` is alive and not linked, and stays alive and in place until it is unlinked.
    unsafe fn insert(&mut self, sleeper: NonNull<Sleeper<M>>, address: usize) {
        let key = self.tally.enqueue(address);
        let mut slot: *mut *mut bindings::rb_node = &raw mut self.root.rb_node;
        let mut parent = core::ptr::null_mut();
        // SAFETY: Every node of the tree is the first field of a live sleeper, by the type
        // invariants, and `sleeper` is alive by the safety requirements.
        unsafe {
            (*sleeper.as_ptr()).key = key;
            while let Some(node) = NonNull::new(*slot) {
                parent = node.as_ptr();
                slot = if key < (*node.cast::<Sleeper<M>>().as_ptr()).key {
                    &raw mut (*parent).rb_left
                } else {
                    &raw mut (*parent).rb_right
                };
            }
            let node = &raw mut (*sleeper.as_ptr()).node;
            bindings::rb_link_node(node, parent, slot);
            bindings::rb_insert_color(node, &raw mut self.root);
            self.link_unread(sleeper);
        }
    }

    /// Unlinks a sleeper from tree and FIFO.
    ///
    /// # Safety
    ///
    /// `sleeper` is linked.
    unsafe fn remove(&mut self, sleeper: NonNull<Sleeper<M>>) {
        // SAFETY: Linked sleepers are alive, and their nodes are in this tree.
        unsafe {
            let delivery = (*sleeper.as_ptr()).delivery;
            if delivery == Delivery::Unread {
                self.unlink_unread(sleeper);
            }
            bindings::rb_erase(&raw mut (*sleeper.as_ptr()).node, &raw mut self.root);
            self.tally.remove(delivery);
        }
    }

    /// Links a sleeper into the FIFO, in order of arrival: at the end if it is new, at the front or
    /// close to it if its message is put back.
    ///
    /// # Safety
    ///
    /// `sleeper` is alive and not in the FIFO.
    unsafe fn link_unread(&mut self, sleeper: NonNull<Sleeper<M>>) {
        // SAFETY: Sleepers in the FIFO are linked, hence alive.
        unsafe {
            let this = sleeper.as_ptr();
            let is_older =
                |other: NonNull<Sleeper<M>>| (*other.as_ptr()).key.seq() < (*this).key.seq();
            let mut older = self.newest.filter(|&newest| is_older(newest));
            let mut newer = None;
            if older.is_none() {
                newer = self.oldest;
                while let Some(other) = newer.filter(|&other| is_older(other)) {
                    older = newer;
                    newer = (*other.as_ptr()).newer;
                }
            }
            (*this).delivery = Delivery::Unread;
            (*this).older = older;
            (*this).newer = newer;
            match older {
                Some(other) => (*other.as_ptr()).newer = Some(sleeper),
                None => self.oldest = Some(sleeper),
            }
            match newer {
                Some(other) => (*other.as_ptr()).older = Some(sleeper),
                None => self.newest = Some(sleeper),
            }
        }
    }

    /// Unlinks a sleeper from the FIFO.
    ///
    /// # Safety
    ///
    /// `sleeper` is in the FIFO.
    unsafe fn unlink_unread(&mut self, sleeper: NonNull<Sleeper<M>>) {
        // SAFETY: Sleepers in the FIFO are linked, hence alive.
        unsafe {
            let Sleeper { older, newer, .. } = *sleeper.as_ptr();
            match older {
                Some(other) => (*other.as_ptr()).newer = newer,
                None => self.oldest = newer,
            }
            match newer {
                Some(other) => (*other.as_ptr()).older = older,
                None => self.newest = older,
            }
        }
    }

    /// The first sleeper, in order of keys, for which `before` is false.
    fn first_not(&self, before: impl Fn(&Key) -> bool) -> Link<M> {
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

    /// The first sleeper that `scope` concerns.
    fn first_in(&self, scope: &Scope) -> Link<M> {
        let first = self.first_not(|key| scope.locate(key) == Ordering::Less)?;
        // SAFETY: Just found in the tree, hence alive.
        let key = unsafe { (*first.as_ptr()).key };
        (scope.locate(&key) == Ordering::Equal).then_some(first)
    }

    /// The sleeper with `key`, if it has not left.
    fn find(&self, key: &Key) -> Link<M> {
        let first = self.first_not(|other| other < key)?;
        // SAFETY: Just found in the tree, hence alive.
        (unsafe { (*first.as_ptr()).key } == *key).then_some(first)
    }

    /// The next sleeper in order of keys.
    ///
    /// # Safety
    ///
    /// `sleeper` is linked.
    unsafe fn successor(sleeper: NonNull<Sleeper<M>>) -> Link<M> {
        // SAFETY: A linked node has its place in the tree; nodes are first in their sleepers.
        NonNull::new(unsafe { bindings::rb_next(&raw const (*sleeper.as_ptr()).node) })
            .map(NonNull::cast)
    }
}
