// SPDX-License-Identifier: GPL-2.0-only

//! What a context is to those who watch.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The number under which a context is shown: from 1 on, never used twice between two boots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextId(u64);

impl ContextId {
    /// A number that was not given out yet.
    fn next() -> Self {
        static LAST: Atomic<u64> = Atomic::new(0);
        // OVERFLOW: a context every nanosecond takes five centuries to get there.
        Self(LAST.fetch_add(1, Relaxed).wrapping_add(1))
    }

    /// The number itself.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Who watches one context: what everything that shows something of it is given.
pub(crate) struct Observer {
    id: ContextId,
}

impl Observer {
    /// That of a new context.
    pub(crate) fn new() -> Self {
        Self {
            id: ContextId::next(),
        }
    }

    /// The context's number.
    pub(crate) fn id(&self) -> ContextId {
        self.id
    }
}
