// SPDX-License-Identifier: GPL-2.0-only

//! Virtual memory areas as userfaultfd sees them.
//!
//! One type per kind of access: [`VmaView`] reads under any lock that keeps the VMA as it is,
//! [`VmaWriteLocked`] writes under the mmap lock held for writing. Shape and place of a VMA change
//! only in a [`walk`](super::mmap::VmaWalk), which splits and merges.

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings,
    mm::{
        virt::{
            flags,
            vm_flags_t,
            VmaRef, //
        },
        Mm,
        MmWithUser, //
    },
    page::PAGE_SIZE,
    sync::aref::ARef, //
};

use super::slab::{
    SlabObject,
    SlabRef, //
};
#[cfg(CONFIG_HUGETLB_PAGE)]
use crate::pure::register::forbids_shared_tables;
use crate::pure::{
    abi::Modes,
    features::Support,
    register::{
        Backing,
        Owner,
        VmaFacts, //
    },
};

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// The identity of a context, as a VMA stores it.
///
/// A VMA borrows: it holds no reference, and whoever frees a context has taken it out of every VMA
/// before. This value proves nothing about that; it is there to be stored and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ContextPtr(NonNull<bindings::userfaultfd_ctx>);

impl ContextPtr {
    /// The identity of `context`.
    pub(crate) fn of<T: SlabObject>(context: &SlabRef<T>) -> Self {
        Self(context.as_foreign().cast())
    }

    /// The address as C stores it.
    pub(crate) fn as_raw(self) -> *mut bindings::userfaultfd_ctx {
        self.0.as_ptr()
    }
}

/// The flag of a VMA that stands for each mode; zero where the configuration lacks it.
const MODE_FLAGS: [(Modes, vm_flags_t); 4] = [
    (Modes::MISSING, bindings::UFFD_VM_MISSING),
    (Modes::WP, bindings::UFFD_VM_WP),
    (Modes::MINOR, bindings::UFFD_VM_MINOR),
    (Modes::RWP, bindings::UFFD_VM_RWP),
];

/// The VMA flags that stand for `modes`.
pub(super) fn flags_of(modes: Modes) -> vm_flags_t {
    MODE_FLAGS
        .iter()
        .filter(|(mode, _)| modes.contains(*mode))
        .fold(0, |flags, (_, flag)| flags | flag)
}

/// Whose a VMA is, and what for, as C stores it. Made once for many VMAs.
#[derive(Clone, Copy)]
pub(super) struct Membership {
    owner: Option<ContextPtr>,
    modes: Modes,
    flags: vm_flags_t,
}

impl Membership {
    /// That of a VMA without a context.
    pub(super) const NONE: Self = Self {
        owner: None,
        modes: Modes::NONE,
        flags: 0,
    };

    /// Registered with `owner` for `modes`.
    pub(super) fn of(owner: ContextPtr, modes: Modes) -> Self {
        Self {
            owner: Some(owner),
            modes,
            flags: flags_of(modes),
        }
    }

    /// The pointer that C passes for the owner.
    pub(super) fn raw_owner(&self) -> bindings::vm_userfaultfd_ctx {
        bindings::vm_userfaultfd_ctx {
            ctx: self.owner.map_or(ptr::null_mut(), ContextPtr::as_raw),
        }
    }

    /// The flags that stand for the modes.
    pub(super) fn flags(&self) -> vm_flags_t {
        self.flags
    }
}

/// What this kernel can have, by its configuration and its processor.
pub(crate) fn support() -> Support {
    // SAFETY: Both ask about configuration and processor, and may be called anywhere.
    let (pte_bit, wp_marker) = unsafe {
        (
            bindings::uffd_pgtable_supports_uffd(),
            bindings::uffd_supports_wp_marker(),
        )
    };
    Support {
        minor: cfg!(CONFIG_HAVE_ARCH_USERFAULTFD_MINOR),
        pte_bit,
        wp_marker,
        rwp: bindings::UFFD_VM_RWP != 0,
    }
}

/// A VMA that nobody changes for `'a`: the mmap lock or the VMA's own lock is held, for reading at
/// least.
///
/// That covers the context and the modes: they change only under the mmap lock for writing with
/// the VMA write-locked on top.
#[derive(Clone, Copy)]
pub(crate) struct VmaView<'a>(&'a VmaRef);

impl<'a> VmaView<'a> {
    /// Looks at `vma`, under the lock that its type stands for.
    pub(crate) fn new(vma: &'a VmaRef) -> Self {
        Self(vma)
    }

    /// First address.
    pub(crate) fn start(self) -> usize {
        self.0.start()
    }

    /// First address beyond.
    pub(crate) fn end(self) -> usize {
        self.0.end()
    }

    /// Who the VMA is registered with.
    pub(crate) fn owner(self) -> Option<ContextPtr> {
        // SAFETY: By the invariants of `VmaRef` the VMA is valid and a lock excludes writers.
        let ctx = unsafe { (*self.0.as_ptr()).vm_userfaultfd_ctx.ctx };
        NonNull::new(ctx).map(ContextPtr)
    }

    /// What the VMA is registered for.
    // Inlined, a question about one mode looks at one flag.
    #[inline(always)]
    pub(crate) fn modes(self) -> Modes {
        MODE_FLAGS
            .iter()
            .filter(|(_, flag)| self.has(*flag))
            .fold(Modes::NONE, |modes, (mode, _)| modes.with(*mode))
    }

    /// What the VMA maps (`vma_uffd_ops`).
    pub(crate) fn backing(self) -> Backing {
        let vma = self.0.as_ptr();
        // SAFETY: By the invariants of `VmaRef` the VMA is valid and a lock excludes writers, for
        // the flags, the operations and what they say alike.
        unsafe {
            if bindings::uffd_vma_is_hugetlb(vma) {
                Backing::Hugetlb(bindings::uffd_vma_kernel_pagesize(vma))
            } else if (*vma).vm_ops.is_null() {
                Backing::Anonymous
            } else if (*(*vma).vm_ops).uffd_ops.is_null() {
                Backing::Foreign
            } else {
                Backing::Supported
            }
        }
    }

    /// Bytes of one of its pages (`vma_kernel_pagesize`).
    #[inline]
    pub(crate) fn page_size(self) -> usize {
        // SAFETY: By the invariants of `VmaRef` the VMA is valid and a lock excludes writers.
        unsafe {
            if bindings::uffd_vma_is_hugetlb(self.0.as_ptr()) {
                bindings::uffd_vma_kernel_pagesize(self.0.as_ptr())
            } else {
                PAGE_SIZE
            }
        }
    }

    /// Whether the operations of the VMA's file accept registration for `modes` (`can_userfault`
    /// of its `vm_uffd_ops`). A file without them accepts nothing.
    pub(crate) fn file_accepts(self, modes: Modes) -> bool {
        // SAFETY: By the invariants of `VmaRef` the VMA is valid and a lock keeps its operations,
        // which are static or belong to its file; so is what they point at.
        unsafe {
            (*self.0.as_ptr())
                .vm_ops
                .as_ref()
                .and_then(|ops| ops.uffd_ops.as_ref())
                .and_then(|ops| ops.can_userfault)
                .is_some_and(|accepts| accepts(self.0.as_ptr(), flags_of(modes)))
        }
    }

    /// What the verdicts of registration want to know when `asker` asks.
    // No caller asks for all of it: inlined, the rest is not even computed.
    #[inline(always)]
    pub(crate) fn facts(self, asker: ContextPtr) -> VmaFacts {
        VmaFacts {
            start: self.start(),
            end: self.end(),
            owner: match self.owner() {
                None => Owner::Nobody,
                Some(owner) if owner == asker => Owner::Asker,
                Some(_) => Owner::Other,
            },
            modes: self.modes(),
            backing: self.backing(),
            may_write: self.has(bindings::VM_MAYWRITE),
            accessible: self.has(bindings::UFFD_VM_ACCESS),
            excluded: self.has(bindings::UFFD_VM_EXCLUDED),
            // SAFETY: By the invariants of `VmaRef` the VMA is valid.
            special: unsafe { bindings::uffd_vma_is_special(self.0.as_ptr()) },
        }
    }

    /// Whether any of `flags` is set.
    fn has(self, flags: vm_flags_t) -> bool {
        self.0.flags() & flags != 0
    }

    /// The address space.
    pub(super) fn mm(self) -> &'a MmWithUser {
        self.0.mm()
    }

    pub(super) fn as_ptr(self) -> *mut bindings::vm_area_struct {
        self.0.as_ptr()
    }
}

/// A VMA whose mmap lock is held for `'a`, for reading at least.
#[derive(Clone, Copy)]
pub(crate) struct MmapVma<'a>(VmaView<'a>);

impl<'a> MmapVma<'a> {
    /// Takes on a VMA whose mmap lock somebody else took. The lock stays with them.
    ///
    /// # Safety
    ///
    /// `vma` points at a valid VMA, and the mmap lock of its mm is held for `'a`.
    pub(crate) unsafe fn adopt(vma: NonNull<bindings::vm_area_struct>) -> Self {
        // SAFETY: By the safety requirements.
        Self(VmaView::new(unsafe { VmaRef::from_raw(vma.as_ptr()) }))
    }
}

impl<'a> Deref for MmapVma<'a> {
    type Target = VmaView<'a>;

    fn deref(&self) -> &VmaView<'a> {
        &self.0
    }
}

/// A VMA of an address space whose mmap lock is held for writing.
///
/// # Invariants
///
/// `vma` points at a valid VMA, in its tree or, during fork, on its way into one. The mmap lock of
/// its mm is held for writing for `'a` by the current thread, and nobody else changes the VMA
/// through another value of this type for as long.
pub(crate) struct VmaWriteLocked<'a> {
    vma: NonNull<bindings::vm_area_struct>,
    _lock: PhantomData<&'a mut VmaRef>,
}

impl VmaWriteLocked<'_> {
    /// Takes on a VMA whose mmap lock somebody else took, such as the C caller of the seam. The
    /// lock stays with them.
    ///
    /// # Safety
    ///
    /// `vma` points at a valid VMA. For the lifetime of the value the current thread holds the
    /// mmap lock of its mm for writing, and the VMA is reached through this value alone.
    pub(crate) unsafe fn adopt(vma: NonNull<bindings::vm_area_struct>) -> Self {
        // INVARIANT: As the caller says.
        Self {
            vma,
            _lock: PhantomData,
        }
    }

    /// What can be read of the VMA.
    pub(crate) fn view(&self) -> VmaView<'_> {
        *self.under_mmap()
    }

    /// What can be done with the mmap lock held for reading.
    pub(super) fn under_mmap(&self) -> MmapVma<'_> {
        // SAFETY: By the type invariants the VMA is valid, and the mmap lock is held for writing,
        // which is stronger than for reading, for as long as `self` is borrowed.
        unsafe { MmapVma::adopt(self.vma) }
    }

    /// Keeps page faults out of the VMA until the mmap lock is dropped (`vma_start_write`).
    ///
    /// May sleep until faults that hold the VMA's own lock have let go of it. Each of them has
    /// resolved by then, or has queued up on the context.
    pub(crate) fn exclude_faults(&mut self) {
        // SAFETY: By the type invariants the VMA is valid and the mmap lock is held for writing.
        unsafe { bindings::uffd_vma_start_write(self.vma.as_ptr()) };
    }

    /// Makes the whole VMA what `membership` says (`userfaultfd_set_ctx`). May sleep.
    ///
    /// Splits and merges nothing, and leaves the page tables alone.
    fn set_membership(&mut self, membership: &Membership) {
        // First: a flag that another thread sets under the VMA's own lock would be lost after a look.
        self.exclude_faults();
        // SAFETY: Just excluded.
        unsafe { self.write_membership(membership) };
    }

    /// The same of a VMA that no fault is in. Does not sleep.
    ///
    /// # Safety
    ///
    /// [`Self::exclude_faults`] was called for the VMA under the mmap lock that is held now.
    #[inline(always)]
    pub(super) unsafe fn write_membership(&mut self, membership: &Membership) {
        let vma = self.vma.as_ptr();
        let before = self.view().0.flags();
        let after = before & !bindings::UFFD_VM_MODES | membership.flags;
        // SAFETY: By the type invariants the VMA is valid, and with the mmap lock held for writing
        // and faults excluded nobody reads or writes what changes here. The flags differ from the
        // present ones in those of userfaultfd alone.
        unsafe {
            (*vma).vm_userfaultfd_ctx = membership.raw_owner();
            bindings::uffd_vm_flags_reset(vma, after);
            if after & flags::SHARED != 0 && (before ^ after) & bindings::UFFD_VM_WP != 0 {
                // Under write protection new entries of a shared mapping start out read-only.
                bindings::vma_set_page_prot(vma);
            }
        }
    }

    /// Gives the VMA page tables of its own, if it shares them with other processes and the modes
    /// of `membership`, which it has, forbid that (`hugetlb_unshare_all_pmds`). May sleep.
    ///
    /// Entries with userfaultfd's bit say something about this address space only.
    #[cfg(CONFIG_HUGETLB_PAGE)]
    pub(super) fn unshare_tables(&mut self, membership: &Membership) {
        if !forbids_shared_tables(membership.modes) {
            return;
        }
        // SAFETY: By the type invariants the VMA is valid and the mmap lock is held for writing.
        // Faults were excluded when the modes were set.
        unsafe {
            if bindings::uffd_vma_is_hugetlb(self.vma.as_ptr()) {
                bindings::hugetlb_unshare_all_pmds(self.vma.as_ptr());
            }
        }
    }

    /// Hands the VMA to `owner` for what it was registered for. May sleep.
    ///
    /// For fork, whose copy of the VMA belongs to a context of the child's.
    pub(crate) fn hand_over(&mut self, owner: ContextPtr) {
        let modes = self.view().modes();
        self.set_membership(&Membership::of(owner, modes));
    }

    /// The structure of the address space that it is part of, or is to be.
    pub(crate) fn mm(&self) -> ARef<Mm> {
        // SAFETY: By the type invariants the VMA is valid, and a VMA keeps its mm in existence.
        ARef::from(unsafe { Mm::from_raw((*self.vma.as_ptr()).vm_mm) })
    }

    /// Takes the VMA out of its context (`userfaultfd_reset_ctx`). May sleep.
    ///
    /// For fork and mremap, which do not carry protection over to the page tables of such a VMA.
    pub(crate) fn reset_context(&mut self) {
        self.set_membership(&Membership::NONE);
    }
}
