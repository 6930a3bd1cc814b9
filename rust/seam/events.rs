// SPDX-License-Identifier: GPL-2.0-only

//! fork, mremap, madvise and munmap of registered memory.
//!
//! C carries what a change needs from its beginning to its end: a list of ours, or one address.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    macros::export, //
};

use crate::{
    abstractions::{
        foreign_list::ForeignList,
        slab::{
            SlabBorrow,
            SlabRef, //
        },
        vma::VmaWriteLocked, //
    },
    pure::abi::Features,
    uffd::{
        context::Context,
        events::{
            self,
            Changing,
            Fork,
            Unmap, //
        }, //
    },
};

/// A reference to the context of `vma`, if it has one.
///
/// # Safety
///
/// The caller holds a lock that keeps `vma` as it is.
#[inline]
unsafe fn context_of(vma: *mut bindings::vm_area_struct) -> Option<SlabRef<Context>> {
    // SAFETY: As for this function; every context has no features at least.
    unsafe { context_with(vma, Features::NONE) }
}

/// The same, if the context has `feature`.
///
/// # Safety
///
/// As for [`context_of`].
#[inline]
unsafe fn context_with(
    vma: *mut bindings::vm_area_struct,
    feature: Features,
) -> Option<SlabRef<Context>> {
    // SAFETY: By the safety requirements the VMA is valid and stable.
    let context = NonNull::new(unsafe { (*vma).vm_userfaultfd_ctx.ctx })?.cast::<c_void>();
    // SAFETY: Contexts of VMAs are `Context`s, and live while a VMA is registered with them.
    let context = unsafe { SlabBorrow::<Context>::new(context) };
    let has = context.features().contains(feature);
    has.then(|| SlabRef::clone(&context))
}

/// fork copied `vma` into the child: takes the copy out of its context, or into one of the child's.
/// Both mmap locks stay held; may sleep. `-ENOMEM`.
///
/// # Safety
///
/// The caller holds both mmap locks for writing; `vma` is the child's, and nobody else touches it.
/// `contexts` is an initialised list that only these three functions change.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd(
    vma: *mut bindings::vm_area_struct,
    contexts: *mut bindings::list_head,
) -> c_int {
    // SAFETY: As for this function: the copy is registered as its original is, which stays locked.
    let Some(parent) = (unsafe { context_of(vma) }) else {
        return 0;
    };
    // SAFETY: As for this function.
    let (mut vma, mut forks) = unsafe {
        (
            VmaWriteLocked::adopt(NonNull::new_unchecked(vma)),
            ForeignList::adopt(NonNull::new_unchecked(contexts)),
        )
    };
    match events::fork(&mut vma, parent, &mut forks) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// fork succeeded: tells each parent's context and waits. No lock is held.
///
/// # Safety
///
/// `contexts` is the list that [`dup_userfaultfd`] filled.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd_complete(contexts: *mut bindings::list_head) {
    // SAFETY: As for this function.
    let mut forks = unsafe { ForeignList::<Fork>::adopt(NonNull::new_unchecked(contexts)) };
    while let Some(fork) = forks.pop() {
        fork.complete();
    }
}

/// fork failed, and the child's VMAs are gone: forgets about it. No lock is held.
///
/// # Safety
///
/// `contexts` is the list that [`dup_userfaultfd`] filled.
#[export]
pub(crate) unsafe extern "C" fn dup_userfaultfd_fail(contexts: *mut bindings::list_head) {
    // SAFETY: As for this function.
    let mut forks = unsafe { ForeignList::<Fork>::adopt(NonNull::new_unchecked(contexts)) };
    while let Some(fork) = forks.pop() {
        fork.fail();
    }
}

/// mremap moved memory to `vma`: takes it out of its context, or stores the change in `moved`. The
/// mmap lock stays held; may sleep.
///
/// # Safety
///
/// The caller holds the mmap lock for writing. `moved` is its own, and null.
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_prep(
    vma: *mut bindings::vm_area_struct,
    moved: *mut bindings::vm_userfaultfd_ctx,
) {
    // SAFETY: As for this function.
    let Some(context) = (unsafe { context_of(vma) }) else {
        return;
    };
    // SAFETY: As for this function.
    let mut vma = unsafe { VmaWriteLocked::adopt(NonNull::new_unchecked(vma)) };
    if let Some(change) = events::remap(&mut vma, context) {
        // SAFETY: As for this function.
        unsafe { (*moved).ctx = change.into_foreign().cast() };
    }
}

/// Takes the change that [`mremap_userfaultfd_prep`] stored, if it did.
///
/// # Safety
///
/// `moved` was filled by [`mremap_userfaultfd_prep`], and is the caller's own.
unsafe fn take_change(moved: *mut bindings::vm_userfaultfd_ctx) -> Option<Changing> {
    // SAFETY: As for this function; it is cleared, so the change is taken once.
    let change = NonNull::new(unsafe { ptr::replace(&raw mut (*moved).ctx, ptr::null_mut()) })?;
    // SAFETY: What is stored came from `into_foreign`.
    Some(unsafe { Changing::from_foreign(change.as_ptr().cast()) })
}

/// mremap moved memory: tells and waits. No lock is held.
///
/// # Safety
///
/// `moved` was filled by [`mremap_userfaultfd_prep`].
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_complete(
    moved: *mut bindings::vm_userfaultfd_ctx,
    from: c_ulong,
    to: c_ulong,
    len: c_ulong,
) {
    // SAFETY: As for this function.
    if let Some(change) = unsafe { take_change(moved) } {
        events::remapped(change, from, to, len);
    }
}

/// mremap failed after [`mremap_userfaultfd_prep`]: the change is over. No lock is held.
///
/// # Safety
///
/// `moved` was filled by [`mremap_userfaultfd_prep`].
#[export]
pub(crate) unsafe extern "C" fn mremap_userfaultfd_fail(moved: *mut bindings::vm_userfaultfd_ctx) {
    // SAFETY: As for this function.
    drop(unsafe { take_change(moved) });
}

/// madvise is about to drop pages of `vma`: tells and waits, without the mmap lock. Returns whether
/// the lock is still held.
///
/// # Safety
///
/// The caller holds the mmap lock for reading; if this returns false, it no longer does.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_remove(
    vma: *mut bindings::vm_area_struct,
    start: c_ulong,
    end: c_ulong,
) -> bool {
    // SAFETY: As for this function.
    let Some(context) = (unsafe { context_with(vma, Features::EVENT_REMOVE) }) else {
        return true;
    };
    let change = Changing::begin(context);
    // SAFETY: The caller gives the lock up, as the answer says.
    unsafe { bindings::mmap_read_unlock((*vma).vm_mm) };
    events::remove(change, start, end);
    false
}

/// munmap is about to take a range out of `vma`. The mmap lock stays held; may sleep. `-ENOMEM`.
///
/// # Safety
///
/// The caller holds the mmap lock for writing. `unmaps` is an initialised list that only this
/// function and [`userfaultfd_unmap_complete`] change.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_unmap_prep(
    vma: *mut bindings::vm_area_struct,
    start: c_ulong,
    end: c_ulong,
    unmaps: *mut bindings::list_head,
) -> c_int {
    // SAFETY: As for this function.
    let Some(context) = (unsafe { context_with(vma, Features::EVENT_UNMAP) }) else {
        return 0;
    };
    // SAFETY: As for this function.
    let mut unmaps = unsafe { ForeignList::adopt(NonNull::new_unchecked(unmaps)) };
    match events::unmap(context, start, end, &mut unmaps) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// munmap is done: tells and waits. No lock is held.
///
/// # Safety
///
/// `unmaps` is the list that [`userfaultfd_unmap_prep`] filled.
#[export]
pub(crate) unsafe extern "C" fn userfaultfd_unmap_complete(
    _mm: *mut bindings::mm_struct,
    unmaps: *mut bindings::list_head,
) {
    // SAFETY: As for this function.
    let mut unmaps = unsafe { ForeignList::<Unmap>::adopt(NonNull::new_unchecked(unmaps)) };
    while let Some(unmap) = unmaps.pop() {
        unmap.complete();
    }
}
