// SPDX-License-Identifier: GPL-2.0-only

//! Without debugfs nobody could read counts: nothing is counted, nor is there anything that would.

use super::observer::ContextId;
use crate::pure::{
    abi::Reason,
    fault::End,
    observe::{
        Again,
        Resolve, //
    },
};

/// Nothing that would be known of a sleeper.
pub(super) struct Stamp;

impl Stamp {
    pub(super) const NONE: Self = Self;
}

/// Nobody asks how many sleep.
pub(super) trait Sleepers {}

impl<T> Sleepers for T {}

/// No place for counts.
pub(super) struct Account;

impl Account {
    pub(super) const fn new() -> Self {
        Self
    }

    /// # Safety
    ///
    /// None is needed here.
    pub(super) unsafe fn open(&self, _: ContextId, _: &impl Sleepers) {}

    pub(super) fn queued(&self, _: Reason, _: &mut Stamp, _: u32) {}

    pub(super) fn read(&self, _: &mut Stamp) {}

    pub(super) fn unread(&self, _: &mut Stamp) {}

    pub(super) fn woken(&self, _: &Stamp) {}

    pub(super) fn ended(&self, _: End) {}

    pub(super) fn wake(&self) {}

    pub(super) fn refused(&self) {}

    pub(super) fn resolved(&self, _: Resolve, _: i64, _: Option<Again>) {}
}
