// SPDX-License-Identifier: GPL-2.0-only

//! A userfaultfd: what it serves, what was agreed, who sleeps on it.

use kernel::{
    mm::Mm,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        }, //
    }, //
};

use super::events::Event;
use crate::{
    abstractions::{
        event_queue::EventQueue,
        file,
        mappings::{
            HasMappings,
            Mappings, //
        },
        mm,
        mmap::MmapWriteGuard,
        observer::Observer,
        slab::{
            slab_object,
            References,
            SlabObject,
            SlabRef, //
        },
        sleepers::SleeperQueue,
        task,
        trace,
        vma,
        wait::FileWaiters, //
    },
    pure::{
        abi::Features,
        fault::ContextFacts,
        features::{
            ContextFeatures,
            Offer,
            Toggle, //
        },
        flags::{
            may_create,
            CreateFlags, //
        },
        message::Message,
        range::{
            Limits,
            Range, //
        },
        wait::Scope, //
    },
};

/// What this implementation can do on this kernel.
pub(crate) fn offer() -> Offer {
    Offer::COMPLETE.on(vma::support())
}

/// A userfaultfd context.
///
/// A file, each sleeper and each change of its mappings own it; VMAs borrow it, and release takes it out of all of them before
/// the file's reference goes.
// What counts the references is found where the object is.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Context {
    references: References,
    /// Zero until `UFFDIO_API`, see [`ContextFeatures`].
    features: Atomic<i32>,
    flags: CreateFlags,
    /// Set before release takes VMAs away, so that faults which meet it are retried, not failed.
    released: Atomic<bool>,
    /// The address space it was made for: the structure, not the memory.
    mm: ARef<Mm>,
    #[pin]
    pub(super) sleepers: SleeperQueue<Message>,
    #[pin]
    pub(super) events: EventQueue<Event>,
    #[pin]
    pub(super) waiters: FileWaiters,
    #[pin]
    mappings: Mappings,
}

slab_object!(Context, references);

/// Three cache lines, as C's takes. Debug options make locks grow.
#[cfg(all(
    CONFIG_64BIT,
    not(CONFIG_PREEMPT_RT),
    not(CONFIG_DEBUG_SPINLOCK),
    not(CONFIG_DEBUG_LOCK_ALLOC),
    not(CONFIG_DEBUG_RWSEMS)
))]
const _: () = assert!(core::mem::size_of::<Context>() <= 192);

impl HasMappings for Context {
    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn observer(&self) -> &Observer {
        self.observer()
    }
}

/// Creates the cache of contexts, at boot.
pub(super) fn create_cache() -> Result {
    Context::cache().create(c"userfaultfd_ctx_cache")
}

impl Context {
    /// userfaultfd(2) and `USERFAULTFD_IOC_NEW`, once allowed: a new context for the current
    /// process, and a descriptor for it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags; `ENOMEM`, `EMFILE`, `ENFILE`. Replaces `new_userfaultfd`.
    pub(crate) fn create(flags: u32) -> Result<u32> {
        let create_flags = CreateFlags::parse(flags, file::FLAGS)?;
        let features = ContextFeatures::UNINITIALIZED;
        let context = Self::new(mm::current_mm()?, create_flags, features)?;
        // While nobody can close it.
        trace::ctx_create(context.observer(), flags);
        defect!(ExitWaits, super::events::lab_exit_wait::watch(&context)?);
        file::install(context, create_flags.file())
    }

    /// A context for the child of a fork, with what was agreed for the parent. `ENOMEM`.
    pub(super) fn inherit(&self, mm: ARef<Mm>) -> Result<SlabRef<Self>> {
        let child = Self::new(mm, self.flags, self.features())?;
        trace::ctx_dup(child.observer(), self.observer());
        Ok(child)
    }

    fn new(mm: ARef<Mm>, flags: CreateFlags, features: ContextFeatures) -> Result<SlabRef<Self>> {
        let context = SlabRef::try_new(try_pin_init!(Self {
            references: References::new(),
            features: Atomic::new(features.to_word() as i32),
            flags,
            released: Atomic::new(false),
            mm,
            sleepers <- SleeperQueue::new(Observer::new()),
            events <- EventQueue::new(),
            waiters <- FileWaiters::new(),
            mappings <- Mappings::new(),
        }))?;
        context.sleepers.begin_counts();
        Ok(context)
    }

    /// userfaultfd(2): as [`Self::create`], for those who may.
    ///
    /// # Errors
    ///
    /// `EPERM` for faults of the kernel without privilege, unless the administrator allows it;
    /// then those of `create`. Replaces `userfaultfd_syscall_allowed`.
    pub(crate) fn create_checked(flags: u32, unprivileged: bool) -> Result<u32> {
        may_create(flags, task::capable_ptrace, unprivileged)?;
        Self::create(flags)
    }

    /// Who watches it.
    pub(crate) fn observer(&self) -> &Observer {
        self.sleepers.observer()
    }

    /// The address space.
    pub(crate) fn mm(&self) -> &Mm {
        &self.mm
    }

    /// The `O_*` bits its file was made with, and a child's gets.
    pub(super) fn file_flags(&self) -> u32 {
        self.flags.file()
    }

    /// What ranges of the address space are checked against.
    pub(crate) fn limits(&self) -> Limits {
        mm::limits(&self.mm)
    }

    /// What was agreed with `UFFDIO_API`.
    pub(crate) fn features(&self) -> ContextFeatures {
        ContextFeatures::from_word(self.features.load(Relaxed) as u32)
    }

    /// Stores what was agreed, unless something was before: `EINVAL`.
    pub(super) fn agree(&self, features: ContextFeatures) -> Result {
        self.features
            .cmpxchg(0, features.to_word() as i32, Full)
            .map(|_| ())
            .map_err(|_| EINVAL)
    }

    /// Stores what was switched. The guard, of this address space, keeps others from switching at
    /// the same time; readers without a lock see all of it or nothing.
    pub(super) fn toggle(&self, _guard: &MmapWriteGuard<'_>, toggle: Toggle) {
        let features = toggle.apply(self.features());
        self.features.store(features.to_word() as i32, Relaxed);
    }

    /// What the fault path asks of a context.
    pub(super) fn fault_facts(&self) -> ContextFacts {
        ContextFacts {
            sigbus: self.features().contains(Features::SIGBUS),
            user_mode_only: self.flags.user_mode_only(),
            released: self.released(),
        }
    }

    /// Whether the file is being released.
    pub(crate) fn released(&self) -> bool {
        self.released.load(Relaxed)
    }

    /// From here on faults are retried until their VMA is no longer registered.
    pub(super) fn set_released(&self) {
        self.released.store(true, Relaxed);
    }

    /// Wakes the sleepers in `range`, after what they wait for was changed.
    ///
    /// Replaces `wake_userfault`.
    #[inline(always)]
    pub(crate) fn wake(&self, range: Range) {
        self.sleepers.wake(Scope::Range(range));
    }
}

#[pinned_drop]
impl PinnedDrop for Context {
    fn drop(self: Pin<&mut Self>) {
        trace::ctx_free(self.observer());
    }
}

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
#[kunit_tests(userfaultfd_context)]
mod tests {
    use super::*;
    #[cfg(CONFIG_SLUB_DEBUG_ON)]
    use crate::abstractions::slab::remains::remains_of;
    use crate::pure::{
        abi::UFFD_API,
        features::negotiate, //
    };

    fn context(flags: u32) -> Result<SlabRef<Context>> {
        let flags = CreateFlags::parse(flags, file::FLAGS)?;
        Context::new(mm::unused_mm()?, flags, ContextFeatures::UNINITIALIZED)
    }

    #[test]
    fn features_are_agreed_once() -> Result {
        let context = context(0)?;
        assert!(!context.features().is_initialized());
        let answer = negotiate(UFFD_API, Features::SIGBUS, &offer(), || true)?;
        context.agree(answer.context)?;
        assert_eq!(context.agree(answer.context).err(), Some(EINVAL));
        assert!(context.features().is_initialized());
        assert!(context.fault_facts().sigbus);
        Ok(())
    }

    #[test]
    fn a_new_context_is_open_and_idle() -> Result {
        let context = context(1)?;
        let facts = context.fault_facts();
        assert!(facts.user_mode_only && !facts.sigbus && !facts.released);
        assert_eq!(context.sleepers.counts(), (0, 0));
        context.set_released();
        assert!(context.fault_facts().released);
        Ok(())
    }

    /// What a stale pointer to a context finds; C's contexts look alive after they were freed.
    #[test]
    #[cfg(CONFIG_SLUB_DEBUG_ON)]
    fn a_freed_context_is_poisoned() -> Result {
        // New objects share a slab with old ones when there is room; so one of these has
        // neighbours that keep the slab.
        let (first, middle, last) = (context(0)?, context(0)?, context(0)?);
        assert!(remains_of(middle)?.are_poisoned());
        drop((first, last));
        Ok(())
    }
}
