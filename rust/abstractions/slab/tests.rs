// SPDX-License-Identifier: GPL-2.0-only

//! Objects in caches: created, shared, freed once, and poisoned after that.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use super::{
    slab_object,
    References,
    SlabBorrow,
    SlabObject,
    SlabRef, //
};

/// Destroys a cache that nobody will use again. The kernel reports objects that are left.
///
/// # Safety
///
/// There is no [`SlabRef`] of the type, nor will there be one.
unsafe fn destroy<T: SlabObject>() -> Result {
    let cache = T::cache().raw()?;
    // SAFETY: By the safety requirements.
    unsafe { bindings::kmem_cache_destroy(cache) };
    Ok(())
}

/// Defines an object with a cache of its own, and a count of those that were dropped.
macro_rules! probe {
    ($name:ident) => {
        #[allow(dead_code, reason = "some tests only count")]
        struct $name {
            references: References,
            bytes: [u8; 100],
        }

        slab_object!($name, references);

        static DROPPED: Atomic<usize> = Atomic::new(0);

        impl Drop for $name {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Relaxed);
            }
        }

        impl $name {
            fn with(byte: u8) -> Result<SlabRef<Self>> {
                SlabRef::try_new(Self::init(byte))
            }

            fn init(byte: u8) -> impl PinInit<Self, Error> {
                let init = move |slot: *mut Self| {
                    // SAFETY: The slot is valid for writes of the value.
                    unsafe {
                        slot.write(Self {
                            references: References::new(),
                            bytes: [byte; 100],
                        })
                    };
                    Ok(())
                };
                // SAFETY: The slot is initialised whenever the result is `Ok`.
                unsafe { pin_init::pin_init_from_closure(init) }
            }
        }
    };
}

#[kunit_tests(userfaultfd_slab)]
mod cases {
    use super::*;
    #[cfg(CONFIG_SLUB_DEBUG_ON)]
    use crate::abstractions::slab::remains::remains_of;
    use kernel::types::ForeignOwnable;

    #[test]
    fn the_last_reference_frees() -> Result {
        probe!(Shared);
        Shared::cache().create(c"userfaultfd_kunit_shared")?;
        let first = Shared::with(7)?;
        // SAFETY: The object of `first` is alive.
        let second = unsafe { SlabRef::clone(&SlabBorrow::<Shared>::new(first.as_foreign())) };
        drop(first);
        assert_eq!(DROPPED.load(Relaxed), 0);
        assert_eq!(second.bytes, [7; 100]);
        drop(second);
        assert_eq!(DROPPED.load(Relaxed), 1);
        // SAFETY: The type goes out of scope.
        unsafe { destroy::<Shared>() }
    }

    #[test]
    fn what_c_holds_is_a_reference() -> Result {
        probe!(Foreign);
        Foreign::cache().create(c"userfaultfd_kunit_foreign")?;
        let raw = Foreign::with(9)?.into_foreign();
        assert_eq!(DROPPED.load(Relaxed), 0);
        // SAFETY: `raw` comes from `into_foreign`, and is not taken back yet.
        assert_eq!(unsafe { SlabRef::<Foreign>::borrow(raw) }.bytes, [9; 100]);
        // SAFETY: As above; taken back once.
        drop(unsafe { SlabRef::<Foreign>::from_foreign(raw) });
        assert_eq!(DROPPED.load(Relaxed), 1);
        // SAFETY: The type goes out of scope.
        unsafe { destroy::<Foreign>() }
    }

    #[test]
    fn a_failed_initialisation_leaves_nothing() -> Result {
        probe!(Failing);
        Failing::cache().create(c"userfaultfd_kunit_failing")?;
        let fails = |_: *mut Failing| Err::<(), Error>(EIO);
        // SAFETY: Never `Ok`, so there is nothing to initialise.
        let init = unsafe { pin_init::pin_init_from_closure(fails) };
        assert_eq!(SlabRef::try_new(init).err(), Some(EIO));
        assert_eq!(DROPPED.load(Relaxed), 0);
        drop(Failing::with(1)?);
        assert_eq!(DROPPED.load(Relaxed), 1);
        // SAFETY: The type goes out of scope.
        unsafe { destroy::<Failing>() }
    }

    #[test]
    fn a_cache_is_created_once() {
        probe!(Early);
        assert_eq!(Early::with(1).err(), Some(ENOMEM));
        assert!(Early::cache().create(c"userfaultfd_kunit_early").is_ok());
        assert!(Early::with(1).is_ok());
        assert_eq!(DROPPED.load(Relaxed), 1);
        // SAFETY: The type goes out of scope.
        assert!(unsafe { destroy::<Early>() }.is_ok());
    }

    #[test]
    #[cfg(CONFIG_SLUB_DEBUG_ON)]
    fn a_freed_object_is_poisoned() -> Result {
        probe!(Stale);
        Stale::cache().create(c"userfaultfd_kunit_stale")?;
        let (object, neighbour) = (Stale::with(3)?, Stale::with(4)?);
        assert!(remains_of(object)?.are_poisoned());
        assert_eq!(neighbour.bytes, [4; 100]);
        drop(neighbour);
        // SAFETY: The type goes out of scope.
        unsafe { destroy::<Stale>() }
    }
}
