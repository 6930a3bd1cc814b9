// SPDX-License-Identifier: GPL-2.0-only

//! The current task: its flags, its sleeping states, signals, and waking others after a lock.

use core::{
    cell::{
        Cell,
        OnceCell, //
    },
    ffi::c_uint, //
};

use kernel::{
    bindings,
    sync::aref::ARef,
    task::Task,
    types::Opaque, //
};

use crate::pure::fault::BlockingState;

/// Whether the current task is on its way out, or is writing a core dump.
pub(crate) fn exiting_or_dumping() -> bool {
    // SAFETY: The current task is alive, and only it changes its flags.
    let flags = unsafe { (*bindings::get_current()).flags };
    flags & (bindings::PF_EXITING | bindings::PF_DUMPCORE) != 0
}

/// Whether the current task is on its way out.
pub(crate) fn exiting() -> bool {
    // SAFETY: The current task is alive, and only it changes its flags.
    unsafe { (*bindings::get_current()).flags & bindings::PF_EXITING != 0 }
}

/// Whether the current task was killed.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: The current task is alive.
    unsafe { bindings::uffd_fatal_signal_pending(bindings::get_current()) != 0 }
}

/// Whether a signal waits for the current task.
pub(crate) fn signal_pending() -> bool {
    // SAFETY: The current task is alive.
    unsafe { bindings::signal_pending(bindings::get_current()) != 0 }
}

/// Thread id of the current task as its own pid namespace sees it.
pub(crate) fn current_thread_id() -> u32 {
    // SAFETY: The current task is alive.
    unsafe { bindings::uffd_task_pid_vnr(bindings::get_current()) as u32 }
}

/// Whether the current task may use `CAP_SYS_PTRACE`. Asking is recorded by audit, so ask only when
/// the answer matters.
pub(crate) fn capable_ptrace() -> bool {
    // SAFETY: Any capability number may be asked.
    unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as i32) }
}

/// Lets others run if they need to.
pub(crate) fn cond_resched() {
    // SAFETY: Callers hold no spinlock; `might_sleep` checks say so in debug builds.
    unsafe { bindings::uffd_cond_resched() };
}

fn state_bits(state: BlockingState) -> c_uint {
    match state {
        BlockingState::Interruptible => bindings::TASK_INTERRUPTIBLE,
        BlockingState::Killable => bindings::TASK_KILLABLE,
        BlockingState::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE,
    }
}

/// Announces that the current task is about to sleep. A full barrier follows the store, so what
/// the task wrote before is visible to whoever it does not see afterwards.
pub(super) fn set_current_state(state: BlockingState) {
    // SAFETY: Only the task itself announces its sleep.
    unsafe { bindings::uffd_set_current_state(state_bits(state)) };
}

/// The current task runs on after all.
pub(super) fn set_running() {
    // SAFETY: As above; running is always allowed.
    unsafe { bindings::uffd_set_running() };
}

/// Whether a signal ends a sleep in `state`.
pub(super) fn signal_ends(state: BlockingState) -> bool {
    // SAFETY: The current task is alive.
    unsafe { bindings::uffd_signal_pending_state(state_bits(state), bindings::get_current()) != 0 }
}

/// Gives up the processor, until woken if a sleeping state was announced.
pub(super) fn schedule() {
    // SAFETY: The caller holds no spinlock; the scheduler's own checks say so in debug builds.
    unsafe { bindings::schedule() };
}

/// Tasks to be woken once locks are dropped.
///
/// # Invariants
///
/// `others` is initialised and does not move, and each task in it is kept alive by a reference of
/// the queue.
pub(super) struct WakeQueue {
    /// Most wake-ups wake one: that needs no list.
    first: OnceCell<ARef<Task>>,
    has_others: Cell<bool>,
    others: Opaque<bindings::wake_q_head>,
}

impl WakeQueue {
    /// Queues `task`, unless somebody else is about to wake it: then that wake-up has to do. So
    /// what the task is to see when it wakes is stored before; a full barrier lies between.
    #[inline(always)]
    pub(super) fn add(&self, task: ARef<Task>) {
        if let Err(task) = self.first.set(task) {
            let task = ARef::into_raw(task);
            self.has_others.set(true);
            // SAFETY: The list is initialised; the reference goes to it, or is dropped.
            unsafe { bindings::wake_q_add_safe(self.others.get(), task.as_ref().as_ptr()) };
        }
    }
}

/// Runs `body`, and then wakes the tasks that it has queued. It drops the locks that it takes.
#[inline(always)]
pub(super) fn wake_after(body: impl FnOnce(&WakeQueue)) {
    let queue = WakeQueue {
        first: OnceCell::new(),
        has_others: Cell::new(false),
        others: Opaque::uninit(),
    };
    // INVARIANT: Initialised where it stays: it is lent, not given away.
    // SAFETY: The head is ours.
    unsafe { bindings::uffd_wake_q_init(queue.others.get()) };
    body(&queue);
    if let Some(first) = queue.first.get() {
        first.wake_up();
    }
    if queue.has_others.get() {
        // SAFETY: The list is initialised; each task in it is referenced.
        unsafe { bindings::wake_up_q(queue.others.get()) };
    }
}
