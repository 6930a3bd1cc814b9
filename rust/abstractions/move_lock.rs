// SPDX-License-Identifier: GPL-2.0-only

//! The lock of a move: two VMAs, kept as they are while page table entries below both change.
//!
//! Two read locks of the same kind are a deadlock in waiting: a writer that waits for the first
//! one may hold the second. So only the first VMA is waited for. The second is tried, and if that
//! fails both are taken under the mmap lock, which no writer of either can hold meanwhile:
//!
//! | we | a writer |
//! |---|---|
//! | lock the destination | |
//! | | takes the mmap lock, locks the source |
//! | want the source: would wait for the writer | wants the destination: waits for us |

use core::ptr::NonNull;

use kernel::{
    bindings,
    mm::{
        virt::{
            flags,
            VmaRef, //
        },
        MmWithUser,
        MmapReadGuard, //
    },
    page::PAGE_MASK,
    prelude::*, //
};

#[cfg(CONFIG_PER_VMA_LOCK)]
use super::fill_lock::VmaReadLock;
use super::{
    fill_lock::{
        find_dst,
        DstVma, //
    },
    pgtable,
    vma::ContextPtr, //
};
use crate::pure::{
    errno::Errno,
    fault::Entry,
    moving::{
        self,
        Part,
        VmaFacts, //
    },
    range::Range,
    register::Owner, //
};

/// The VMAs of two addresses in one address space, which may be one VMA, locked. Dropping it
/// unlocks.
///
/// # Invariants
///
/// `src` is `dst`, or its lock is held, as that of `dst` is: the VMA's own read lock, or the mmap
/// read lock for both. Both belong to one address space.
#[must_use = "dropping it unlocks the VMAs"]
pub(crate) struct VmaPair<'mm> {
    src: NonNull<VmaRef>,
    /// `None` if the lock of `dst` is its lock, too.
    #[cfg(CONFIG_PER_VMA_LOCK)]
    _src_lock: Option<VmaReadLock<'mm>>,
    dst: DstVma<'mm>,
}

impl<'mm> VmaPair<'mm> {
    /// Locks the VMAs at `dst` and `src` (`uffd_move_lock`). May sleep; the caller holds neither
    /// the mmap lock nor a VMA's.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: no VMA at either address;
    /// - `ENOMEM`: no memory for the `anon_vma` of the destination;
    /// - `EAGAIN`: too many others are reading one of them.
    #[cfg(CONFIG_PER_VMA_LOCK)]
    pub(crate) fn lock(mm: &'mm MmWithUser, dst: usize, src: usize) -> Result<Self> {
        let dst_vma = match DstVma::lock_under_rcu(mm, dst) {
            Some(vma) => vma,
            None => DstVma::lock_under_mmap(mm, dst)?,
        };
        if covers(&dst_vma, src) {
            // INVARIANT: One VMA.
            return Ok(Self {
                src: NonNull::from(&*dst_vma),
                _src_lock: None,
                dst: dst_vma,
            });
        }
        if let Some(guard) = mm.lock_vma_under_rcu(src) {
            // INVARIANT: Both were locked by themselves.
            return Ok(Self {
                src: NonNull::from(&*guard),
                _src_lock: Some(VmaReadLock::from_guard(guard)),
                dst: dst_vma,
            });
        }
        drop(dst_vma);
        Self::lock_under_mmap(mm, dst, src)
    }

    /// Locks both while the mmap lock keeps writers of either away.
    #[cfg(CONFIG_PER_VMA_LOCK)]
    fn lock_under_mmap(mm: &'mm MmWithUser, dst: usize, src: usize) -> Result<Self> {
        let mmap = mm.mmap_read_lock();
        let (dst_vma, src_vma) = find_both(&mmap, dst, src)?;
        let src = NonNull::from(src_vma);
        // SAFETY: Found under `mmap`, and `find_dst` has seen to the `anon_vma`.
        let dst = unsafe { DstVma::lock_found(&mmap, dst_vma) }?;
        let src_lock = if core::ptr::eq(src_vma.as_ptr(), dst_vma.as_ptr()) {
            None
        } else {
            // SAFETY: Found under `mmap`.
            Some(unsafe { VmaReadLock::lock_second(&mmap, src_vma) }?)
        };
        // INVARIANT: One VMA, or two with a lock each.
        Ok(Self {
            src,
            _src_lock: src_lock,
            dst,
        })
    }

    /// As above: both are kept by the mmap lock, which the destination's guard holds.
    #[cfg(not(CONFIG_PER_VMA_LOCK))]
    pub(crate) fn lock(mm: &'mm MmWithUser, dst: usize, src: usize) -> Result<Self> {
        let mmap = mm.mmap_read_lock();
        let (dst_vma, src_vma) = find_both(&mmap, dst, src)?;
        let (src, dst) = (NonNull::from(src_vma), NonNull::from(dst_vma));
        // SAFETY: Found under `mmap`, and `find_dst` has seen to the `anon_vma`.
        let dst = unsafe { DstVma::keep_found(mmap, dst) };
        // INVARIANT: The mmap lock is held for both.
        Ok(Self { src, dst })
    }

    fn src(&self) -> &VmaRef {
        // SAFETY: The VMA is locked by the type invariants.
        unsafe { self.src.as_ref() }
    }

    /// The same locks, on two VMAs between which pages may move from `src` to `dst`, ranges that
    /// start in them, for the context `asker`.
    ///
    /// # Errors
    ///
    /// Unlocks, with that of [`moving::may_move`].
    pub(crate) fn check(
        self,
        src: &Range,
        dst: &Range,
        asker: ContextPtr,
    ) -> Result<MovePair<'mm>, Errno> {
        let owner = match self.dst.view().owner() {
            None => Owner::Nobody,
            Some(owner) if owner == asker => Owner::Asker,
            Some(_) => Owner::Other,
        };
        moving::may_move(&facts(self.src()), src, &facts(&self.dst), dst, owner)?;
        // INVARIANT: Just checked.
        Ok(MovePair(self))
    }
}

/// Finds the VMAs at `dst` and `src`, which may be one, and sees to the first as [`find_dst`] does,
/// with its errors. `ENOENT`: no VMA at `src`. May sleep.
fn find_both<'a>(
    mmap: &'a MmapReadGuard<'_>,
    dst: usize,
    src: usize,
) -> Result<(&'a VmaRef, &'a VmaRef)> {
    let dst_vma = find_dst(mmap, dst)?;
    let src_vma = if covers(dst_vma, src) {
        dst_vma
    } else {
        mmap.vma_lookup(src).ok_or(ENOENT)?
    };
    Ok((dst_vma, src_vma))
}

/// Whether `address` lies in `vma`.
fn covers(vma: &VmaRef, address: usize) -> bool {
    (vma.start()..vma.end()).contains(&address)
}

/// What the verdict wants to know.
#[inline(always)]
fn facts(vma: &VmaRef) -> VmaFacts {
    let has = |flag| vma.flags() & flag != 0;
    // SAFETY: The VMA is locked.
    let (prot, anonymous) = unsafe {
        (
            bindings::uffd_pgprot_val((*vma.as_ptr()).vm_page_prot),
            (*vma.as_ptr()).vm_ops.is_null(),
        )
    };
    VmaFacts {
        end: vma.end(),
        access: (vma.flags() & bindings::UFFD_VM_ACCESS) as u64,
        prot,
        writable: has(flags::WRITE),
        locked: has(bindings::UFFD_VM_LOCKED),
        shared: has(flags::SHARED),
        unmovable: has(bindings::UFFD_VM_UNMOVABLE),
        anonymous,
    }
}

/// Two locked VMAs between which pages may move.
///
/// # Invariants
///
/// Both are private anonymous memory of ordinary pages, with the same protection, and the one that
/// pages move to has an `anon_vma`.
#[must_use = "dropping it unlocks the VMAs"]
pub(crate) struct MovePair<'mm>(VmaPair<'mm>);

impl MovePair<'_> {
    /// The VMA that pages leave.
    pub(super) fn src(&self) -> *mut bindings::vm_area_struct {
        self.0.src.as_ptr().cast()
    }

    /// The VMA that pages move to.
    pub(super) fn dst(&self) -> *mut bindings::vm_area_struct {
        self.0.dst.as_ptr()
    }

    /// The address space of both.
    pub(super) fn mm(&self) -> *mut bindings::mm_struct {
        self.0.dst.mm().as_raw()
    }

    /// Whether pages are to arrive protected against reading and writing.
    pub(super) fn dst_is_rwp(&self) -> bool {
        self.0.dst.flags() & bindings::UFFD_VM_RWP != 0
    }

    /// Where `part` of the move is.
    ///
    /// # Errors
    ///
    /// `EINVAL`: not in these VMAs.
    pub(crate) fn place(&self, part: Part) -> Result<Place<'_>> {
        let within = |vma: &VmaRef, start: usize| {
            vma.start() <= start && start < vma.end() && part.len <= vma.end() - start
        };
        let aligned = (part.src | part.dst | part.len) & !PAGE_MASK == 0;
        if !aligned || !within(self.0.src(), part.src) || !within(&self.0.dst, part.dst) {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Place { vmas: self, part })
    }
}

/// The part of a move that is left to do.
///
/// # Invariants
///
/// The source of `part` lies in the first VMA of `vmas` and its destination in the second, and
/// both are page aligned.
#[derive(Clone, Copy)]
pub(crate) struct Place<'v> {
    vmas: &'v MovePair<'v>,
    part: Part,
}

impl<'v> Place<'v> {
    /// The VMAs that it lies in.
    pub(super) fn vmas(&self) -> &'v MovePair<'v> {
        self.vmas
    }

    /// The addresses.
    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    /// Looks at the entry that the next page goes to, without a lock of its table. Does not sleep.
    pub(crate) fn dst_entry(&self) -> Entry {
        // SAFETY: By the type invariants the address lies in a VMA that is locked and not
        // hugetlbfs's.
        unsafe { pgtable::lookup(self.vmas.mm(), self.part.dst) }
    }
}
