// SPDX-License-Identifier: GPL-2.0-only

//! Registration: which VMAs belong to a context, and for what.
//!
//! Both ioctls hold the mmap lock for writing throughout. They look at every VMA of the range
//! before they change one, so what is refused leaves nothing behind; only a lack of memory can
//! end them half way, as in C.

use kernel::prelude::*;

use super::context::{
    offer,
    Context, //
};
use crate::{
    abstractions::{
        mmap::{
            MmapWriteGuard,
            PageRange,
            Registrant, //
        },
        slab::SlabRef,
        task::cond_resched,
        vma::{
            support,
            ContextPtr,
            VmaView, //
        },
    },
    pure::{
        abi::{
            Features,
            Ioctls,
            Modes, //
        },
        errno::Errno,
        range::Range,
        register::{
            check_start,
            check_unregister,
            part_to_unregister,
            Backing,
            Registration,
            VmaFacts, //
        }, //
    },
};

/// Looks at the VMAs that reach into `range`, in address order. What [`check_start`] and `check`
/// say first is the answer.
///
/// # Errors
///
/// `EINVAL`: there are no VMAs, or the range starts inside a huge page; then those of `check`.
fn scan(
    guard: &MmapWriteGuard<'_>,
    range: &Range,
    asker: ContextPtr,
    mut check: impl FnMut(VmaView<'_>, &VmaFacts) -> Result<(), Errno>,
) -> Result {
    // One loop for the first VMA and the others: an iterator that peeks would be moved about.
    let mut first = true;
    for vma in guard.vmas(range) {
        let facts = vma.facts(asker);
        if first {
            check_start(&facts, range)?;
            first = false;
        }
        cond_resched();
        check(*vma, &facts)?;
    }
    if first {
        Err(EINVAL)
    } else {
        Ok(())
    }
}

/// Registers `range` with `ctx` for `modes`; the answer is what will work on it.
///
/// Called and left with no lock held; takes the mmap lock for writing. May sleep. Replaces
/// `userfaultfd_register` after its arguments were checked, and `userfaultfd_register_range`.
///
/// # Errors
///
/// `ENOMEM`: the process is gone. Then those of [`scan`] with [`Registration::admit`]: `EINVAL`,
/// `EPERM`, `EBUSY`, with nothing changed. `ENOMEM`: no memory to split or merge a VMA, or too many
/// of them; the VMAs below that one are registered.
pub(crate) fn register(ctx: &SlabRef<Context>, range: Range, modes: Modes) -> Result<Ioctls> {
    let registration = Registration {
        range,
        modes,
        wp_async: ctx.features().contains(Features::WP_ASYNC),
        wp_marker: support().wp_marker,
    };
    let asker = ContextPtr::of(ctx);
    let mm = ctx.mm().mmget_not_zero().ok_or(ENOMEM)?;
    let mut guard = MmapWriteGuard::lock(&mm);

    let mut hugetlb = false;
    scan(&guard, &range, asker, |vma, facts| {
        hugetlb |= matches!(facts.backing, Backing::Hugetlb(_));
        registration.admit(facts, |modes| vma.file_accepts(modes))
    })?;

    let registrant = Registrant::new(asker, modes);
    let mut walk = guard.walk(PageRange::new(range)?);
    while let Some(vma) = walk.next() {
        cond_resched();
        if !registration.is_done(&vma.view().facts(asker)) {
            vma.register(&registrant)?;
        }
    }
    Ok(registration.answer(&offer(), hugetlb))
}

/// Takes what lies in `range` out of `ctx`, and wakes who sleeps there.
///
/// Called and left with no lock held; takes the mmap lock for writing. May sleep. Replaces
/// `userfaultfd_unregister` after its arguments were checked.
///
/// # Errors
///
/// `ENOMEM`: the process is gone. Then those of [`scan`] with [`check_unregister`]: `EINVAL`, with
/// nothing changed. `ENOMEM`: no memory to split or merge a VMA, or too many of them; the VMAs
/// below that one are unregistered.
pub(crate) fn unregister(ctx: &SlabRef<Context>, range: Range) -> Result {
    let wp_async = ctx.features().contains(Features::WP_ASYNC);
    let wp_marker = support().wp_marker;
    let asker = ContextPtr::of(ctx);
    let mm = ctx.mm().mmget_not_zero().ok_or(ENOMEM)?;
    let mut guard = MmapWriteGuard::lock(&mm);

    scan(&guard, &range, asker, |vma, facts| {
        check_unregister(facts, wp_async, wp_marker, |modes| vma.file_accepts(modes))
    })?;

    let mut walk = guard.walk(PageRange::new(range)?);
    while let Some(mut vma) = walk.next() {
        cond_resched();
        let Some(part) = part_to_unregister(&vma.view().facts(asker), &range) else {
            continue;
        };
        // A fault that found the VMA registered holds the VMA's lock until it has queued up. Once
        // those are waited for, a wake-up reaches every one, and nobody queues up behind it. (C
        // wakes without waiting: a fault that queues up between its wake-up and its write lock
        // sleeps until somebody wakes it by hand. And it wakes for missing pages only.)
        vma.exclude_faults();
        ctx.wake(part);
        vma.unregister()?;
    }
    Ok(())
}

/// Keeps page faults out of all VMAs of `ctx` until the mmap lock, of its address space, is dropped.
/// May sleep until those under way have let go.
pub(super) fn exclude_faults(guard: &mut MmapWriteGuard<'_>, ctx: &SlabRef<Context>) {
    let mut walk = guard.walk_all();
    while let Some(mut vma) = walk.next() {
        if vma.view().owner() == Some(ContextPtr::of(ctx)) {
            vma.exclude_faults();
        }
    }
}

/// Takes every VMA out of `ctx`, which is marked as released. Nothing to do if the process is gone:
/// its VMAs are, too.
///
/// Called and left with no lock held; takes the mmap lock for writing, which waits for faults that
/// met the context before. May sleep. Sleepers are the caller's to wake, afterwards. Replaces
/// `userfaultfd_release_all`.
pub(crate) fn release_all(ctx: &SlabRef<Context>) {
    let Some(mm) = ctx.mm().mmget_not_zero() else {
        return;
    };
    let mut guard = MmapWriteGuard::lock(&mm);
    let mut walk = guard.walk_all();
    while let Some(vma) = walk.next() {
        cond_resched();
        if vma.view().owner() == Some(ContextPtr::of(ctx)) {
            vma.release();
        }
    }
}
