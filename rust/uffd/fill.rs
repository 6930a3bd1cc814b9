// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_COPY`, `ZEROPAGE`, `CONTINUE` and `POISON`: something put where a fault waits for it.
//!
//! One loop goes over the destination, page by page. What a page gets is a [`Content`], how it gets
//! it is the business of the [`Memory`] there: private or shared pages ([`pages`]), or huge ones
//! ([`huge`]). Which it is, is found out once.
//!
//! The VMA stays locked from page to page, and the lock is a value. A step borrows it, and what the
//! step learns about page tables borrows from it, so it cannot be used after a moment without. A
//! step that has to drop the lock takes it, and gives one back or fails.
//!
//! # Why the copy must not fault under the lock
//!
//! The source is memory of the current process, and reading it may fault. The fault takes a lock of
//! the current process's address space: the mmap lock, or a VMA's. That is the second lock of its
//! kind, because the destination is locked already, and reading twice is not harmless: a writer
//! that waits in between lets nobody else in.
//!
//! - Source and destination in one process: we hold the lock for reading, another thread's mmap()
//!   waits for us, and our fault waits behind mmap().
//! - Two processes that fill each other: each has locked the other for reading, and its fault waits
//!   for its own lock, behind a writer that waits for the other one's fill.
//!
//! And the source may itself be registered and missing, so that the fault would sleep until user
//! space resolves it, which may need the very lock that is held. So faults are off during a copy
//! under the lock. If that fails, the lock is dropped, the copy is done with faults on, the lock is
//! taken anew, and everything known about the destination is found out again.

#[cfg(CONFIG_HUGETLB_PAGE)]
mod huge;
mod pages;

use kernel::{
    mm::MmWithUser,
    prelude::*,
    sync::barrier::{
        smp_mb,
        Write, //
    },
    uaccess::UserPtr, //
};

use super::context::Context;
use crate::{
    abstractions::{
        fill_lock::DstVma,
        mappings::HasMappings,
        memory::Kind,
        task,
        trace, //
    },
    pure::{
        abi::Modes,
        fill::{
            Fill,
            FillMode,
            Report,
            Stop, //
        },
        range::Range, //
    },
};

/// What a range is filled with.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// As many bytes of the current process's memory, from this address on.
    Copied(UserPtr),
    /// Zeros.
    Zero,
    /// The pages that the mapped file has there already.
    Cached,
    /// Nothing: every access shall fail as on broken memory.
    Poison,
}

/// Fills `range` of `mm`, the address space of `context`, whose mappings must not be changing
/// (`mfill_atomic`).
///
/// `range` is page aligned and lies in user space, and so does a source of the same length. May
/// sleep; the caller holds no lock. Stops at the first error and reports how far it came:
///
/// - `ENOENT`: no registered VMA spans the whole range, now or after the lock was retaken;
/// - `ENOMEM`: no memory for a page, a page table or the VMA's `anon_vma`, or no room in the file;
/// - `EINVAL`: write protection is wanted where it is not registered, or the memory is of a kind
///   that cannot be filled with this;
/// - `EEXIST`: something is mapped already, or the file has the page that was to be added;
/// - `EFAULT`: the source cannot be read, a mapped file ends before the page, or it does not have
///   the page that was to be mapped;
/// - `EIO`: the page of the file is on broken memory;
/// - `EAGAIN`: mappings are changing, the VMA changed while its lock was dropped, its page table was
///   taken away, or too many others read it;
/// - `EINTR`: the caller was killed.
pub(super) fn fill(
    context: &Context,
    mm: &MmWithUser,
    content: Content,
    range: Range,
    mode: FillMode,
) -> Report {
    if matches!(content, Content::Cached) {
        // "C" in Documentation/memory-ordering.md: what the caller wrote to the file is seen by
        // whoever reaches it through the entries that are set below.
        smp_mb(Write);
    }
    let dst = Destination {
        context,
        mm,
        range,
        mode,
    };
    let mut progress = Fill::new(range);
    let stop = dst.fill(content, &mut progress).err();
    progress.finish(stop)
}

/// Where a fill goes.
struct Destination<'mm> {
    context: &'mm Context,
    mm: &'mm MmWithUser,
    range: Range,
    mode: FillMode,
}

/// A kind of memory. A value is a VMA of that kind, locked for a fill.
trait Memory<'mm>: Sized {
    /// Bytes that one step fills.
    fn page_size(&self) -> usize;

    /// Whether this memory can be filled with `content` at all.
    ///
    /// # Errors
    ///
    /// `EINVAL`.
    fn admit(&self, dst: &Destination<'mm>, content: Content) -> Result;

    /// New memory for a page.
    type Folio;

    /// Fills the page at `address` (`mfill_atomic_pte`). A source is that of this page; if it cannot
    /// be read under the lock, the answer is the memory for the page and the source.
    fn fill(
        &self,
        dst: &Destination<'mm>,
        address: usize,
        content: Content,
    ) -> Result<Option<Unread<Self::Folio>>>;

    /// Finishes that without the lock, and returns the lock, which may be another one on the same
    /// range.
    fn fill_unlocked(
        self,
        dst: &Destination<'mm>,
        address: usize,
        unread: Unread<Self::Folio>,
    ) -> Result<Self, Stop>;
}

/// New memory for a page, and the source that is still to be read.
struct Unread<F> {
    folio: F,
    src: UserPtr,
}

impl<'mm> Destination<'mm> {
    /// Fills what it comes to, by the kind of memory.
    fn fill(&self, content: Content, progress: &mut Fill) -> Result<(), Stop> {
        match self.classify(self.lock()?)? {
            Kind::Private(vma) => self.fill_pages(vma, content, progress),
            Kind::Shared(vma) => self.fill_pages(vma, content, progress),
            #[cfg(CONFIG_HUGETLB_PAGE)]
            Kind::Hugetlb(vma) => self.fill_pages(vma, content, progress),
        }
    }

    /// Fills page after page.
    fn fill_pages(
        &self,
        mut memory: impl Memory<'mm>,
        content: Content,
        progress: &mut Fill,
    ) -> Result<(), Stop> {
        memory.admit(self, content)?;
        while let Some(rest) = progress.rest() {
            let content = match content {
                Content::Copied(start) => Content::Copied(start.wrapping_byte_add(progress.done())),
                other => other,
            };
            if let Some(unread) = memory.fill(self, rest.start(), content)? {
                trace::fill_lock_drop(self.context.observer(), rest.start());
                memory = memory.fill_unlocked(self, rest.start(), unread)?;
            }
            task::cond_resched();
            progress.advance(memory.page_size());
            if task::fatal_signal_pending() {
                return Err(EINTR.into());
            }
        }
        Ok(())
    }

    /// Locks the VMA. The whole range counts, also when a part is filled already.
    ///
    /// Fails as well if user space is yet to be told that mappings are changing; none begins to
    /// change while the VMA is locked.
    #[inline(always)]
    fn lock(&self) -> Result<DstVma<'mm>, Stop> {
        DstVma::lock(self.mm, self.context.mappings(), &self.range)
    }

    /// Locks and checks the VMA again, after a copy without the lock.
    #[cold]
    fn relock(&self) -> Result<Kind<'mm>, Stop> {
        Ok(self.classify(self.lock()?)?)
    }

    /// Checks `vma` and finds out its kind (`mfill_get_vma`, after the lock).
    #[inline(always)]
    fn classify(&self, vma: DstVma<'mm>) -> Result<Kind<'mm>> {
        self.check_protection(&vma)?;
        Kind::of(vma).ok_or(EINVAL)
    }

    /// Checks that what is to be write-protected is registered for that. `EINVAL`.
    fn check_protection(&self, vma: &DstVma<'mm>) -> Result {
        if self.mode.write_protect && !vma.view().modes().intersects(Modes::WP) {
            return Err(EINVAL);
        }
        Ok(())
    }
}
