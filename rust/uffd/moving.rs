// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_MOVE`: pages that go to another address of the same process, without a copy.
//!
//! One loop takes step after step under the locks of both VMAs. A step moves a huge page, a run of
//! pages within one pair of page tables, or one entry, and says what came of it as a [`Step`]. What
//! is in the way and passes is not waited for in a step that could not go on from there: the step
//! is [`Step::Retry`], and between two steps the loop lets others run and looks for a signal.
//!
//! # What is waited for
//!
//! | for | why it ends |
//! |---|---|
//! | the lock of a folio of one page | its holder does not wait for us: we hold a reference and no lock of a page table |
//! | the end of a migration | as for a fault on such a page |
//!
//! A large folio is split first. That fails as long as others have references, and so not only is
//! its lock never waited for with a reference held, which would be such a reference for somebody
//! else, but a failed split ends the move with `EBUSY`: the reference may be a pin that stays.

use kernel::{
    mm::MmWithUser,
    page::PAGE_SIZE,
    prelude::*, //
};

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
use crate::abstractions::moving::HugeSource;
#[cfg(CONFIG_SWAP)]
use crate::abstractions::moving::Relocation;
use crate::{
    abstractions::{
        folio::{
            Folio,
            LockedFolio, //
        },
        mappings::Mappings,
        move_lock::{
            Place,
            VmaPair, //
        },
        moving::{
            Claim,
            PmdPair,
            SecondaryMmus,
            Source,
            Tables,
            TABLE_SIZE, //
        },
        task,
        vma::ContextPtr, //
    },
    pure::{
        errno::Errno,
        fault::Entry,
        fill::{
            Report,
            Stop, //
        },
        moving::{
            Move,
            Step, //
        },
        range::Range, //
    },
};

/// Moves the pages of `src` to `dst`, a range of the same size that is registered with `asker`, all
/// of it in `mm` (`move_pages`).
///
/// Both ranges are page aligned and lie in user space. May sleep; the caller holds no lock. Stops
/// at the first error and reports how far it came:
///
/// - `ENOENT`: no VMA at either start, or a page of the source is missing and `allow_holes` is not
///   set;
/// - `ENOMEM`: no memory for a page table or the destination's `anon_vma`;
/// - `EINVAL`: pages may not move between these VMAs (`pure::moving::may_move`);
/// - `EEXIST`: something is in the destination already;
/// - `EBUSY`: a page belongs to another process as well, is pinned, or is part of a large folio
///   that cannot be split;
/// - `EFAULT`: the source holds what is no page: a marker, poison, memory of a device;
/// - `EAGAIN`: too many others read the VMAs, or `mappings` are changing;
/// - `EINTR`: the caller was killed.
pub(super) fn move_pages(
    mm: &MmWithUser,
    mappings: &Mappings,
    asker: ContextPtr,
    src: Range,
    dst: Range,
    allow_holes: bool,
) -> Report {
    let mut progress = Move::new(&src, dst);
    let stop = move_steps(mm, mappings, asker, &src, &dst, allow_holes, &mut progress).err();
    progress.finish(stop)
}

fn move_steps(
    mm: &MmWithUser,
    mappings: &Mappings,
    asker: ContextPtr,
    src: &Range,
    dst: &Range,
    allow_holes: bool,
    progress: &mut Move,
) -> Result<(), Stop> {
    let vmas = VmaPair::lock(mm, dst.start(), src.start())?;
    let _stable = mappings.stable()?;
    let vmas = vmas.check(src, dst, asker)?;
    let mover = Mover { allow_holes };
    while let Some(part) = progress.rest() {
        let step = match vmas.place(part) {
            Ok(place) => mover.step(place),
            Err(error) => stop(error),
        };
        task::cond_resched();
        progress.after(step, task::fatal_signal_pending())?;
    }
    Ok(())
}

/// The step that ends with `error`, or is to be taken again.
fn stop(error: Error) -> Step {
    if error == EAGAIN {
        Step::Retry
    } else {
        Step::Stop(error.into())
    }
}

/// What is the same for all steps of a move.
#[derive(Clone, Copy)]
struct Mover {
    allow_holes: bool,
}

/// What an attempt on mapped page tables came to.
enum Attempt {
    /// The step is over.
    Done(Step),
    /// The lock of a folio has to be waited for.
    Contended(Folio),
    /// A folio has to be split.
    Large(LockedFolio),
    /// A migration has to be waited for.
    Migrating,
}

impl Mover {
    /// Takes one step. The order in which it looks is that of the errors.
    fn step(self, place: Place<'_>) -> Step {
        let pmds = match PmdPair::establish(place) {
            Ok(Some(pmds)) => pmds,
            Ok(None) => return self.without_table(&place),
            Err(error) => return stop(error),
        };
        if pmds.dst_is_huge() {
            return Step::Stop(Errno::EEXIST);
        }
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        let pmds = match pmds.lock_huge() {
            Ok(huge) => return Self::huge(&place, huge),
            Err(pmds) => pmds,
        };
        match pmds.tables() {
            Ok(Some(tables)) => self.entries(&place, tables),
            Ok(None) => self.without_table(&place),
            Err(error) => stop(error),
        }
    }

    /// The source has no page table, so all there is to do is to look at the destination. That
    /// takes no table on either side.
    fn without_table(self, place: &Place<'_>) -> Step {
        if !self.allow_holes {
            return Step::Stop(Errno::ENOENT);
        }
        match place.dst_entry() {
            Entry::None => Step::Hole(PAGE_SIZE),
            _ => Step::Stop(Errno::EEXIST),
        }
    }

    /// Moves a huge page, or splits the PMD that maps it if not all of it is to move.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    fn huge(place: &Place<'_>, huge: HugeSource<'_>) -> Step {
        if place.part().is_whole(TABLE_SIZE) && huge.dst_is_none() {
            return match huge.relocate() {
                Ok(()) => Step::Moved(TABLE_SIZE),
                Err(error) => stop(error),
            };
        }
        if huge.is_shared() {
            return Step::Stop(Errno::EBUSY);
        }
        huge.split();
        Step::Retry
    }

    /// Moves entries of a page table (`move_pages_ptes`).
    fn entries(self, place: &Place<'_>, mut tables: Tables<'_>) -> Step {
        let _excluded = SecondaryMmus::exclude(place, place.part().within_tables(TABLE_SIZE));
        let mut held = None;
        loop {
            match self.attempt(&mut tables, held) {
                Attempt::Done(step) => return step,
                // Only an attempt without a folio ends here.
                Attempt::Contended(folio) => held = Some(folio.lock(&mut tables)),
                Attempt::Large(folio) => {
                    return match folio.split(&mut tables) {
                        Ok(()) => Step::Retry,
                        Err(error) => stop(error),
                    }
                }
                Attempt::Migrating => {
                    tables.wait_for_migration();
                    return Step::Retry;
                }
            }
        }
    }

    /// Does what can be done without sleeping. All that it looks at and changes it does under the
    /// locks of both page tables.
    fn attempt(self, tables: &mut Tables<'_>, held: Option<LockedFolio>) -> Attempt {
        let Some(mut pair) = tables.map() else {
            return Attempt::Done(Step::Retry);
        };
        let Some(locked) = pair.lock() else {
            return Attempt::Done(Step::Retry);
        };
        let Some(vacant) = locked.vacant() else {
            return Attempt::Done(Step::Stop(Errno::EEXIST));
        };
        Attempt::Done(match vacant.source() {
            Source::Hole if self.allow_holes => Step::Hole(PAGE_SIZE),
            Source::Hole => Step::Stop(Errno::ENOENT),
            Source::ZeroPage(zero) => {
                zero.relocate();
                Step::Moved(PAGE_SIZE)
            }
            Source::Present(page) => match page.claim(held) {
                Claim::Ready(batch) => match batch.relocate() {
                    0 => Step::Stop(Errno::EBUSY),
                    bytes => Step::Moved(bytes),
                },
                Claim::Contended(folio) => return Attempt::Contended(folio),
                Claim::Large(folio) => return Attempt::Large(folio),
                Claim::Retry => Step::Retry,
                Claim::Busy => Step::Stop(Errno::EBUSY),
            },
            #[cfg(CONFIG_SWAP)]
            Source::Swap(entry) => match entry.relocate(held) {
                Relocation::Moved => Step::Moved(PAGE_SIZE),
                Relocation::Contended(folio) => return Attempt::Contended(folio),
                Relocation::Retry => Step::Retry,
                Relocation::Busy => Step::Stop(Errno::EBUSY),
            },
            Source::Migrating => return Attempt::Migrating,
            Source::Other => Step::Stop(Errno::EFAULT),
        })
    }
}
