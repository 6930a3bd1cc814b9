// SPDX-License-Identifier: GPL-2.0-only

//! Reference-counted objects in a named slab cache.
//!
//! The cache has no constructor: SLUB never poisons objects of a cache that has one, and a stale
//! pointer into such a cache reads plausible data. It is not merged with others either, so
//! `slab_debug=FZPU,NAME` reaches exactly these objects and `/proc/slabinfo` counts them.

use core::{
    marker::PhantomData,
    mem::{
        size_of,
        ManuallyDrop, //
    },
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::{
        Refcount,
        SetOnce, //
    },
    types::ForeignOwnable, //
};

#[cfg(all(CONFIG_USERFAULTFD_RUST_KUNIT_TEST, CONFIG_SLUB_DEBUG_ON))]
pub(crate) mod remains;
#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
mod tests;

/// What lives in a cache of its own. [`slab_object`] implements it.
///
/// # Safety
///
/// `references` returns a field of the object, which nothing but [`SlabRef`] changes.
pub(crate) unsafe trait SlabObject: Send + Sync + Sized + 'static {
    /// The cache of this type.
    fn cache() -> &'static SlabCache<Self>;

    /// The count.
    ///
    /// # Safety
    ///
    /// The object is alive.
    unsafe fn references(this: NonNull<Self>) -> NonNull<References>;
}

/// Makes a struct a [`SlabObject`]: names the field that counts its references.
macro_rules! slab_object {
    ($object:ident, $references:ident) => {
        // SAFETY: It is such a field: nothing else can change a `References`.
        unsafe impl $crate::abstractions::slab::SlabObject for $object {
            fn cache() -> &'static $crate::abstractions::slab::SlabCache<Self> {
                static CACHE: $crate::abstractions::slab::SlabCache<$object> =
                    $crate::abstractions::slab::SlabCache::new();
                &CACHE
            }

            unsafe fn references(
                this: core::ptr::NonNull<Self>,
            ) -> core::ptr::NonNull<$crate::abstractions::slab::References> {
                // SAFETY: The object is alive, and no field is at null.
                unsafe { core::ptr::NonNull::new_unchecked(&raw mut (*this.as_ptr()).$references) }
            }
        }
    };
}
pub(crate) use slab_object;

/// How many references there are to an object of which this is a field.
pub(crate) struct References(Refcount);

impl References {
    /// The count of a new object: one.
    pub(crate) fn new() -> Self {
        Self(Refcount::new(1))
    }
}

/// Address of a `struct kmem_cache` that is never destroyed.
struct RawCache(NonNull<bindings::kmem_cache>);

// SAFETY: The slab allocator synchronises all uses of a cache.
unsafe impl Send for RawCache {}
// SAFETY: As above.
unsafe impl Sync for RawCache {}

/// A cache for objects of type `T`, created once and kept for good.
pub(crate) struct SlabCache<T> {
    raw: SetOnce<RawCache>,
    _objects: PhantomData<fn() -> T>,
}

impl<T: SlabObject> SlabCache<T> {
    /// A cache that does not exist yet.
    pub(crate) const fn new() -> Self {
        Self {
            raw: SetOnce::new(),
            _objects: PhantomData,
        }
    }

    /// Creates the cache under `name`. Called once, at boot; may sleep. `ENOMEM` when it fails,
    /// `EBUSY` when it was created before.
    pub(crate) fn create(&self, name: &'static CStr) -> Result {
        let mut args = bindings::kmem_cache_args {
            align: core::mem::align_of::<T>() as u32,
            ..Default::default()
        };
        // SAFETY: The name lives for ever, the arguments for the call.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(
                name.as_char_ptr(),
                size_of::<T>() as u32,
                &raw mut args,
                bindings::SLAB_HWCACHE_ALIGN | bindings::SLAB_NO_MERGE,
            )
        };
        let cache = NonNull::new(cache).ok_or(ENOMEM)?;
        if self.raw.populate(RawCache(cache)) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    fn raw(&self) -> Result<*mut bindings::kmem_cache> {
        Ok(self.raw.as_ref().ok_or(ENOMEM)?.0.as_ptr())
    }
}

/// An owned reference to an object in its cache. The last one frees the object.
///
/// # Invariants
///
/// `object` points at an initialised, pinned object of `T::cache()`, and this value owns one of
/// its references. They are counted in the object, those given up with
/// [`ForeignOwnable::into_foreign`] included.
pub(crate) struct SlabRef<T: SlabObject> {
    object: NonNull<T>,
    _owned: PhantomData<T>,
}

// SAFETY: References are counted atomically, and `T` may be shared and dropped on any thread.
unsafe impl<T: SlabObject> Send for SlabRef<T> {}
// SAFETY: As above.
unsafe impl<T: SlabObject> Sync for SlabRef<T> {}

impl<T: SlabObject> SlabRef<T> {
    /// Allocates an object and initialises it in place, its count with [`References::new`]. May
    /// sleep. `ENOMEM`, or what `init` returns.
    pub(crate) fn try_new(init: impl PinInit<T, Error>) -> Result<Self> {
        let cache = T::cache().raw()?;
        // SAFETY: The cache exists and is never destroyed.
        let object = unsafe { bindings::uffd_kmem_cache_alloc(cache, bindings::GFP_KERNEL) };
        let object = NonNull::new(object.cast::<T>()).ok_or(ENOMEM)?;
        defect!(
            RedZone,
            lab::memory::clear_too_much(object.as_ptr().cast(), size_of::<T>())
        );
        // SAFETY: The object is ours alone and large enough; on success it is initialised and
        // stays where it is until it is freed.
        let made = unsafe { pin_init::raw_try_init(object.as_ptr(), init) };
        if let Err(error) = made {
            // SAFETY: Allocated above, and nobody else has seen it.
            unsafe { bindings::kmem_cache_free(cache, object.as_ptr().cast()) };
            return Err(error);
        }
        // INVARIANT: Initialised above with one reference, which this value owns.
        Ok(Self {
            object,
            _owned: PhantomData,
        })
    }

    /// The address that [`ForeignOwnable::into_foreign`] would give, without a reference.
    pub(crate) fn as_foreign(&self) -> NonNull<c_void> {
        self.object.cast()
    }

    /// Ends an object whose last reference has gone.
    ///
    /// # Safety
    ///
    /// `object` is initialised, came out of the cache, and nobody else can reach it.
    // Not on the way of those who give back one reference of many.
    #[cold]
    unsafe fn free(object: *mut T) {
        // The cache exists: the object came out of it.
        if let Ok(cache) = T::cache().raw() {
            // SAFETY: By the safety requirements.
            unsafe {
                core::ptr::drop_in_place(object);
                bindings::kmem_cache_free(cache, object.cast());
            }
        }
    }
}

/// A reference that somebody else owns. Cloned, it is a further one.
pub(crate) struct SlabBorrow<'a, T: SlabObject> {
    theirs: ManuallyDrop<SlabRef<T>>,
    _owner: PhantomData<&'a T>,
}

impl<T: SlabObject> SlabBorrow<'_, T> {
    /// Borrows the reference that keeps the object at `ptr` alive.
    ///
    /// # Safety
    ///
    /// `ptr` is what [`SlabRef::as_foreign`] gave for an object that stays alive as long as the
    /// result.
    pub(crate) unsafe fn new(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By the safety requirements. Not dropped here, so it stays theirs.
        let theirs = ManuallyDrop::new(unsafe { SlabRef::from_foreign(ptr.as_ptr()) });
        Self {
            theirs,
            _owner: PhantomData,
        }
    }
}

impl<T: SlabObject> Deref for SlabBorrow<'_, T> {
    type Target = SlabRef<T>;

    fn deref(&self) -> &SlabRef<T> {
        &self.theirs
    }
}

impl<T: SlabObject> Clone for SlabRef<T> {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants the object is alive.
        unsafe { (*T::references(self.object).as_ptr()).0.inc() };
        // INVARIANT: The reference just taken.
        Self {
            object: self.object,
            _owned: PhantomData,
        }
    }
}

impl<T: SlabObject> Deref for SlabRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the object is initialised and alive.
        unsafe { self.object.as_ref() }
    }
}

impl<T: SlabObject> Drop for SlabRef<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the object is alive.
        if unsafe { (*T::references(self.object).as_ptr()).0.dec_and_test() } {
            // SAFETY: That was the last reference, so nobody else can reach the object.
            unsafe { Self::free(self.object.as_ptr()) };
        }
    }
}

// SAFETY: `into_foreign` returns the address of an object, aligned for `T` and never null, and gives
// up no reference; `from_foreign` takes the same reference back.
unsafe impl<T: SlabObject> ForeignOwnable for SlabRef<T> {
    const FOREIGN_ALIGN: usize = core::mem::align_of::<T>();

    type Borrowed<'a> = &'a T;
    type BorrowedMut<'a> = &'a T;

    fn into_foreign(self) -> *mut c_void {
        ManuallyDrop::new(self).as_foreign().as_ptr()
    }

    unsafe fn from_foreign(ptr: *mut c_void) -> Self {
        // SAFETY: `ptr` is what `into_foreign` returned, the address of a live object.
        let object = unsafe { NonNull::new_unchecked(ptr.cast()) };
        // INVARIANT: The reference that `into_foreign` gave up.
        Self {
            object,
            _owned: PhantomData,
        }
    }

    unsafe fn borrow<'a>(ptr: *mut c_void) -> &'a T {
        // SAFETY: By the safety requirements the object lives for `'a` and is shared only.
        unsafe { &*ptr.cast() }
    }

    unsafe fn borrow_mut<'a>(ptr: *mut c_void) -> &'a T {
        // SAFETY: `borrow_mut` requires more than `borrow`.
        unsafe { Self::borrow(ptr) }
    }
}
