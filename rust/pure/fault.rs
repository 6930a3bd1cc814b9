// SPDX-License-Identifier: GPL-2.0-only

//! The fault path: whether a faulting thread sleeps, and in which state.

use super::abi::Reason;

/// What the fault path knows of the context behind the VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextFacts {
    /// It has [`super::abi::Features::SIGBUS`].
    pub sigbus: bool,
    /// It was created with `UFFD_USER_MODE_ONLY`.
    pub user_mode_only: bool,
    /// Its file is being closed.
    pub released: bool,
}

/// What the fault path knows before it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultFacts {
    /// The task exits or dumps core (`PF_EXITING`, `PF_DUMPCORE`).
    pub exiting: bool,
    /// The VMA's context.
    pub context: ContextFacts,
    /// The access came from user mode (`FAULT_FLAG_USER`).
    pub user: bool,
    /// The caller can run the fault again (`FAULT_FLAG_ALLOW_RETRY`).
    pub allow_retry: bool,
    /// The caller must not block (`FAULT_FLAG_RETRY_NOWAIT`).
    pub retry_nowait: bool,
    /// Any signal may end the sleep (`FAULT_FLAG_INTERRUPTIBLE`).
    pub interruptible: bool,
    /// A fatal signal may end the sleep (`FAULT_FLAG_KILLABLE`).
    pub killable: bool,
}

/// The state to sleep in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockingState {
    /// `TASK_INTERRUPTIBLE`.
    Interruptible,
    /// `TASK_KILLABLE`.
    Killable,
    /// `TASK_UNINTERRUPTIBLE`.
    Uninterruptible,
}

/// Why a fault is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The VMA has no context.
    Unregistered,
    /// The task exits or dumps core: it must not wait for a program that may be gone, too.
    Exiting,
    /// The context asked for [`super::abi::Features::SIGBUS`].
    Sigbus,
    /// The kernel made the access, and the context handles those of user mode only.
    KernelMode,
    /// The caller cannot run the fault again.
    NoRetry,
    /// The caller must not block.
    NoWait,
    /// The file of the context is being closed.
    Released,
}

/// What becomes of a fault that is not queued, and of the fault lock, which is the VMA's or the mmap
/// lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `VM_FAULT_SIGBUS`, with the fault lock still held.
    Sigbus,
    /// `VM_FAULT_RETRY`, with the fault lock still held.
    RetryLocked,
    /// `VM_FAULT_RETRY`, with the fault lock released here.
    ///
    /// Release waits for that lock and must get it even if the caller spins on the fault, as
    /// get_user_pages() does.
    RetryReleased,
}

impl Refusal {
    /// What the fault's caller is told.
    pub const fn answer(self) -> Answer {
        match self {
            Self::NoWait => Answer::RetryLocked,
            Self::Released => Answer::RetryReleased,
            Self::Unregistered
            | Self::Exiting
            | Self::Sigbus
            | Self::KernelMode
            | Self::NoRetry => Answer::Sigbus,
        }
    }
}

/// What a queued fault finds when it looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondLook {
    /// It still has to wait.
    Wait,
    /// Nothing to wait for: the page is there.
    Present,
    /// The context was released.
    Released,
}

/// How a queued fault came out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A waker took it out.
    Woken,
    /// A signal ended its sleep.
    Signal,
    /// It did not sleep: the second look found nothing to wait for.
    Present,
    /// It did not sleep: the second look found the context released.
    Released,
}

impl FaultFacts {
    /// Decides (the ladder at the start of `handle_userfault`): queue up and sleep in some state,
    /// then `VM_FAULT_RETRY` with the fault lock released, or a refusal.
    pub fn decide(&self) -> Result<BlockingState, Refusal> {
        let context = &self.context;
        let refuse_if = |applies, refusal| if applies { Err(refusal) } else { Ok(()) };
        refuse_if(self.exiting, Refusal::Exiting)?;
        refuse_if(context.sigbus, Refusal::Sigbus)?;
        refuse_if(context.user_mode_only && !self.user, Refusal::KernelMode)?;
        refuse_if(!self.allow_retry, Refusal::NoRetry)?;
        refuse_if(self.retry_nowait, Refusal::NoWait)?;
        refuse_if(context.released, Refusal::Released)?;
        Ok(self.blocking_state())
    }

    /// The state to sleep in (`userfaultfd_get_blocking_state`).
    fn blocking_state(&self) -> BlockingState {
        if self.interruptible {
            BlockingState::Interruptible
        } else if self.killable {
            BlockingState::Killable
        } else {
            BlockingState::Uninterruptible
        }
    }
}

/// One look at the page table entry of a faulting page, at whatever level it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Empty, or no table reaches down to it.
    None,
    /// A marker of write protection, where no page is.
    Marker,
    /// In swap or under migration, or poisoned, or guarded. Whatever brings it back faults again if it needs to.
    NotPresent,
    /// A page is mapped.
    Present {
        /// It can be written.
        write: bool,
        /// It is inaccessible and carries the uffd bit.
        protected: bool,
    },
}

impl Entry {
    /// Whether a fault for `reason` still waits for user space (`userfaultfd_must_wait` and
    /// `userfaultfd_huge_must_wait`, after the walk).
    pub fn must_wait(self, reason: Reason) -> bool {
        match (self, reason) {
            (Self::None | Self::Marker, _) => true,
            (Self::NotPresent, _) => false,
            (Self::Present { write, .. }, Reason::WriteProtect) => !write,
            (Self::Present { protected, .. }, Reason::ReadWriteProtect) => protected,
            (Self::Present { .. }, Reason::Missing | Reason::Minor) => false,
        }
    }
}
