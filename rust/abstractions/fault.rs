// SPDX-License-Identifier: GPL-2.0-only

//! A page fault and its lock.
//!
//! The handler enters with the fault lock held (the VMA's or the mmap lock, whichever the fault
//! took) and its answer must say what became of it. Here that rule is in the types: a
//! [`LockedFault`] becomes an [`Outcome`] that leaves the lock alone, or a [`ReleasedFault`] whose
//! only outcome is the one that tells the caller so.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

#[cfg(CONFIG_HUGETLB_PAGE)]
mod hugetlb;

#[cfg(CONFIG_HUGETLB_PAGE)]
use super::hugetlb::locks::TablesLock;
use super::{
    pgtable,
    slab::{
        SlabBorrow,
        SlabObject, //
    },
    task,
    vma, //
};
use crate::pure::{
    abi::{
        Modes,
        Reason, //
    },
    fault::{
        ContextFacts,
        Entry,
        FaultFacts, //
    }, //
};

/// The reason that C names with the VMA flag of a mode; exactly one flag is set in a sound call.
pub(crate) fn reason(flag: usize) -> Option<Reason> {
    [Modes::MISSING, Modes::WP, Modes::MINOR, Modes::RWP]
        .into_iter()
        .find(|&mode| flag != 0 && vma::flags_of(mode) == flag)
        .and_then(Reason::from_modes)
}

/// What the fault's caller is told, with the lock in the state that it expects for it.
#[must_use = "the fault's caller waits for an answer"]
pub(crate) struct Outcome(bindings::vm_fault_t);

impl Outcome {
    /// The value that `handle_userfault` returns.
    pub(crate) fn into_raw(self) -> bindings::vm_fault_t {
        self.0
    }
}

/// A fault on a VMA whose contexts are `C`s, with its lock held.
///
/// # Invariants
///
/// `vmf` is the fault that the current thread handles, its fault lock is held, and the context of
/// its VMA, if any, points at a `C` in a [`SlabRef`] that outlives the registration.
#[must_use = "the fault lock is held: answer, or release"]
pub(crate) struct LockedFault<'a, C> {
    vmf: NonNull<bindings::vm_fault>,
    _contexts: PhantomData<&'a C>,
    _lock: NotThreadSafe,
}

/// A fault whose page tables can be walked by a thread that is about to sleep.
///
/// # Invariants
///
/// `tables` is the lock that the fault's VMA has if it is of hugetlbfs.
#[must_use = "locks are held: release them"]
pub(crate) struct WalkableFault<'a, C> {
    #[cfg(CONFIG_HUGETLB_PAGE)]
    tables: Option<TablesLock>,
    fault: LockedFault<'a, C>,
}

/// The lock that a fault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultLock {
    /// That of its address space, for reading.
    Mmap,
    /// That of its VMA, for reading.
    Vma,
}

impl<C: SlabObject> WalkableFault<'_, C> {
    /// Which lock [`Self::release`] drops.
    pub(crate) fn lock(&self) -> FaultLock {
        if self.fault.has(bindings::fault_flag_FAULT_FLAG_VMA_LOCK) {
            FaultLock::Vma
        } else {
            FaultLock::Mmap
        }
    }

    /// Address of the page.
    pub(crate) fn address(&self) -> usize {
        self.fault.address()
    }

    /// What the page table says now. Does not sleep. Reads without the table's lock: an answer may
    /// be old at once, which is all a thread needs that is already queued.
    pub(crate) fn lookup(&self) -> Entry {
        let address = self.fault.address();
        #[cfg(CONFIG_HUGETLB_PAGE)]
        if let Some(tables) = &self.tables {
            // SAFETY: A fault's address lies in its VMA, whose lock this is.
            return unsafe { hugetlb::lookup(tables, address) };
        }
        // SAFETY: The VMA is stable under the fault lock, and not of hugetlbfs.
        unsafe {
            let mm = (*self.fault.vmf().__bindgen_anon_1.vma).vm_mm;
            pgtable::lookup(mm, address)
        }
    }

    /// Drops the locks. Does not sleep.
    pub(crate) fn release(self) -> ReleasedFault {
        // The fault lock keeps the VMA, and the VMA has the other lock.
        #[cfg(CONFIG_HUGETLB_PAGE)]
        drop(self.tables);
        self.fault.release()
    }
}

/// The same fault after its lock was dropped: its VMA may be gone.
#[must_use = "the fault's caller must learn that the lock is gone"]
pub(crate) struct ReleasedFault(());

impl<'a, C: SlabObject> LockedFault<'a, C> {
    /// Takes over a fault from C.
    ///
    /// # Safety
    ///
    /// `vmf` is the fault the current thread handles, its fault lock is held, and contexts of VMAs
    /// are `C`s, put there by [`super::vma`].
    pub(crate) unsafe fn adopt(vmf: NonNull<bindings::vm_fault>) -> Self {
        // SAFETY: Valid by the safety requirements.
        unsafe { bindings::uffd_assert_fault_locked(vmf.as_ptr()) };
        // INVARIANT: By the safety requirements.
        Self {
            vmf,
            _contexts: PhantomData,
            _lock: NotThreadSafe,
        }
    }

    fn vmf(&self) -> &bindings::vm_fault {
        // SAFETY: By the type invariants; nobody else writes to the fault while it is handled.
        unsafe { self.vmf.as_ref() }
    }

    /// The context that the faulting VMA is registered with. The VMA borrows it from its file;
    /// unregistering takes the lock that is held here.
    pub(crate) fn context(&self) -> Option<SlabBorrow<'_, C>> {
        // SAFETY: The VMA is stable under the fault lock.
        let context = unsafe { (*self.vmf().__bindgen_anon_1.vma).vm_userfaultfd_ctx.ctx };
        // SAFETY: By the type invariants it is a `C`, alive while the lock is held.
        NonNull::new(context.cast()).map(|context| unsafe { SlabBorrow::new(context) })
    }

    /// Address of the page.
    pub(crate) fn address(&self) -> usize {
        self.vmf().__bindgen_anon_1.address
    }

    /// Address of the access.
    pub(crate) fn real_address(&self) -> usize {
        self.vmf().__bindgen_anon_1.real_address
    }

    /// Whether the access was a write.
    pub(crate) fn is_write(&self) -> bool {
        self.has(bindings::fault_flag_FAULT_FLAG_WRITE)
    }

    fn has(&self, flag: bindings::fault_flag) -> bool {
        self.vmf().flags & flag != 0
    }

    /// What decides about the fault, with what its context says.
    pub(crate) fn facts(&self, context: ContextFacts) -> FaultFacts {
        FaultFacts {
            exiting: task::exiting_or_dumping(),
            context,
            user: self.has(bindings::fault_flag_FAULT_FLAG_USER),
            allow_retry: self.has(bindings::fault_flag_FAULT_FLAG_ALLOW_RETRY),
            retry_nowait: self.has(bindings::fault_flag_FAULT_FLAG_RETRY_NOWAIT),
            interruptible: self.has(bindings::fault_flag_FAULT_FLAG_INTERRUPTIBLE),
            killable: self.has(bindings::fault_flag_FAULT_FLAG_KILLABLE),
        }
    }

    /// The same fault, with its page tables kept in place so that a look at them cannot sleep any
    /// more. That takes another lock on hugetlbfs, which may sleep.
    pub(crate) fn keep_tables(self) -> WalkableFault<'a, C> {
        WalkableFault {
            // SAFETY: By the type invariants the VMA is there, and the fault lock is held until
            // after `tables` is dropped in `WalkableFault::release`.
            #[cfg(CONFIG_HUGETLB_PAGE)]
            tables: unsafe {
                TablesLock::take(NonNull::new_unchecked(self.vmf().__bindgen_anon_1.vma))
            },
            fault: self,
        }
    }

    /// The access fails with `SIGBUS`. The lock stays held.
    pub(crate) fn sigbus(self) -> Outcome {
        Outcome(bindings::vm_fault_reason_VM_FAULT_SIGBUS)
    }

    /// The fault is tried again by a caller that must not wait here. The lock stays held, as
    /// `FAULT_FLAG_RETRY_NOWAIT` has it.
    pub(crate) fn retry_locked(self) -> Outcome {
        Outcome(bindings::vm_fault_reason_VM_FAULT_RETRY)
    }

    /// Drops the lock.
    pub(crate) fn release(self) -> ReleasedFault {
        // SAFETY: By the type invariants the lock is held; `self` is gone after this.
        unsafe { bindings::uffd_release_fault_lock(self.vmf.as_ptr()) };
        defect!(VmaAfterUnlock, lab::memory::look_at_vma(self.vmf));
        ReleasedFault(())
    }
}

impl ReleasedFault {
    /// The fault is tried again, and takes its lock anew.
    pub(crate) fn retry(self) -> Outcome {
        Outcome(bindings::vm_fault_reason_VM_FAULT_RETRY)
    }
}
