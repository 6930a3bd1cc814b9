// SPDX-License-Identifier: GPL-2.0-only

//! What is left of an object that was freed.

use core::mem::size_of;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    SlabObject,
    SlabRef, //
};

/// What SLUB fills freed objects with, and their last byte.
const POISON: (u8, u8) = (bindings::POISON_FREE as u8, bindings::POISON_END as u8);

/// The bytes that lie where an object has been.
pub(crate) struct Remains {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Remains {
    const MOST: usize = 1024;

    /// Whether SLUB poisoned all of the object.
    pub(crate) fn are_poisoned(&self) -> bool {
        let Some((last, others)) = self.bytes[..self.len].split_last() else {
            return false;
        };
        others.iter().all(|&byte| byte == POISON.0) && *last == POISON.1
    }
}

/// Drops the last reference to an object and looks at what is there then.
///
/// Its slab stays only while another object lives in it.
pub(crate) fn remains_of<T: SlabObject>(object: SlabRef<T>) -> Result<Remains> {
    let address = object.object.as_ptr();
    let mut remains = Remains {
        bytes: [0; Remains::MOST],
        len: size_of::<T>(),
    };
    if remains.len > Remains::MOST {
        return Err(E2BIG);
    }
    drop(object);
    let cache = T::cache().raw()?;
    // SAFETY: The cache exists. Memory that is not there is an error, not a fault, and the
    // sanitizer does not look at this kind of access. Shrinking makes it give back what it has kept
    // in quarantine.
    let status = unsafe {
        bindings::kmem_cache_shrink(cache);
        bindings::copy_from_kernel_nofault(
            remains.bytes.as_mut_ptr().cast(),
            address.cast_const().cast(),
            remains.len,
        )
    };
    kernel::error::to_result(status as i32)?;
    Ok(remains)
}
