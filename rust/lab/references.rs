// SPDX-License-Identifier: GPL-2.0-only

//! Wrong counts of references to contexts.

use core::{
    mem::forget,
    ptr, //
};

use crate::abstractions::slab::{
    SlabObject,
    SlabRef, //
};

/// Gives a reference back that `object` still believes to own.
pub(crate) fn put<T: SlabObject>(object: &SlabRef<T>) {
    // SAFETY: None: the count is one too low afterwards, which is the defect.
    drop(unsafe { ptr::read(object) });
}

/// Never ends `change`, if its event is `unread`.
pub(crate) fn keep_if<E, C>(unread: Option<E>, change: C) {
    if unread.is_some() {
        forget(change);
    }
}

/// Takes, after a while, the reference again that [`put`] gave back.
pub(crate) fn get_late<T: SlabObject>(object: &SlabRef<T>) {
    super::window();
    forget(object.clone());
}
