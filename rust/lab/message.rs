// SPDX-License-Identifier: GPL-2.0-only

//! A message with what was in its memory before.

use core::ptr;

use kernel::prelude::*;

use crate::pure::message::Message;

/// Where the fields of a page fault's message are; see `pure::message`.
const FIELDS: [(usize, usize); 4] = [(0, 1), (8, 8), (16, 8), (24, 4)];

/// The same message, put together field by field in memory that nobody cleared.
pub(crate) fn without_clearing(message: Message) -> Message {
    let Ok(room) = KBox::<Message>::new_uninit(GFP_KERNEL) else {
        return message;
    };
    let room = KBox::into_raw(room).cast::<Message>();
    let from = message.as_bytes().as_ptr();
    // SAFETY: Both are a message long, and the box was ours. That the bytes between the fields are
    // read is the defect.
    unsafe {
        for (at, len) in FIELDS {
            ptr::copy_nonoverlapping(from.add(at), room.cast::<u8>().add(at), len);
        }
        let message = ptr::read_volatile(room);
        drop(KBox::from_raw(room));
        message
    }
}
