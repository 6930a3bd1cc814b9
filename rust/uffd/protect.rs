// SPDX-License-Identifier: GPL-2.0-only

//! Protection of registered memory, and the switch between asking and resolving alone.

use kernel::prelude::*;

use super::{
    context::Context,
    register::exclude_faults, //
};
use crate::{
    abstractions::{
        mappings::HasMappings,
        mmap::{
            MmapReadLock,
            MmapWriteGuard, //
        },
        slab::SlabRef, //
    },
    pure::{
        features::Toggle,
        fill::Stop,
        protect::Change,
        range::Range,
        wait::Scope, //
    },
};

/// Changes the protection of `range`, which is page aligned. Holes between VMAs are passed over.
///
/// Called and left with no lock held; takes the mmap lock for reading. May sleep. When it returns
/// no processor uses the old protection. Replaces `mwriteprotect_range` and `mrwprotect_range`.
///
/// # Errors
///
/// - `ESRCH`: the process is gone;
/// - mappings are changing, and user space is yet to be told;
/// - `ENOENT`: no VMA in the range, or one that is not registered for this protection;
/// - `EINVAL`: a VMA has huge pages and the range starts or ends inside one;
/// - `ENOMEM`: no memory for page tables, which write protection of absent pages takes.
///
/// Write protection changes VMA by VMA and keeps what it did before an error; read-write protection
/// fails with nothing changed.
// Inlined, it shares the frame of the ioctl.
#[inline(always)]
pub(crate) fn change(ctx: &Context, range: &Range, change: Change) -> Result<(), Stop> {
    let mm = ctx.mm().mmget_not_zero().ok_or(ESRCH)?;
    let _early = defect!(LockOrder).then(|| ctx.mappings().stable());
    let lock = MmapReadLock::lock(&mm);
    let _stable = ctx.mappings().stable()?;
    Ok(lock.vmas(range).change_protection(change)?)
}

/// Switches features of `ctx`. No fault that still goes by the old ones is under way afterwards,
/// and none that the new ones resolve is left asleep.
///
/// Called and left with no lock held; takes the mmap lock for writing. May sleep. Replaces
/// `userfaultfd_set_mode` after its arguments were checked.
///
/// # Errors
///
/// `ESRCH`: the process is gone.
pub(crate) fn set_mode(ctx: &SlabRef<Context>, toggle: Toggle) -> Result {
    let mm = ctx.mm().mmget_not_zero().ok_or(ESRCH)?;
    {
        let mut guard = MmapWriteGuard::lock(&mm);
        // A fault holds the VMA's lock from its look at the features until it has resolved or
        // queued up.
        exclude_faults(&mut guard, ctx);
        ctx.toggle(&guard, toggle);
    }
    if toggle.ends_sleep() {
        ctx.sleepers.wake(Scope::All);
    }
    Ok(())
}
