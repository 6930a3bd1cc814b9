// SPDX-License-Identifier: GPL-2.0-only

//! Tracepoints, as functions that take the types of this crate.
//!
//! Each is a static branch that is not taken while nobody watches, and then nothing that it would
//! show is looked at: arguments are borrowed, and read behind the branch. What is counted as well is
//! called by [`super::observer`], behind a branch of its own. None sleeps; all may be called with
//! spinlocks held. C header: `include/trace/events/userfaultfd.h`, which has the fields.

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_long,
        c_ulong, //
    },
    prelude::*,
    tracepoint::declare_trace, //
};

use super::{
    fault::{
        FaultLock,
        LockedFault,
        WalkableFault, //
    },
    observer::Observer,
    slab::SlabObject, //
};
use crate::pure::{
    abi::{
        EventKind,
        FaultFlags,
        Reason, //
    },
    events,
    fault::{
        self,
        Refusal, //
    },
    message::Message,
    observe::{
        Again,
        Resolve, //
    },
    wait::Key,
};

declare_trace! {
    unsafe fn uffd_ctx_create(ctx: u64, flags: u32);
    unsafe fn uffd_ctx_dup(ctx: u64, parent: u64);
    unsafe fn uffd_ctx_release(ctx: u64);
    unsafe fn uffd_ctx_free(ctx: u64);
    unsafe fn uffd_register(ctx: u64, start: u64, len: u64, modes: u64, ret: c_long);
    unsafe fn uffd_unregister(ctx: u64, start: u64, len: u64, ret: c_long);
    unsafe fn uffd_fault_queue(ctx: u64, fault: u64, address: c_ulong, flags: u64, reason: u32);
    unsafe fn uffd_fault_refused(ctx: u64, address: c_ulong, why: u32);
    unsafe fn uffd_fault_read(ctx: u64, fault: u64, address: c_ulong);
    unsafe fn uffd_fault_unread(ctx: u64, fault: u64, address: c_ulong);
    unsafe fn uffd_fault_wake(ctx: u64, fault: u64, address: c_ulong);
    unsafe fn uffd_fault_done(ctx: u64, fault: u64, address: c_ulong, how: u32);
    unsafe fn uffd_wake(ctx: u64, start: c_ulong, len: c_ulong, woken: c_ulong);
    unsafe fn uffd_resolve(ctx: u64, kind: u32, start: u64, len: u64, mode: u64, ret: c_long);
    unsafe fn uffd_eagain(ctx: u64, kind: u32, why: u32);
    unsafe fn uffd_event_queue(ctx: u64, event: u64, kind: u32, arg0: u64, arg1: u64, arg2: u64);
    unsafe fn uffd_event_read(ctx: u64, event: u64);
    unsafe fn uffd_event_unread(ctx: u64, event: u64);
    unsafe fn uffd_event_done(ctx: u64, event: u64, how: u32);
    unsafe fn uffd_changing(ctx: u64, count: c_int);
    unsafe fn uffd_lock_drop(ctx: u64, what: u32, address: c_ulong);
}

/// Whether somebody watches a tracepoint. [`declare_trace`] asks as well, but only after its
/// arguments were evaluated.
#[cfg(CONFIG_TRACEPOINTS)]
macro_rules! is_watched {
    ($name:ident) => {
        kernel::macros::paste! {
            // SAFETY: The header defines the tracepoint, and with it this key.
            unsafe {
                kernel::jump_label::static_branch_unlikely!(
                    bindings::[< __tracepoint_ $name >],
                    bindings::tracepoint,
                    key
                )
            }
        }
    };
}
#[cfg(not(CONFIG_TRACEPOINTS))]
macro_rules! is_watched {
    ($name:ident) => {
        false
    };
}

/// Calls a tracepoint that somebody watches; otherwise does not evaluate the arguments.
macro_rules! emit {
    ($name:ident($($argument:expr),* $(,)?)) => {
        if is_watched!($name) {
            // SAFETY: All arguments are plain values, and threads that run kernel code, with or
            // without spinlocks held, may call any tracepoint.
            unsafe { $name($($argument),*) }
        }
    };
}

fn number(ctx: &Observer) -> u64 {
    ctx.id().number()
}

/// 0, or `-errno`.
fn code<T>(result: &Result<T>) -> c_long {
    match result {
        Ok(_) => 0,
        Err(error) => error.to_errno() as c_long,
    }
}

/// A context was made by a system call or an ioctl, with these flags.
#[inline(always)]
pub(crate) fn ctx_create(ctx: &Observer, flags: u32) {
    emit!(uffd_ctx_create(number(ctx), flags));
}

/// A context was made for the child of a fork, after that of its parent.
#[inline(always)]
pub(crate) fn ctx_dup(ctx: &Observer, parent: &Observer) {
    emit!(uffd_ctx_dup(number(ctx), number(parent)));
}

/// A context begins to close: its file does, or it will not get one.
#[inline(always)]
pub(crate) fn ctx_release(ctx: &Observer) {
    emit!(uffd_ctx_release(number(ctx)));
}

/// The memory of a context is given back.
#[inline(always)]
pub(crate) fn ctx_free(ctx: &Observer) {
    emit!(uffd_ctx_free(number(ctx)));
}

/// `UFFDIO_REGISTER` is over; start, length and modes as the caller gave them.
#[inline(always)]
pub(crate) fn register<T>(ctx: &Observer, words: &[u64; 3], result: &Result<T>) {
    let [start, len, modes] = words;
    emit!(uffd_register(
        number(ctx),
        *start,
        *len,
        *modes,
        code(result)
    ));
}

/// `UFFDIO_UNREGISTER` is over; start and length as the caller gave them.
#[inline(always)]
pub(crate) fn unregister(ctx: &Observer, words: &[u64; 2], result: &Result) {
    let [start, len] = words;
    emit!(uffd_unregister(number(ctx), *start, *len, code(result)));
}

/// What a fault's message says to those who watch.
pub(crate) trait FaultMessage: Copy + Send {
    /// Why the fault happened.
    fn flags(&self) -> FaultFlags;

    /// Which registration it fell under.
    fn reason(&self) -> Reason;
}

impl FaultMessage for Message {
    fn flags(&self) -> FaultFlags {
        Message::flags(self)
    }

    fn reason(&self) -> Reason {
        Message::reason(self)
    }
}

/// The current thread is queued.
#[inline(always)]
pub(crate) fn fault_queue(ctx: &Observer, key: &Key, message: &impl FaultMessage) {
    emit!(uffd_fault_queue(
        number(ctx),
        key.seq(),
        key.address(),
        message.flags().bits(),
        match message.reason() {
            Reason::Missing => bindings::uffd_trace_reason_UFFD_TRACE_MISSING,
            Reason::WriteProtect => bindings::uffd_trace_reason_UFFD_TRACE_WP,
            Reason::Minor => bindings::uffd_trace_reason_UFFD_TRACE_MINOR,
            Reason::ReadWriteProtect => bindings::uffd_trace_reason_UFFD_TRACE_RWP,
        },
    ));
}

/// The current thread does not queue up. Without a context, its number is 0.
#[inline(always)]
pub(crate) fn fault_refused<C: SlabObject>(
    ctx: Option<&Observer>,
    fault: &LockedFault<'_, C>,
    why: Refusal,
) {
    emit!(uffd_fault_refused(
        ctx.map_or(0, number),
        fault.address(),
        match why {
            Refusal::Unregistered => bindings::uffd_trace_refusal_UFFD_TRACE_UNREGISTERED,
            Refusal::Exiting => bindings::uffd_trace_refusal_UFFD_TRACE_EXITING,
            Refusal::Sigbus => bindings::uffd_trace_refusal_UFFD_TRACE_SIGBUS,
            Refusal::KernelMode => bindings::uffd_trace_refusal_UFFD_TRACE_KERNEL_MODE,
            Refusal::NoRetry => bindings::uffd_trace_refusal_UFFD_TRACE_NO_RETRY,
            Refusal::NoWait => bindings::uffd_trace_refusal_UFFD_TRACE_NO_WAIT,
            Refusal::Released => bindings::uffd_trace_refusal_UFFD_TRACE_CTX_RELEASED,
        },
    ));
}

/// The current thread reads the message of a sleeper.
#[inline(always)]
pub(crate) fn fault_read(ctx: &Observer, key: &Key) {
    emit!(uffd_fault_read(number(ctx), key.seq(), key.address()));
}

/// The message could not be delivered and is unread again.
#[inline(always)]
pub(crate) fn fault_unread(ctx: &Observer, key: &Key) {
    emit!(uffd_fault_unread(number(ctx), key.seq(), key.address()));
}

/// The current thread takes a sleeper out of the queue, to wake it.
#[inline(always)]
pub(crate) fn fault_wake(ctx: &Observer, key: &Key) {
    emit!(uffd_fault_wake(number(ctx), key.seq(), key.address()));
}

/// The current thread has left the queue.
#[inline(always)]
pub(crate) fn fault_done(ctx: &Observer, key: &Key, how: fault::End) {
    emit!(uffd_fault_done(
        number(ctx),
        key.seq(),
        key.address(),
        match how {
            fault::End::Woken => bindings::uffd_trace_fault_end_UFFD_TRACE_FAULT_WOKEN,
            fault::End::Signal => bindings::uffd_trace_fault_end_UFFD_TRACE_FAULT_SIGNAL,
            fault::End::Present => bindings::uffd_trace_fault_end_UFFD_TRACE_FAULT_PRESENT,
            fault::End::Released => bindings::uffd_trace_fault_end_UFFD_TRACE_FAULT_RELEASED,
        },
    ));
}

/// A wake-up is over, of everybody from the address `first` to `last`.
#[inline(always)]
pub(crate) fn wake(ctx: &Observer, first: usize, last: usize, woken: u32) {
    emit!(uffd_wake(
        number(ctx),
        first,
        (last - first).saturating_add(1),
        woken as c_ulong,
    ));
}

/// A resolving ioctl, as it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Watched {
    /// Which ioctl.
    pub(crate) kind: Resolve,
    /// Start of the destination.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Mode bits.
    pub(crate) mode: u64,
}

impl Watched {
    /// Start, length and mode are `words`, as they came from the caller.
    #[inline(always)]
    pub(crate) fn new(kind: Resolve, words: [u64; 3]) -> Self {
        let [start, len, mode] = words;
        Self {
            kind,
            start,
            len,
            mode,
        }
    }

    /// One that is refused before its words are read: they are shown as 0.
    pub(crate) fn unread(kind: Resolve) -> Self {
        Self::new(kind, [0; 3])
    }
}

fn kind(kind: Resolve) -> u32 {
    match kind {
        Resolve::Copy => bindings::uffd_trace_resolve_UFFD_TRACE_COPY,
        Resolve::Zeropage => bindings::uffd_trace_resolve_UFFD_TRACE_ZEROPAGE,
        Resolve::Continue => bindings::uffd_trace_resolve_UFFD_TRACE_CONTINUE,
        Resolve::Poison => bindings::uffd_trace_resolve_UFFD_TRACE_POISON,
        Resolve::Move => bindings::uffd_trace_resolve_UFFD_TRACE_MOVE,
        Resolve::WriteProtect => bindings::uffd_trace_resolve_UFFD_TRACE_WRITEPROTECT,
        Resolve::ReadWriteProtect => bindings::uffd_trace_resolve_UFFD_TRACE_RWPROTECT,
    }
}

/// The memory part of a resolving ioctl is over, with so many bytes done, or `-errno`. Its wake-up
/// is yet to come.
#[inline(always)]
pub(crate) fn resolve(ctx: &Observer, request: &Watched, ret: i64) {
    emit!(uffd_resolve(
        number(ctx),
        kind(request.kind),
        request.start,
        request.len,
        request.mode,
        ret as c_long,
    ));
}

/// The caller of a resolving ioctl is told to try again.
pub(crate) fn eagain(ctx: &Observer, ioctl: Resolve, why: Again) {
    emit!(uffd_eagain(
        number(ctx),
        kind(ioctl),
        match why {
            Again::Changing => bindings::uffd_trace_again_UFFD_TRACE_AGAIN_CHANGING,
            Again::Partial => bindings::uffd_trace_again_UFFD_TRACE_AGAIN_PARTIAL,
            Again::Retry => bindings::uffd_trace_again_UFFD_TRACE_AGAIN_RETRY,
        },
    ));
}

/// What an announcer has to say, for those who watch.
pub(crate) trait Announcement: Send {
    /// The kind of event, and up to three words about it.
    fn describe(&self) -> (EventKind, [u64; 3]);
}

/// The current thread announces an event.
#[inline(always)]
pub(crate) fn event_queue(ctx: &Observer, event: u64, announcement: &impl Announcement) {
    if is_watched!(uffd_event_queue) {
        let (kind, [arg0, arg1, arg2]) = announcement.describe();
        let kind = match kind {
            EventKind::Remap => bindings::uffd_trace_event_UFFD_TRACE_EVENT_REMAP,
            EventKind::Remove => bindings::uffd_trace_event_UFFD_TRACE_EVENT_REMOVE,
            EventKind::Unmap => bindings::uffd_trace_event_UFFD_TRACE_EVENT_UNMAP,
            EventKind::Fork | EventKind::PageFault => {
                bindings::uffd_trace_event_UFFD_TRACE_EVENT_FORK
            }
        };
        emit!(uffd_event_queue(number(ctx), event, kind, arg0, arg1, arg2));
    }
}

/// The current thread reads an event.
#[inline(always)]
pub(crate) fn event_read(ctx: &Observer, event: u64) {
    emit!(uffd_event_read(number(ctx), event));
}

/// The event could not be delivered and is unread again.
#[inline(always)]
pub(crate) fn event_unread(ctx: &Observer, event: u64) {
    emit!(uffd_event_unread(number(ctx), event));
}

/// The announcer goes on.
#[inline(always)]
pub(crate) fn event_done(ctx: &Observer, event: u64, how: impl FnOnce() -> events::End) {
    emit!(uffd_event_done(
        number(ctx),
        event,
        match how() {
            events::End::Read => bindings::uffd_trace_event_end_UFFD_TRACE_EVENT_READ,
            events::End::Killed => bindings::uffd_trace_event_end_UFFD_TRACE_EVENT_SIGNAL,
            events::End::Released => bindings::uffd_trace_event_end_UFFD_TRACE_EVENT_RELEASED,
        },
    ));
}

/// So many changes of the mappings are under way now.
#[inline(always)]
pub(crate) fn changing(ctx: &Observer, count: i32) {
    emit!(uffd_changing(number(ctx), count));
}

/// The current thread is about to give the lock of its fault back.
#[inline(always)]
pub(crate) fn fault_lock_drop<C: SlabObject>(ctx: &Observer, fault: &WalkableFault<'_, C>) {
    emit!(uffd_lock_drop(
        number(ctx),
        match fault.lock() {
            FaultLock::Mmap => bindings::uffd_trace_lock_UFFD_TRACE_LOCK_MMAP,
            FaultLock::Vma => bindings::uffd_trace_lock_UFFD_TRACE_LOCK_VMA,
        },
        fault.address(),
    ));
}

/// A fill of `address` is about to give its lock back, to read the source.
#[inline(always)]
pub(crate) fn fill_lock_drop(ctx: &Observer, address: usize) {
    let lock = if cfg!(CONFIG_PER_VMA_LOCK) {
        bindings::uffd_trace_lock_UFFD_TRACE_LOCK_VMA
    } else {
        bindings::uffd_trace_lock_UFFD_TRACE_LOCK_MMAP
    };
    emit!(uffd_lock_drop(number(ctx), lock, address));
}
