// SPDX-License-Identifier: GPL-2.0-only

//! The lock of a fill: one VMA, kept as it is while page table entries below it are written.
//!
//! The VMA's own read lock is enough, and other threads go on mapping and unmapping elsewhere. It
//! cannot always be had directly: the lookup under RCU gives up when it races with a writer, and a
//! VMA without an `anon_vma` gets one only under the mmap lock. Then the mmap read lock is taken
//! first, which is the order of the two everywhere, and given back once the VMA is locked. A kernel
//! without locks in its VMAs keeps the mmap read lock instead.

#[cfg(CONFIG_PER_VMA_LOCK)]
use core::marker::PhantomData;
use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

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
    page::PAGE_SIZE,
    prelude::*, //
};
#[cfg(CONFIG_PER_VMA_LOCK)]
use kernel::{
    mm::VmaReadGuard,
    types::NotThreadSafe, //
};

use super::{
    mappings::{
        Mappings,
        Stable, //
    },
    vma::VmaView, //
};
use crate::pure::{
    abi::Modes,
    fill::Stop,
    range::Range, //
};

/// The read lock of a VMA.
///
/// # Invariants
///
/// The lock is held, by the current thread, and given back when this is dropped.
#[cfg(CONFIG_PER_VMA_LOCK)]
pub(super) struct VmaReadLock<'mm> {
    vma: NonNull<VmaRef>,
    /// Unlocking may wake a writer that waits in the address space.
    _mm: PhantomData<&'mm MmWithUser>,
    /// Lockdep knows the lock as this thread's.
    _nts: NotThreadSafe,
}

#[cfg(CONFIG_PER_VMA_LOCK)]
impl<'mm> VmaReadLock<'mm> {
    /// Takes over the lock that `guard` owns.
    pub(super) fn from_guard(guard: VmaReadGuard<'mm>) -> Self {
        let vma = NonNull::from(&*guard);
        core::mem::forget(guard);
        // INVARIANT: The guard owned the lock, and can no longer give it back.
        Self {
            vma,
            _mm: PhantomData,
            _nts: NotThreadSafe,
        }
    }

    /// Locks `vma`. Does not wait: `mmap` keeps writers away.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: too many readers hold the lock already.
    ///
    /// # Safety
    ///
    /// `vma` was looked up under `mmap`.
    unsafe fn lock(_mmap: &MmapReadGuard<'mm>, vma: &VmaRef) -> Result<Self> {
        // SAFETY: By the safety requirements the VMA is attached and stable while `mmap` is alive,
        // and no writer can have locked it.
        let locked = unsafe { bindings::uffd_vma_start_read_locked(vma.as_ptr()) };
        // SAFETY: Just locked, or not.
        unsafe { Self::locked(locked, vma) }
    }

    /// Locks `vma` while the lock of another VMA is held; otherwise as [`VmaReadLock::lock`].
    ///
    /// # Errors
    ///
    /// `EAGAIN`: too many readers hold the lock already.
    ///
    /// # Safety
    ///
    /// `vma` was looked up under `mmap`.
    pub(super) unsafe fn lock_second(_mmap: &MmapReadGuard<'mm>, vma: &VmaRef) -> Result<Self> {
        // SAFETY: As in `lock`.
        let locked = unsafe { bindings::uffd_vma_start_read_locked_nested(vma.as_ptr()) };
        // SAFETY: Just locked, or not.
        unsafe { Self::locked(locked, vma) }
    }

    /// # Safety
    ///
    /// If `locked`, the current thread owns the read lock of `vma`.
    unsafe fn locked(locked: bool, vma: &VmaRef) -> Result<Self> {
        if !locked {
            return Err(EAGAIN);
        }
        // INVARIANT: By the safety requirements.
        Ok(Self {
            vma: NonNull::from(vma),
            _mm: PhantomData,
            _nts: NotThreadSafe,
        })
    }
}

#[cfg(CONFIG_PER_VMA_LOCK)]
impl Drop for VmaReadLock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock.
        unsafe { bindings::vma_end_read(self.vma.cast().as_ptr()) };
    }
}

#[cfg(CONFIG_PER_VMA_LOCK)]
type Lock<'mm> = VmaReadLock<'mm>;
/// The mmap read lock, which stands in for the lock of the VMA.
#[cfg(not(CONFIG_PER_VMA_LOCK))]
struct Lock<'mm> {
    vma: NonNull<VmaRef>,
    _mmap: MmapReadGuard<'mm>,
}

/// The VMA that a fill writes to, locked. Dropping it unlocks.
///
/// # Invariants
///
/// - `lock` is the VMA's read lock or the mmap read lock of its address space, so that its `vma` is
///   attached and keeps its range, its flags, its file and its context.
/// - Unless the VMA is shared, it has an `anon_vma`.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) struct DstVma<'mm> {
    // Before the lock, which is taken first.
    stable: Option<Stable<'mm>>,
    lock: Lock<'mm>,
}

impl<'mm> DstVma<'mm> {
    /// Locks the VMA that covers all of `range` (`uffd_mfill_lock`), for a fill: until it is dropped
    /// no change of `mappings` begins. May sleep; the caller holds neither the mmap lock nor a
    /// VMA's.
    ///
    /// The VMA has to be registered, with whatever context: registration has checked that its
    /// memory may be written at all, and a fill relies on that.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: no VMA at the start of the range, or one that ends early or is not registered;
    /// - `ENOMEM`: no memory for its `anon_vma`;
    /// - `EAGAIN`: too many others are reading the VMA;
    /// - after those: mappings are changing.
    pub(crate) fn lock(
        mm: &'mm MmWithUser,
        mappings: &'mm Mappings,
        range: &Range,
    ) -> Result<Self, Stop> {
        let mut vma = match Self::lock_under_rcu(mm, range.start()) {
            Some(vma) => vma,
            None => Self::lock_under_mmap(mm, range.start())?,
        };
        if range.end() > vma.end() || vma.view().owner().is_none() {
            return Err(ENOENT.into());
        }
        vma.stable = Some(mappings.stable()?);
        Ok(vma)
    }

    /// Locks the VMA at `address` without the mmap lock. `None` says only that it has to be tried
    /// with it.
    #[cfg(CONFIG_PER_VMA_LOCK)]
    pub(super) fn lock_under_rcu(mm: &'mm MmWithUser, address: usize) -> Option<Self> {
        let guard = mm.lock_vma_under_rcu(address)?;
        if !can_map_pages(&guard) {
            return None;
        }
        let lock = VmaReadLock::from_guard(guard);
        // INVARIANT: The lock is the VMA's, and the `anon_vma` was checked.
        Some(Self { stable: None, lock })
    }

    #[cfg(not(CONFIG_PER_VMA_LOCK))]
    fn lock_under_rcu(_mm: &'mm MmWithUser, _address: usize) -> Option<Self> {
        None
    }

    /// Locks the VMA at `address` by way of the mmap lock.
    pub(super) fn lock_under_mmap(mm: &'mm MmWithUser, address: usize) -> Result<Self> {
        let mmap = mm.mmap_read_lock();
        let vma = find_dst(&mmap, address)?;
        #[cfg(CONFIG_PER_VMA_LOCK)]
        // SAFETY: Found by `find_dst`.
        let dst = unsafe { Self::lock_found(&mmap, vma) };
        #[cfg(not(CONFIG_PER_VMA_LOCK))]
        let dst = {
            let vma = NonNull::from(vma);
            // SAFETY: Found by `find_dst`.
            Ok(unsafe { Self::keep_found(mmap, vma) })
        };
        dst
    }

    /// Locks a VMA that was found under the mmap lock.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: too many readers hold the lock already.
    ///
    /// # Safety
    ///
    /// `vma` is what [`find_dst`] found under `mmap`.
    #[cfg(CONFIG_PER_VMA_LOCK)]
    pub(super) unsafe fn lock_found(mmap: &MmapReadGuard<'mm>, vma: &VmaRef) -> Result<Self> {
        // SAFETY: By the safety requirements.
        let lock = unsafe { VmaReadLock::lock(mmap, vma) }?;
        // INVARIANT: Just locked; the VMA has been attached and stable since before its `anon_vma`
        // was looked for, and an `anon_vma` stays as long as its VMA.
        Ok(Self { stable: None, lock })
    }

    /// Keeps the mmap lock for a VMA that was found under it.
    ///
    /// # Safety
    ///
    /// `vma` is what [`find_dst`] found under `mmap`.
    #[cfg(not(CONFIG_PER_VMA_LOCK))]
    pub(super) unsafe fn keep_found(mmap: MmapReadGuard<'mm>, vma: NonNull<VmaRef>) -> Self {
        // INVARIANT: The mmap lock is held, since before the `anon_vma` was looked for.
        Self {
            stable: None,
            lock: Lock { vma, _mmap: mmap },
        }
    }

    /// What else is known of it.
    pub(crate) fn view(&self) -> VmaView<'_> {
        VmaView::new(self)
    }

    /// Whether it maps shared memory.
    pub(crate) fn is_shared(&self) -> bool {
        self.flags() & flags::SHARED != 0
    }

    /// Whether it maps huge pages of hugetlbfs (`is_vm_hugetlb_page`).
    #[cfg(CONFIG_HUGETLB_PAGE)]
    pub(super) fn is_hugetlb(&self) -> bool {
        // SAFETY: The VMA is locked.
        unsafe { bindings::uffd_vma_is_hugetlb(self.as_ptr()) }
    }

    /// Whether its memory has no file behind it (`vma_is_anonymous`).
    ///
    /// A private mapping of /dev/zero has a file, too, and still says yes.
    pub(crate) fn is_anonymous(&self) -> bool {
        // SAFETY: The VMA is locked.
        unsafe { (*self.as_ptr()).vm_ops.is_null() }
    }

    /// Protection bits of an entry that maps one of its pages.
    pub(super) fn page_prot(&self) -> bindings::pgprot_t {
        // SAFETY: The VMA is locked.
        unsafe { (*self.as_ptr()).vm_page_prot }
    }

    /// Whether a file is mapped that has no page for `address`, which lies in the VMA
    /// (`mfill_file_over_size`).
    ///
    /// The answer is worth something under the page table lock only: who truncates a file first
    /// sets its size and then takes that lock to unmap.
    pub(super) fn ends_before(&self, address: usize) -> bool {
        // SAFETY: The VMA is locked.
        let file = unsafe { (*self.as_ptr()).vm_file };
        if file.is_null() {
            return false;
        }
        // SAFETY: The VMA is locked, and holds a reference to its file.
        let (index, size) = unsafe {
            (
                bindings::uffd_linear_page_index(self.as_ptr(), address),
                bindings::uffd_file_size(file),
            )
        };
        index as u64 >= (size as u64).div_ceil(PAGE_SIZE as u64)
    }

    /// Notes what must still hold when the lock was dropped and taken again.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // SAFETY: The VMA is locked.
        let (file, pgoff) = unsafe { ((*self.as_ptr()).vm_file, (*self.as_ptr()).vm_pgoff) };
        Snapshot {
            modes: self.view().modes(),
            shared: self.is_shared(),
            memory: self.memory(),
            // SAFETY: The VMA is locked, and holds a reference to its file.
            file: NonNull::new(file).map(|file| unsafe { FileRef::get(file) }),
            pgoff,
        }
    }

    fn memory(&self) -> Memory {
        // SAFETY: The VMA is locked, which keeps its operations too.
        match unsafe { (*self.as_ptr()).vm_ops.as_ref() } {
            None => Memory::Anonymous,
            Some(ops) => Memory::File(ops.uffd_ops),
        }
    }
}

impl Deref for DstVma<'_> {
    type Target = VmaRef;

    fn deref(&self) -> &VmaRef {
        // SAFETY: The VMA is locked by the type invariants.
        unsafe { self.lock.vma.as_ref() }
    }
}

/// Finds the VMA at `address`, to which pages are to go, and makes sure that they can be entered
/// into the reverse map (`find_vma_and_prepare_anon`). May sleep.
///
/// # Errors
///
/// `ENOENT`: no VMA. `ENOMEM`: no memory for its `anon_vma`.
pub(super) fn find_dst<'a>(mmap: &'a MmapReadGuard<'_>, address: usize) -> Result<&'a VmaRef> {
    let vma = mmap.vma_lookup(address).ok_or(ENOENT)?;
    // SAFETY: The VMA is stable and the mmap lock is held.
    if !can_map_pages(vma) && unsafe { bindings::__anon_vma_prepare(vma.as_ptr()) } != 0 {
        return Err(ENOMEM);
    }
    Ok(vma)
}

/// Whether private pages of `vma` can be entered into the reverse map.
fn can_map_pages(vma: &VmaRef) -> bool {
    // SAFETY: `vma` is a reference. Its `anon_vma` is read once, because another thread may be
    // giving it one under the mmap read lock.
    vma.flags() & flags::SHARED != 0 || unsafe { bindings::uffd_vma_has_anon_vma(vma.as_ptr()) }
}

/// What a VMA was when its lock was dropped (`mfill_retry_state`).
///
/// After the lock is taken again there may be another VMA at the address, registered otherwise, or
/// mapping other memory. A folio that was prepared for the old one must not end up in it.
pub(crate) struct Snapshot {
    modes: Modes,
    shared: bool,
    memory: Memory,
    /// Held, so that the same address means the same file.
    file: Option<FileRef>,
    /// Offset in the file, in pages.
    pgoff: usize,
}

impl Snapshot {
    /// Whether `vma` is not what it was (`mfill_retry_state_changed`).
    ///
    /// Permissions may have changed, and so may the context: they are not what a folio depends on,
    /// and are read anew when it is mapped.
    pub(crate) fn differs(&self, vma: &DstVma<'_>) -> bool {
        if vma.view().modes() != self.modes
            || vma.is_shared() != self.shared
            || vma.memory() != self.memory
        {
            return true;
        }
        let Some(file) = &self.file else {
            return !vma.is_anonymous();
        };
        // SAFETY: The VMA is locked.
        let (now, pgoff) = unsafe { ((*vma.as_ptr()).vm_file, (*vma.as_ptr()).vm_pgoff) };
        !ptr::eq(now, file.0.as_ptr()) || pgoff != self.pgoff
    }
}

/// The kind of memory a VMA maps: anonymous, or by the userfaultfd operations of its file.
#[derive(PartialEq, Eq)]
enum Memory {
    Anonymous,
    /// The address identifies the operations; it is compared, nothing more.
    File(*const bindings::vm_uffd_ops),
}

/// A reference to a file that is compared and dropped.
///
/// # Invariants
///
/// Owns one reference.
struct FileRef(NonNull<bindings::file>);

impl FileRef {
    /// # Safety
    ///
    /// The file's reference count is not zero.
    unsafe fn get(file: NonNull<bindings::file>) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::get_file(file.as_ptr()) };
        // INVARIANT: Just taken.
        Self(file)
    }
}

impl Drop for FileRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give back.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}
