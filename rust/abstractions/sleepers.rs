// SPDX-License-Identifier: GPL-2.0-only

//! The fault queue: faulting threads that sleep until their page is resolved.
//!
//! The protocol, with each barrier and its pair, stands in [`crate::pure::wait`]; names like **S**,
//! **W**, **R** and **A** below are its. This file gives it memory: nodes on the stacks of the
//! sleeping threads, linked into a red-black tree by address and into a list by arrival.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
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

#[cfg(CONFIG_DEBUG_FS)]
use super::statistics::Sleepers;
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
    statistics::Stamp,
    task,
    trace::FaultMessage, //
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

mod links;

#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
#[path = "../lab/sleepers.rs"]
mod lab_sleepers;
#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// A sleeping thread, on its own kernel stack.
///
/// # Invariants
///
/// - While linked, `node` is in the queue's tree, and the sleeper in its FIFO if `delivery` is
///   `Unread`. These, `place`, `key` and `stamp` change under the queue's lock only.
/// - `task` is the thread whose stack this is.
/// - `woken` goes from false to true once, when the node was unlinked by a waker that will not
///   touch it again.
#[repr(C)]
struct Sleeper<M> {
    // First, so that a node's address is its sleeper's.
    node: bindings::rb_node,
    key: Key,
    delivery: Delivery,
    place: Neighbours<Self>,
    task: NonNull<Task>,
    message: M,
    woken: Atomic<bool>,
    stamp: Stamp,
}

const _: () = assert!(core::mem::offset_of!(Sleeper<()>, node) == 0);

// SAFETY: `place` is such a field.
unsafe impl<M> Arrived for Sleeper<M> {
    unsafe fn neighbours(this: NonNull<Self>) -> NonNull<Neighbours<Self>> {
        // SAFETY: The node is alive, and no field is at null.
        unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).place) }
    }

    unsafe fn seq(this: NonNull<Self>) -> u64 {
        // SAFETY: The node is alive, and got its key when it was linked.
        unsafe { (*this.as_ptr()).key }.seq()
    }
}

/// What the queue's lock protects.
///
/// # Invariants
///
/// `root` orders all linked sleepers by [`Key`]; `fifo` holds those whose message is unread, by
/// [`Key::seq`].
struct Links<M> {
    root: bindings::rb_root,
    fifo: Fifo<Sleeper<M>>,
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
    /// First, as it may know of the others, and is dropped before them.
    observer: Observer,
    #[pin]
    lock: SpinLock<()>,
    links: Beside<Links<M>>,
    /// Mirror of the tree: whether anyone sleeps. Written under the lock.
    sleepers: Atomic<bool>,
    /// Mirror of the FIFO: whether a message is unread. Written under the lock.
    unread: Atomic<bool>,
}

impl<M: FaultMessage> SleeperQueue<M> {
    /// The empty queue of a context.
    pub(crate) fn new(observer: Observer) -> impl PinInit<Self> {
        pin_init!(Self {
            observer,
            lock <- new_spinlock!((), "uffd_sleepers"),
            links: Beside::new(Links {
                root: bindings::rb_root::default(),
                fifo: Fifo::new(),
                tally: Tally::new(),
            }),
            sleepers: Atomic::new(false),
            unread: Atomic::new(false),
        })
    }

    /// Who watches the context.
    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Has what the context sees counted from now on, if that is switched on. May sleep.
    #[inline(always)]
    pub(crate) fn begin_counts(&self)
    where
        M: 'static,
    {
        // SAFETY: The queue is pinned, as its lock is, and drops the observer first.
        unsafe { self.observer.begin(self) };
    }

    #[inline(always)]
    fn lock(&self) -> Locked<'_, Links<M>> {
        // SAFETY: The links are reached here only.
        unsafe { self.links.under(self.lock.lock()) }
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
        let sleeper = UnsafeCell::new(MaybeUninit::<Sleeper<M>>::uninit());
        // SAFETY: The address of a local is never null. From here to the end of this function the
        // sleeper is reached through this pointer only; it does not move, and it is unlinked
        // before the function returns.
        let this = unsafe { NonNull::new_unchecked(sleeper.get().cast::<Sleeper<M>>()) };
        // SAFETY: There is room for a sleeper. Its other fields are written when it is linked.
        unsafe {
            let this = this.as_ptr();
            (&raw mut (*this).task).write(NonNull::from(&**current!()));
            (&raw mut (*this).message).write(message);
            (&raw mut (*this).woken).write(Atomic::new(false));
            (&raw mut (*this).stamp).write(Stamp::NONE);
        }
        {
            let mut links = self.lock();
            // SAFETY: The sleeper is pinned to this frame, not linked yet, and was written above.
            unsafe { links.insert(this, address) };
            self.sleepers.store(true, Relaxed);
            self.unread.store(true, Relaxed);
            // SAFETY: The sleeper is alive, and the lock is held.
            unsafe {
                self.observer.fault_queued(
                    &(*this.as_ptr()).key,
                    &(*this.as_ptr()).message,
                    &mut (*this.as_ptr()).stamp,
                    links.tally.sleepers(),
                );
            }
            // Barrier **S**; pairs with **W** in `wake`.
            task::set_current_state(state);
        }

        let (found, result) = look_again();
        if found == SecondLook::Wait {
            // Without a look first: whoever stores `woken` found the task with its state set, and
            // wakes it. And before the look at signals: a fault of the kernel that a signal does
            // not end is tried again and again, and must give the processor away each time.
            task::schedule();
            // SAFETY: The sleeper is alive until this function returns.
            while !unsafe { Self::is_woken(this) } && !task::signal_ends(state) {
                // The wake-up was a late one for something else: sleep on.
                task::set_current_state(state);
                // SAFETY: As above.
                if unsafe { Self::is_woken(this) } {
                    break;
                }
                task::schedule();
            }
        }
        task::set_running();

        // SAFETY: As above.
        let mut woken = unsafe { Self::is_woken(this) };
        if !woken {
            let mut links = self.lock();
            // SAFETY: As above; under the lock the answer is final.
            woken = unsafe { Self::is_woken(this) };
            if !woken {
                // SAFETY: Not woken, so still linked.
                unsafe { links.remove(this) };
                self.mirror_sleepers(&links);
                self.mirror_unread(&links);
            }
        }
        // From here on nobody knows of `sleeper`.
        let end = match found {
            _ if woken => End::Woken,
            SecondLook::Wait => End::Signal,
            SecondLook::Present => End::Present,
            SecondLook::Released => End::Released,
        };
        // SAFETY: The sleeper is alive and was linked, so it has a key, and nobody else knows it.
        self.observer
            .fault_done(unsafe { &(*this.as_ptr()).key }, end);
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
        let mut links = self.lock();
        let oldest = links.fifo.oldest()?;
        defect!(
            RefileWindow,
            return lab_sleepers::claim_by_refiling(self, links, oldest)
        );
        // SAFETY: `oldest` is linked and in the FIFO.
        let claim = unsafe { links.take(oldest) };
        self.mirror_unread(&links);
        // SAFETY: Linked, so alive, and the lock is held.
        let stamp = unsafe { &mut (*oldest.as_ptr()).stamp };
        self.observer.fault_read(&claim.key, stamp);
        Some(claim)
    }

    /// Puts a message back that could not be handed out. Returns whether its sleeper still waits,
    /// so that there is a message to read again.
    pub(crate) fn put_back(&self, claim: Claim<M>) -> bool {
        let mut links = self.lock();
        let Some(sleeper) = links.find(&claim.key) else {
            return false;
        };
        // SAFETY: `sleeper` is linked.
        if unsafe { (*sleeper.as_ptr()).delivery } == Delivery::Unread {
            // Not a claim of this queue.
            return false;
        }
        // SAFETY: `sleeper` is linked in the tree, and not in the FIFO.
        unsafe {
            links.fifo.put_back(sleeper);
            (*sleeper.as_ptr()).delivery = Delivery::Unread;
        }
        links.tally.put_back();
        self.unread.store(true, Relaxed);
        // SAFETY: As above, and the lock is held.
        let stamp = unsafe { &mut (*sleeper.as_ptr()).stamp };
        self.observer.fault_unread(&claim.key, stamp);
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
        let (first, last) = scope.bounds();
        if self.sleepers.load(Relaxed) {
            self.wake_between(first, last);
        } else {
            self.observer.wake(first, last, 0);
        }
    }

    /// Wakes those whose addresses lie between `first` and `last`, both included.
    #[inline(never)]
    fn wake_between(&self, first: usize, last: usize) {
        task::wake_after(|woken| {
            let mut links = self.lock();
            let asleep = links.tally.sleepers();
            let mut next = links.first_not(|key| key.address() < first);
            // SAFETY: What was found in the tree is linked, so it and its task are alive while the
            // lock is held, until the store of `woken`.
            unsafe {
                while let Some(sleeper) =
                    next.filter(|sleeper| (*sleeper.as_ptr()).key.address() <= last)
                {
                    defect!(TouchAfterWake, lab_sleepers::wake_too_early(sleeper));
                    next = Links::successor(sleeper);
                    if links.remove(sleeper) == Delivery::Unread {
                        self.mirror_unread(&links);
                    }
                    self.observer
                        .fault_woken(&(*sleeper.as_ptr()).key, &(*sleeper.as_ptr()).stamp);
                    let task = ARef::from((*sleeper.as_ptr()).task.as_ref());
                    // Store **R**; pairs with **A**. The sleeper may be gone after this line.
                    (*sleeper.as_ptr()).woken.store(true, Release);
                    woken.add(task);
                }
            }
            self.mirror_sleepers(&links);
            let woken = asleep - links.tally.sleepers();
            self.observer.wake(first, last, woken);
        });
    }

    /// Whether there is a message to read.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Sleepers whose message is unread, and all sleepers.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let links = self.lock();
        (links.tally.unread(), links.tally.sleepers())
    }

    fn mirror_sleepers(&self, links: &Links<M>) {
        self.sleepers.store(!links.root.rb_node.is_null(), Relaxed);
    }

    fn mirror_unread(&self, links: &Links<M>) {
        self.unread.store(!links.fifo.is_empty(), Relaxed);
    }
}

#[cfg(CONFIG_DEBUG_FS)]
impl<M: FaultMessage> Sleepers for SleeperQueue<M> {
    fn sleepers(&self) -> u32 {
        self.lock().tally.sleepers()
    }
}
