// SPDX-License-Identifier: GPL-2.0-only

//! Counts of a context, and how long its faults took, while somebody wants to know.
//!
//! A context has room for a pointer. What it points at is made when the context is, or at its next
//! request or read() that resolves or reads faults, if counting is switched on then; it stays as
//! long as the context. All counts are in one list, for those who read them.
//!
//! # Locks
//!
//! The list has a mutex. It is taken when counts are made, maybe under mmap locks (fork), when they
//! are freed, and by readers. Inside it is the lock of the queue of sleepers, and nothing else:
//! nobody allocates or copies to user space with it held.

use core::{
    cell::UnsafeCell,
    ptr::{
        null_mut,
        NonNull, //
    },
};

use kernel::{
    alloc::flags::__GFP_NOWARN,
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

use super::{
    fifo::{
        Arrived,
        Fifo,
        Neighbours, //
    },
    observer::ContextId, //
};
use crate::pure::{
    abi::Reason,
    fault::End,
    observe::{
        Again,
        Histogram as Buckets,
        Kind,
        Resolve, //
    },
};

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// How often the switch was moved: odd while there is counting. Looked at behind the static branch
/// only.
static MOVES: Atomic<u32> = Atomic::new(0);

/// All counts.
struct Records(Fifo<Record>);

// SAFETY: Records may be read on any thread, and are linked and unlinked under the lock of the list.
unsafe impl Send for Records {}

global_lock! {
    // SAFETY: `init` comes before everything else, at boot.
    unsafe(uninit) static RECORDS: Mutex<Records> = Records(Fifo::new());
}

global_lock! {
    // SAFETY: As above.
    unsafe(uninit) static SWITCH: Mutex<()> = ();
}

/// Called once, at boot, before there are contexts.
pub(crate) fn init() {
    // SAFETY: Called once, and nobody has used them.
    unsafe {
        RECORDS.init();
        SWITCH.init();
    }
}

/// Whether there is counting.
pub(crate) fn are_on() -> bool {
    MOVES.load(Relaxed) % 2 == 1
}

/// Switches counting on or off, for all contexts. May sleep.
pub(crate) fn switch(on: bool) {
    let _guard = SWITCH.lock();
    if on == are_on() {
        return;
    }
    MOVES.add(1_u32, Relaxed);
    // SAFETY: May be called by whoever may sleep. Those who watch are counted: one more, or the one
    // that was more.
    unsafe {
        if on {
            bindings::uffd_glue_watch();
        } else {
            bindings::uffd_glue_unwatch();
        }
    }
}

/// Shows all counts, in the order in which they were begun. May sleep; none is begun or freed
/// meanwhile, so `look` must do neither.
pub(crate) fn for_each(mut look: impl FnMut(&Record)) {
    let records = RECORDS.lock();
    let mut next = records.0.oldest();
    while let Some(record) = next {
        // SAFETY: What is in the list is alive while its lock is held.
        unsafe {
            look(record.as_ref());
            next = records.0.newer(record);
        }
    }
}

/// Counts by kind.
pub(crate) struct Counts<K, const N: usize> {
    counts: [Atomic<u64>; N],
    _kind: core::marker::PhantomData<fn(K)>,
}

impl<K: Kind, const N: usize> Counts<K, N> {
    const fn new() -> Self {
        const { assert!(K::NAMES.len() == N) };
        Self {
            counts: [const { Atomic::new(0) }; N],
            _kind: core::marker::PhantomData,
        }
    }

    fn add(&self, kind: K) {
        if let Some(count) = self.counts.get(kind.index()) {
            count.add(1_u64, Relaxed);
        }
    }

    /// The counts and what they are called.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        K::NAMES.iter().copied().zip(counts)
    }
}

/// How long something took.
pub(crate) struct Histogram([Atomic<u64>; Buckets::COUNT]);

impl Histogram {
    const fn new() -> Self {
        Self([const { Atomic::new(0) }; Buckets::COUNT])
    }

    fn add(&self, took: Option<Delta>) {
        let bucket = took.map(|took| Buckets::of(took.as_nanos().unsigned_abs()));
        if let Some(count) = bucket.and_then(|bucket| self.0.get(bucket)) {
            count.add(1_u64, Relaxed);
        }
    }

    /// The shortest time of each bucket that is not empty, in nanoseconds, and what is in it.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        let buckets = counts.enumerate().filter(|(_, count)| *count != 0);
        buckets.map(|(bucket, count)| (Buckets::shortest(bucket), count))
    }
}

/// When something happened, and under which position of the switch.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    at: Instant<Monotonic>,
    moves: u32,
}

impl Moment {
    /// This one, if there is counting.
    fn now() -> Option<Self> {
        let moves = MOVES.load(Relaxed);
        (moves % 2 == 1).then(|| Self {
            at: Instant::now(),
            moves,
        })
    }

    /// How long ago it was, unless the switch was moved meanwhile: then something may have been
    /// missed.
    fn until(self, now: Self) -> Option<Delta> {
        (self.moves == now.moves).then(|| now.at - self.at)
    }
}

/// What is known of a sleeper's message, if there was counting when it happened.
///
/// Changes under the lock of the queue.
pub(super) enum Stamp {
    /// Nothing.
    None,
    /// It was queued, or queued again.
    Queued(Moment),
    /// A reader took it.
    Read(Moment),
}

impl Stamp {
    /// That of a new sleeper.
    pub(super) const NONE: Self = Self::None;
}

/// What knows how many sleep.
pub(super) trait Sleepers: Sync {
    /// So many. Takes the lock of their queue.
    fn sleepers(&self) -> u32;
}

/// The counts of one context.
///
/// # Invariants
///
/// `sleepers` is valid as long as the record. `place` belongs to the list.
pub(crate) struct Record {
    /// Whose they are.
    pub(crate) ctx: ContextId,
    sleepers: NonNull<dyn Sleepers>,
    place: UnsafeCell<Neighbours<Self>>,
    most: Atomic<u32>,
    /// Faults that were queued.
    pub(crate) queued: Counts<Reason, 4>,
    refused: Atomic<u64>,
    read: Atomic<u64>,
    unread: Atomic<u64>,
    /// Faults that have left the queue.
    pub(crate) ended: Counts<End, 4>,
    wakes: Atomic<u64>,
    /// Requests that did something.
    pub(crate) resolved: Counts<Resolve, 7>,
    /// Requests whose caller is to try again.
    pub(crate) again: Counts<Again, 3>,
    /// From the queue to the reader.
    pub(crate) to_read: Histogram,
    /// From the reader to the waker.
    pub(crate) to_wake: Histogram,
}

// SAFETY: `place` is such a field.
unsafe impl Arrived for Record {
    unsafe fn neighbours(this: NonNull<Self>) -> NonNull<Neighbours<Self>> {
        // SAFETY: The record is alive, and no field is at null.
        unsafe { NonNull::new_unchecked(UnsafeCell::raw_get(&raw const (*this.as_ptr()).place)) }
    }

    unsafe fn seq(this: NonNull<Self>) -> u64 {
        // SAFETY: The record is alive.
        unsafe { (*this.as_ptr()).ctx }.number()
    }
}

impl Record {
    fn new(ctx: ContextId, sleepers: NonNull<dyn Sleepers>) -> Self {
        Self {
            ctx,
            sleepers,
            place: UnsafeCell::new(Neighbours::NONE),
            most: Atomic::new(0),
            queued: Counts::new(),
            refused: Atomic::new(0),
            read: Atomic::new(0),
            unread: Atomic::new(0),
            ended: Counts::new(),
            wakes: Atomic::new(0),
            resolved: Counts::new(),
            again: Counts::new(),
            to_read: Histogram::new(),
            to_wake: Histogram::new(),
        }
    }

    /// How many sleep now, and how many did at most while that was counted or looked at.
    pub(crate) fn sleepers(&self) -> (u32, u32) {
        // SAFETY: Valid by the type invariants.
        let now = unsafe { self.sleepers.as_ref() }.sleepers();
        self.raise(now);
        (now, self.most.load(Relaxed))
    }

    fn raise(&self, sleepers: u32) {
        let mut most = self.most.load(Relaxed);
        while most < sleepers {
            match self.most.cmpxchg(most, sleepers, Relaxed) {
                Ok(_) => return,
                Err(now) => most = now,
            }
        }
    }

    /// Faults that were not queued.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Messages that readers took, and those they could not deliver.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.read.load(Relaxed), self.unread.load(Relaxed))
    }

    /// Wake-ups, of somebody or nobody.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Relaxed)
    }
}

/// A context's place for its counts.
///
/// # Invariants
///
/// `record` is null until it points at a record in a box, which is in the list and whose it is. That
/// changes with the lock of the list held.
pub(super) struct Account {
    record: Atomic<*mut Record>,
}

impl Account {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self {
            record: Atomic::new(null_mut()),
        }
    }

    /// The counts, if there are any and there is counting.
    fn record(&self) -> Option<&Record> {
        if !are_on() {
            return None;
        }
        // SAFETY: By the type invariants. Freed when `self` is dropped.
        unsafe { self.record.load(Acquire).as_ref() }
    }

    /// Begins to count, if that is switched on and was not begun, and there is memory. May sleep.
    ///
    /// # Safety
    ///
    /// `sleepers` stays where it is and as it is until `self` is dropped.
    #[cold]
    pub(super) unsafe fn open(&self, ctx: ContextId, sleepers: &(impl Sleepers + 'static)) {
        if !are_on() || !self.record.load(Relaxed).is_null() {
            return;
        }
        let sleepers: &(dyn Sleepers + 'static) = sleepers;
        // INVARIANT: By the safety requirements; the record goes when `self` is dropped.
        let record = Record::new(ctx, NonNull::from(sleepers));
        let Ok(record) = KBox::new(record, GFP_KERNEL | __GFP_NOWARN) else {
            return;
        };
        record.sleepers();
        let mut records = RECORDS.lock();
        if !self.record.load(Relaxed).is_null() {
            // Another thread was faster.
            return;
        }
        let record = KBox::into_raw(record);
        // SAFETY: Just made. It is freed after it was taken out of the list.
        unsafe { records.0.append(NonNull::new_unchecked(record)) };
        // INVARIANT: In the list now.
        self.record.store(record, Release);
    }

    /// A fault was queued, and now there are so many.
    #[cold]
    pub(super) fn queued(&self, reason: Reason, stamp: &mut Stamp, sleepers: u32) {
        *stamp = Moment::now().map_or(Stamp::None, Stamp::Queued);
        if let Some(record) = self.record() {
            record.queued.add(reason);
            record.raise(sleepers);
        }
    }

    /// A reader took a message.
    #[cold]
    pub(super) fn read(&self, stamp: &mut Stamp) {
        let Some(now) = Moment::now() else { return };
        let before = core::mem::replace(stamp, Stamp::Read(now));
        let Some(record) = self.record() else { return };
        record.read.add(1_u64, Relaxed);
        if let Stamp::Queued(moment) = before {
            record.to_read.add(moment.until(now));
        }
    }

    /// The reader put it back.
    #[cold]
    pub(super) fn unread(&self, stamp: &mut Stamp) {
        let Some(now) = Moment::now() else { return };
        *stamp = Stamp::Queued(now);
        if let Some(record) = self.record() {
            record.unread.add(1_u64, Relaxed);
        }
    }

    /// A waker took a sleeper.
    #[cold]
    pub(super) fn woken(&self, stamp: &Stamp) {
        let Some(now) = Moment::now() else { return };
        if let (Some(record), Stamp::Read(moment)) = (self.record(), stamp) {
            record.to_wake.add(moment.until(now));
        }
    }

    /// A fault has left the queue.
    #[cold]
    pub(super) fn ended(&self, how: End) {
        if let Some(record) = self.record() {
            record.ended.add(how);
        }
    }

    /// A wake-up is over.
    #[cold]
    pub(super) fn wake(&self) {
        if let Some(record) = self.record() {
            record.wakes.add(1_u64, Relaxed);
        }
    }

    /// A fault was not queued.
    #[cold]
    pub(super) fn refused(&self) {
        if let Some(record) = self.record() {
            record.refused.add(1_u64, Relaxed);
        }
    }

    /// A request is over, with so many bytes done or an error, and maybe to be tried again.
    #[cold]
    pub(super) fn resolved(&self, kind: Resolve, result: i64, again: Option<Again>) {
        let Some(record) = self.record() else { return };
        if result > 0 {
            record.resolved.add(kind);
        }
        if let Some(why) = again {
            record.again.add(why);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(record) = NonNull::new(*self.record.get_mut()) else {
            return;
        };
        // SAFETY: By the type invariants it is in the list.
        unsafe { RECORDS.lock().0.remove(record) };
        // SAFETY: By the type invariants from a box. Nobody finds it any more.
        drop(unsafe { KBox::from_raw(record.as_ptr()) });
    }
}
