// SPDX-License-Identifier: GPL-2.0-only

//! Defects of the fault queue. A module of `abstractions::sleepers`.

use core::ptr::NonNull;

use kernel::sync::{
    aref::ARef,
    atomic::Release, //
};

use super::{
    Claim,
    FaultMessage,
    Links,
    Locked,
    Sleeper,
    SleeperQueue, //
};
use crate::lab;

/// Wakes the sleeper, and lets it go, while it is still linked.
///
/// # Safety
///
/// `sleeper` is linked.
pub(super) unsafe fn wake_too_early<M>(sleeper: NonNull<Sleeper<M>>) {
    // SAFETY: By the safety requirements it is alive, and so is its task, until the store.
    unsafe {
        let task = ARef::from((*sleeper.as_ptr()).task.as_ref());
        (*sleeper.as_ptr()).woken.store(true, Release);
        task.wake_up();
    }
    lab::busy_window(400);
}

/// Takes a message as C once did: the sleeper moves from one queue to another, and in between it is
/// in neither.
pub(super) fn claim_by_refiling<M: FaultMessage>(
    queue: &SleeperQueue<M>,
    mut links: Locked<'_, Links<M>>,
    oldest: NonNull<Sleeper<M>>,
) -> Option<Claim<M>> {
    // SAFETY: Linked, so it is alive while the lock is held.
    let address = unsafe {
        links.remove(oldest);
        (*oldest.as_ptr()).key.address()
    };
    queue.mirror_sleepers(&links);
    queue.mirror_unread(&links);
    drop(links);
    lab::window();
    let mut links = queue.lock();
    // SAFETY: None, if the sleeper has left meanwhile: it was not linked, so nobody had to ask.
    let claim = unsafe {
        links.insert(oldest, address);
        links.take(oldest)
    };
    queue.mirror_sleepers(&links);
    queue.mirror_unread(&links);
    Some(claim)
}
