// SPDX-License-Identifier: GPL-2.0-only

//! The mmap lock, and the VMAs that it lets change.
//!
//! `vmas` of either guard looks at the VMAs of a range; many views may be alive at a time.
//! [`MmapWriteGuard::walk`] changes them. A change may split a VMA or merge it with its
//! neighbours, which frees VMAs, so a walk lends one VMA at a time and borrows the guard
//! exclusively: no view outlives it.

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings,
    error::from_err_ptr,
    mm::{
        MmWithUser,
        MmapReadGuard, //
    },
    page::PAGE_SIZE,
    prelude::*,
    types::NotThreadSafe,
    warn_on, //
};

use super::vma::{
    ContextPtr,
    Membership,
    MmapVma,
    VmaView,
    VmaWriteLocked, //
};

use crate::pure::{
    abi::Modes,
    protect::{
        Change,
        Protection, //
    },
    range::Range, //
};

/// The mmap lock of an address space, held for reading until the value is dropped.
#[must_use = "the lock is dropped with the guard"]
pub(crate) struct MmapReadLock<'a> {
    mm: &'a MmWithUser,
    _guard: MmapReadGuard<'a>,
}

impl<'a> MmapReadLock<'a> {
    /// Takes the mmap lock of `mm` for reading (`mmap_read_lock`). May sleep.
    pub(crate) fn lock(mm: &'a MmWithUser) -> Self {
        Self {
            mm,
            _guard: mm.mmap_read_lock(),
        }
    }

    /// The VMAs that reach into `range`, in address order.
    #[inline]
    pub(crate) fn vmas(&self, range: &Range) -> Vmas<'_> {
        // SAFETY: The guard is borrowed for as long as the iterator.
        unsafe { Vmas::new(self.mm, range) }
    }
}

/// The mmap lock of an address space, held for writing until the value is dropped.
///
/// # Invariants
///
/// The current thread owns the mmap lock of `mm` for writing.
#[must_use = "the lock is dropped with the guard"]
pub(crate) struct MmapWriteGuard<'a> {
    mm: &'a MmWithUser,
    // The lock goes back on the thread that took it.
    _nts: NotThreadSafe,
}

impl<'a> MmapWriteGuard<'a> {
    /// Takes the mmap lock of `mm` for writing (`mmap_write_lock`). May sleep.
    pub(crate) fn lock(mm: &'a MmWithUser) -> Self {
        // SAFETY: `mm` is a reference, so the address space is there.
        unsafe { bindings::uffd_mmap_write_lock(mm.as_raw()) };

        // INVARIANT: Just taken.
        Self {
            mm,
            _nts: NotThreadSafe,
        }
    }

    /// The VMAs that reach into `range`, in address order.
    #[inline]
    pub(crate) fn vmas(&self, range: &Range) -> Vmas<'_> {
        // SAFETY: The guard is borrowed for as long as the iterator.
        unsafe { Vmas::new(self.mm, range) }
    }

    /// Goes through the VMAs that reach into `range`, in address order, to change what lies in it.
    pub(crate) fn walk(&mut self, range: PageRange) -> VmaWalk<'_> {
        self.walk_between(range.0.start(), range.0.end())
    }

    /// Goes through all VMAs.
    pub(crate) fn walk_all(&mut self) -> VmaWalk<'_> {
        self.walk_between(0, usize::MAX)
    }

    /// A walk from `start` up to `end`, where `start < end`. Each is a border of pages, or lies
    /// beyond all VMAs.
    #[inline]
    fn walk_between(&mut self, start: usize, end: usize) -> VmaWalk<'_> {
        let mut walk = VmaWalk {
            cursor: Cursor::new(self.mm, start),
            below: None,
            start,
            end,
            ended: false,
            _guard: PhantomData,
        };
        // INVARIANT: The guard is borrowed exclusively for as long as the walk. Nothing was found
        // yet, and `below` is the last VMA before `start`, where the cursor stands now.
        // SAFETY: The guard holds the lock.
        walk.below = unsafe { walk.cursor.previous() };
        walk
    }
}

impl Drop for MmapWriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the current thread owns the lock for writing.
        unsafe { bindings::uffd_mmap_write_unlock(self.mm.as_raw()) };
    }
}

/// A range to change VMAs in.
///
/// # Invariants
///
/// Its ends are borders of pages, where a VMA can be split.
#[derive(Clone, Copy)]
pub(crate) struct PageRange(Range);

impl PageRange {
    /// `range`, or `EINVAL` if an end of it lies inside a page.
    pub(crate) fn new(range: Range) -> Result<Self> {
        if !range.is_aligned(PAGE_SIZE) {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Self(range))
    }
}

/// A context, and the modes that it registers VMAs for.
pub(crate) struct Registrant(Membership);

impl Registrant {
    /// `modes` are not empty.
    pub(crate) fn new(owner: ContextPtr, modes: Modes) -> Self {
        Self(Membership::of(owner, modes))
    }
}

/// A position among the VMAs of an address space.
///
/// # Invariants
///
/// `vmi` is initialised for the tree of an address space. What it remembers of the tree's inside
/// holds while the mmap lock is held, as long as all changes go through it.
struct Cursor {
    vmi: bindings::vma_iterator,
}

impl Cursor {
    /// A cursor that finds the VMA at `address` or the next one first.
    #[inline(always)]
    fn new(mm: &MmWithUser, address: usize) -> Self {
        let mut vmi = MaybeUninit::<bindings::vma_iterator>::uninit();
        // INVARIANT: Initialised here. It points at the tree, not into itself, so it may move.
        // SAFETY: The iterator is ours, and the address space is there. C writes all of it.
        let vmi = unsafe {
            bindings::uffd_vma_iter_init(vmi.as_mut_ptr(), mm.as_raw(), address);
            vmi.assume_init()
        };
        Self { vmi }
    }

    /// Goes to `address`, as a new cursor would (`vma_iter_set`).
    fn set(&mut self, address: usize) {
        // INVARIANT: It remembers nothing of the tree now.
        // SAFETY: By the type invariants the iterator is initialised.
        unsafe { bindings::uffd_vma_iter_set(&raw mut self.vmi, address) };
    }

    /// The next VMA that starts below `end`, which is not zero (`vma_find`).
    ///
    /// # Safety
    ///
    /// The mmap lock was held since the cursor was made.
    unsafe fn find(&mut self, end: usize) -> Option<NonNull<bindings::vm_area_struct>> {
        // SAFETY: By the type invariants the iterator is initialised; the caller holds the lock.
        NonNull::new(unsafe { bindings::uffd_vma_find(&raw mut self.vmi, end) })
    }

    /// Steps back to the VMA before (`vma_prev`); [`find`](Self::find) comes back.
    ///
    /// # Safety
    ///
    /// As for [`find`](Self::find).
    unsafe fn previous(&mut self) -> Option<NonNull<bindings::vm_area_struct>> {
        // SAFETY: By the type invariants the iterator is initialised; the caller holds the lock.
        NonNull::new(unsafe { bindings::uffd_vma_prev(&raw mut self.vmi) })
    }
}

/// The VMAs that reach into a range, for reading.
///
/// # Invariants
///
/// `cursor` is one of `mm`, and the guard that holds the mmap lock of `mm` is borrowed for `'g`.
/// Once `ended`, no VMA of the range is left.
pub(crate) struct Vmas<'g> {
    cursor: Cursor,
    range: Range,
    ended: bool,
    mm: &'g MmWithUser,
}

impl<'g> Vmas<'g> {
    /// The VMAs of `mm` that reach into `range`.
    ///
    /// # Safety
    ///
    /// The guard that holds the mmap lock of `mm` is borrowed for `'g`.
    #[inline(always)]
    unsafe fn new(mm: &'g MmWithUser, range: &Range) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            cursor: Cursor::new(mm, range.start()),
            range: *range,
            ended: false,
            mm,
        }
    }

    /// Goes back to the first VMA.
    pub(super) fn restart(&mut self) {
        self.cursor.set(self.range.start());
        self.ended = false;
    }

    /// What the VMAs reach into.
    pub(super) fn range(&self) -> &Range {
        &self.range
    }

    /// The address space.
    pub(super) fn mm(&self) -> &'g MmWithUser {
        self.mm
    }
}

impl<'g> Iterator for Vmas<'g> {
    type Item = MmapVma<'g>;

    #[inline]
    fn next(&mut self) -> Option<MmapVma<'g>> {
        if self.ended {
            return None;
        }
        // SAFETY: By the type invariants a guard holds the lock.
        let vma = unsafe { self.cursor.find(self.range.end()) }?;
        // SAFETY: The VMA was found in the tree. While the guard is borrowed shared, for `'g`, the
        // lock is held and nobody frees or changes the VMA.
        let vma = unsafe { MmapVma::adopt(vma) };
        // Most ranges lie in one VMA: do not search for another.
        // INVARIANT: VMAs do not overlap.
        self.ended = vma.end() >= self.range.end();
        Some(vma)
    }
}

/// The VMAs that reach into a range, one at a time, for changing the part that lies in it.
///
/// # Invariants
///
/// - A [`MmapWriteGuard`] of the address space of `cursor` is borrowed exclusively for `'g`.
/// - `start < end`, and each is a border of pages or lies beyond all VMAs.
/// - Once `ended`, nothing is left to lend. Until then `below` is the VMA that was lent last, in the shape it has now, or before the
///   first one the VMA that precedes `start`. What `cursor` finds next is the VMA after it, or,
///   once, that VMA again.
pub(crate) struct VmaWalk<'g> {
    cursor: Cursor,
    below: Option<NonNull<bindings::vm_area_struct>>,
    start: usize,
    end: usize,
    ended: bool,
    _guard: PhantomData<&'g mut MmapWriteGuard<'g>>,
}

impl<'g> VmaWalk<'g> {
    /// Lends the next VMA. After `None` or a change that failed there is no other.
    pub(crate) fn next(&mut self) -> Option<VmaMut<'_, 'g>> {
        if self.ended {
            return None;
        }
        let found = loop {
            // SAFETY: By the type invariants a guard holds the lock.
            let Some(found) = (unsafe { self.cursor.find(self.end) }) else {
                self.ended = true;
                return None;
            };
            // A merge that C began and gave up for a VMA's close hook leaves the cursor one behind.
            if Some(found) != self.below {
                break found;
            }
        };
        // SAFETY: The VMA was found in the tree, the lock is held for writing by the type
        // invariants, and the walk lends one VMA at a time.
        let vma = unsafe { VmaWriteLocked::adopt(found) };
        // INVARIANT: VMAs do not overlap, so this one is the last.
        self.ended = vma.view().end() >= self.end;
        // A part that starts inside the VMA has the VMA itself below it. Only the first one can.
        let below = if vma.view().start() < self.start {
            Some(found)
        } else {
            self.below
        };
        // INVARIANT: Lent now. If it comes back unchanged, this is its shape.
        self.below = Some(found);
        Some(VmaMut {
            walk: self,
            found,
            below,
            vma,
        })
    }
}

/// A VMA lent by a [`VmaWalk`]. Dropped, it stays as it is.
///
/// # Invariants
///
/// - `vma` stands for `found`, which the cursor of `walk` found last and stands on.
/// - `below` is the VMA that precedes the part of `found` that lies in the walk: `found` itself if
///   the part starts inside it.
pub(crate) struct VmaMut<'w, 'g> {
    walk: &'w mut VmaWalk<'g>,
    found: NonNull<bindings::vm_area_struct>,
    below: Option<NonNull<bindings::vm_area_struct>>,
    vma: VmaWriteLocked<'w>,
}

impl VmaMut<'_, '_> {
    /// What can be read of the VMA.
    pub(crate) fn view(&self) -> VmaView<'_> {
        self.vma.view()
    }

    /// Keeps page faults out of the whole VMA until the mmap lock is dropped; see
    /// [`VmaWriteLocked::exclude_faults`].
    pub(crate) fn exclude_faults(&mut self) {
        self.vma.exclude_faults();
    }

    /// Registers the part of the VMA that lies in the walk as `registrant` says (the loop body of
    /// `userfaultfd_register_range`). May sleep.
    ///
    /// Splits the VMA where the part ends, merges it with its neighbours where it can.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for that, or too many VMAs. The VMA may have been split, which nothing
    /// but the list of mappings shows, and the walk has ended.
    #[inline(always)]
    pub(crate) fn register(mut self, registrant: &Registrant) -> Result {
        self.change(&registrant.0, false)
    }

    /// Takes the part of the VMA that lies in the walk out of its context
    /// (`userfaultfd_clear_vma`). May sleep.
    ///
    /// Page table entries of the part lose their protection first, because nothing would describe
    /// it any more. A whole VMA needs no split, and gives up a merge that finds no memory.
    ///
    /// # Errors
    ///
    /// As for [`register`](Self::register); `EINVAL` if the walk ends inside a huge page, with
    /// nothing changed.
    pub(crate) fn unregister(mut self) -> Result {
        let view = self.view();
        let (start, end) = self.part();
        let whole = (start, end) == (view.start(), view.end());
        self.resolve(start, end)?;
        self.change(&Membership::NONE, whole)
    }

    /// Takes the whole VMA, which lies in the walk, out of its context. Cannot fail: the context is
    /// about to be freed. May sleep.
    pub(crate) fn release(mut self) {
        let view = self.view();
        // Neither needs memory: to take protection away, and to go without a merge.
        warn_on!(self.resolve(view.start(), view.end()).is_err());
        if self.change(&Membership::NONE, true).is_err() {
            warn_on!(true);
            // What fails changes nothing, so the VMA is still there.
            self.vma.reset_context();
            self.walk.ended = false;
        }
    }

    /// Takes protection off the entries between `start` and `end`, which lie in the VMA. Faults are
    /// excluded from the VMA afterwards.
    fn resolve(&mut self, start: usize, end: usize) -> Result {
        if let (Some(protection), Some(part)) =
            (Protection::of(self.view().modes()), Range::new(start, end))
        {
            // A fill that protects its page, or a fault that keeps the bit, holds the VMA's lock.
            // From here on no entry is given the bit. (C locks the VMA later.)
            self.exclude_faults();
            let resolve = Change::Resolve(protection);
            self.vma.under_mmap().change_protection(&part, resolve)?;
        }
        Ok(())
    }

    /// Ends of the part of the VMA that lies in the walk.
    fn part(&self) -> (usize, usize) {
        let view = self.view();
        (
            view.start().max(self.walk.start),
            view.end().min(self.walk.end),
        )
    }

    /// Splits and merges for the new owner and modes, then sets them.
    // Many VMAs at a time are registered: inlined, the walk stays in registers.
    #[inline(always)]
    fn change(&mut self, membership: &Membership, give_up_on_oom: bool) -> Result {
        let (start, end) = self.part();
        // Before a look at the flags: madvise marks a VMA with guard pages under the VMA's own lock,
        // and a copy from before would lose the mark.
        self.exclude_faults();
        // SAFETY: By the invariants of `vma` it is valid and nobody changes it.
        let mut flags = unsafe { (*self.found.as_ptr()).__bindgen_anon_2.flags };
        // SAFETY: The copy of the flags is ours.
        unsafe {
            bindings::uffd_vma_flags_clear_word(&raw mut flags, bindings::UFFD_VM_MODES);
            bindings::uffd_vma_flags_set_word(&raw mut flags, membership.flags());
        }
        // SAFETY: The mmap lock is held for writing. By the type invariants the cursor stands on
        // the VMA and `below` precedes `start`. The part is not empty, because the cursor finds
        // only VMAs that reach into the walk, and its ends are borders of pages, because those of
        // VMAs and of walks are.
        let changed = from_err_ptr(unsafe {
            bindings::vma_modify_flags_uffd(
                &raw mut self.walk.cursor.vmi,
                self.below.map_or(ptr::null_mut(), NonNull::as_ptr),
                self.found.as_ptr(),
                start,
                end,
                &raw const flags,
                membership.raw_owner(),
                give_up_on_oom,
            )
        })
        .inspect_err(|_| self.walk.ended = true)?;
        // SAFETY: What is no error is a VMA.
        let changed = unsafe { NonNull::new_unchecked(changed) };
        // INVARIANT: The VMA that holds the part now. The cursor stands on it, or before it, which
        // `next` makes up for.
        self.walk.below = Some(changed);
        let is_merged = changed != self.found;
        // SAFETY: C returns a VMA of the same tree, under the same lock. The one that was lent is
        // not used any more: it may be this one, or gone.
        let mut changed = unsafe { VmaWriteLocked::adopt(changed) };
        if is_merged {
            changed.exclude_faults();
        }
        // SAFETY: Faults were excluded from the VMA: a moment ago, or before it was changed.
        unsafe { changed.write_membership(membership) };
        #[cfg(CONFIG_HUGETLB_PAGE)]
        changed.unshare_tables(membership);
        Ok(())
    }
}
