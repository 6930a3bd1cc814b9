// SPDX-License-Identifier: GPL-2.0-only

//! Whether the mappings that an object serves are changing, and the two sides of that.
//!
//! fork, mremap, madvise and munmap hold a [`Changing`] from before their change until user space
//! knows of it. What writes page table entries on behalf of user space holds a [`Stable`], which is
//! refused meanwhile: it was asked for by someone who does not know yet.
//!
//! # Lock order
//!
//! mmap lock, VMA lock, then the rwsem in here. Who holds it for reading waits for neither of the
//! other two.

use core::mem::ManuallyDrop;

use kernel::{
    ffi::c_void,
    prelude::*,
    static_lock_class,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::ForeignOwnable, //
};

use super::{
    observer::Observer,
    rwsem::{
        RwReadGuard,
        RwSemaphore, //
    },
    slab::{
        SlabObject,
        SlabRef, //
    },
    trace, //
};
use crate::pure::fill::Stop;

/// How many changes of the mappings are under way (`map_changing_lock` and `mmap_changing`).
///
/// # Invariants
///
/// `changes` is the number of [`Changing`]s of this object. It grows only under `lock` held for
/// writing.
#[pin_data]
pub(crate) struct Mappings {
    #[pin]
    lock: RwSemaphore,
    changes: Atomic<i32>,
}

/// What has mappings to serve.
pub(crate) trait HasMappings: SlabObject {
    /// Their state.
    fn mappings(&self) -> &Mappings;

    /// Who watches it.
    fn observer(&self) -> &Observer;
}

impl Mappings {
    /// Nothing is changing.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RwSemaphore::new(c"uffd_map_changing", static_lock_class!()),
            changes: Atomic::new(0),
        })
    }

    /// Whether a change is under way, for a look without lock. A change may begin right after.
    #[inline]
    pub(crate) fn are_changing(&self) -> bool {
        self.changes.load(Relaxed) != 0
    }

    /// Keeps changes from beginning while the result lives. May sleep; called with the VMA locked,
    /// or the mmap lock held for reading, in both cases for as long as the result.
    ///
    /// # Errors
    ///
    /// A change is under way.
    pub(crate) fn stable(&self) -> Result<Stable<'_>, Stop> {
        let lock = self.lock.read();
        if self.are_changing() {
            return Err(Stop::Changing);
        }
        // INVARIANT: The count is zero and grows only under the lock for writing.
        Ok(Stable { _lock: lock })
    }
}

/// No change of the mappings is under way.
///
/// # Invariants
///
/// The count was zero when the lock was held already.
#[must_use = "a change may begin when it is dropped"]
pub(crate) struct Stable<'a> {
    _lock: RwReadGuard<'a>,
}

/// A change of the mappings that `T` serves; dropping it ends the change.
///
/// # Invariants
///
/// This value is one of those that `changes` counts.
#[must_use = "the change is over when this is dropped"]
pub(crate) struct Changing<T: HasMappings> {
    object: SlabRef<T>,
}

impl<T: HasMappings> Changing<T> {
    /// Begins a change, once those that hold a [`Stable`] are done. May sleep.
    ///
    /// Called with the mmap lock held, and before what changes can be seen.
    pub(crate) fn begin(object: SlabRef<T>) -> Self {
        let mappings = object.mappings();
        let lock = mappings.lock.write();
        let changes = mappings.changes.fetch_add(1, Relaxed);
        trace::changing(object.observer(), changes + 1);
        drop(lock);
        // INVARIANT: Just counted.
        Self { object }
    }

    /// Whose mappings change.
    pub(crate) fn object(&self) -> &SlabRef<T> {
        &self.object
    }

    /// Gives the change to C, as an address.
    pub(crate) fn into_foreign(self) -> *mut c_void {
        let this = ManuallyDrop::new(self);
        // SAFETY: Read once, and `this` is not used any more.
        unsafe { core::ptr::read(&raw const this.object) }.into_foreign()
    }

    /// Takes a change back from C.
    ///
    /// # Safety
    ///
    /// `ptr` came from [`Self::into_foreign`] and is not used any more.
    pub(crate) unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // INVARIANT: Nobody ended the change since.
        Self {
            // SAFETY: By the safety requirements.
            object: unsafe { SlabRef::from_foreign(ptr) },
        }
    }
}

impl<T: HasMappings> Drop for Changing<T> {
    fn drop(&mut self) {
        let changes = self.object.mappings().changes.fetch_add(-1, Relaxed);
        trace::changing(self.object.observer(), changes - 1);
    }
}
