// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_COPY` and `UFFDIO_ZEROPAGE`: pages put where a fault waits for them.
//!
//! One loop goes over the destination, page by page, and a [`Page`] says what to put there. The VMA
//! stays locked from page to page, and the lock travels as a value: a step takes it and gives it
//! back, or fails and has dropped it. What a step learns about page tables borrows from the lock,
//! so it cannot be used after a moment without.
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

use kernel::{
    mm::MmWithUser,
    page::PAGE_SIZE,
    prelude::*,
    uaccess::UserPtr,
    warn_on, //
};

use crate::{
    abstractions::{
        fill_lock::{
            AnonVma,
            DstVma, //
        },
        folio::{
            NewFolio,
            UptodateFolio, //
        },
        pgtable::{
            self,
            Pmd,
            PteGuard, //
        },
        task, //
    },
    pure::{
        abi::Modes,
        errno::Errno,
        fill::{
            Fill,
            FillMode,
            Report, //
        },
        range::Range, //
    },
};

/// What a range is filled with.
pub(super) enum Source {
    /// As many bytes of the current process's memory, from this address on.
    User(usize),
    /// Zeros.
    Zero,
}

/// Fills `range` of `mm`, the address space of the context (`mfill_atomic`).
///
/// `range` is page aligned and lies in user space, and so does a source of the same length. May
/// sleep; the caller holds no lock. Stops at the first error and reports how far it came:
///
/// - `ENOENT`: no registered VMA spans the whole range, now or after the lock was retaken;
/// - `ENOMEM`: no memory for a page, a page table or the VMA's `anon_vma`;
/// - `EINVAL`: write protection is wanted where it is not registered, or the memory is of a kind
///   that cannot be filled;
/// - `EEXIST`: something is mapped already;
/// - `EFAULT`: the source cannot be read, or a mapped file ends before the page;
/// - `EAGAIN`: the VMA changed while its lock was dropped, its page table was taken away, or too
///   many others read it;
/// - `EINTR`: the caller was killed.
pub(super) fn fill(mm: &MmWithUser, source: Source, range: Range, mode: FillMode) -> Report {
    let dst = Destination { mm, range, mode };
    match source {
        Source::User(start) => dst.fill(&CopiedPage(UserPtr::from_addr(start))),
        Source::Zero => dst.fill(&ZeroPage),
    }
}

/// Where a fill goes.
struct Destination<'mm> {
    mm: &'mm MmWithUser,
    range: Range,
    mode: FillMode,
}

/// What a fill puts into each page.
trait Page {
    /// Fills the page `done` bytes into the destination, whose VMA is locked, and returns the lock,
    /// which may be another one on the same range (`mfill_atomic_pte`).
    fn fill<'mm>(
        &self,
        dst: &Destination<'mm>,
        vma: AnonVma<'mm>,
        address: usize,
        done: usize,
    ) -> Result<AnonVma<'mm>>;
}

impl<'mm> Destination<'mm> {
    /// Fills page after page.
    fn fill(&self, page: &impl Page) -> Report {
        let mut progress = Fill::new(self.range);
        let stop = self.fill_pages(page, &mut progress).err();
        progress.finish(stop.and_then(|error| Errno::from_negative(error.to_errno())))
    }

    fn fill_pages(&self, page: &impl Page, progress: &mut Fill) -> Result {
        let mut vma = self.lock()?;
        while let Some(rest) = progress.rest() {
            vma = page.fill(self, vma, rest.start(), progress.done())?;
            task::cond_resched();
            progress.advance(PAGE_SIZE);
            if task::fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        Ok(())
    }

    /// Locks the VMA and checks it (`mfill_get_vma`). The whole range counts, also when a part is
    /// filled already.
    fn lock(&self) -> Result<AnonVma<'mm>> {
        let vma = DstVma::lock(self.mm, &self.range)?;
        if self.mode.write_protect && !vma.view().modes().intersects(Modes::WP) {
            return Err(EINVAL);
        }
        if vma.is_anonymous() && vma.is_shared() {
            // Shared memory without a file is a shmem file that nobody sees.
            kernel::do_once_lite! { warn_on!(true); }
        }
        vma.into_anonymous().ok_or(EINVAL)
    }

    /// Maps `folio` at the address of `pmd` (`mfill_atomic_install_pte`).
    ///
    /// An entry that was filled meanwhile wins. A folio that is not mapped is freed after the page
    /// table was unlocked.
    fn map(&self, pmd: Pmd<'_>, folio: UptodateFolio) -> Result {
        let pte = lock_entry(pmd)?.empty_or_marker().ok_or(EEXIST)?;
        pte.install_anon(folio, self.mode.write_protect);
        Ok(())
    }
}

/// Locks the entry below `pmd`.
///
/// `EAGAIN`: its table is gone. `EFAULT`: the mapped file ends before the page.
fn lock_entry(pmd: Pmd<'_>) -> Result<PteGuard<'_>> {
    let pte = pmd.lock().ok_or(EAGAIN)?;
    if pte.is_beyond_file() {
        return Err(EFAULT);
    }
    Ok(pte)
}

/// `UFFDIO_COPY`: pages of the current process, from this address on.
struct CopiedPage(UserPtr);

impl CopiedPage {
    /// Fills `folio` with the page at `src` while the destination is not locked, then maps it
    /// (`mfill_copy_folio_retry`).
    ///
    /// In between, other threads may unmap, replace or reregister the VMA, or fill the page. The
    /// first is `ENOENT`, the next two are `EAGAIN`, the last one is found at the entry.
    fn fill_unlocked<'mm>(
        dst: &Destination<'mm>,
        vma: AnonVma<'mm>,
        address: usize,
        folio: NewFolio,
        src: UserPtr,
    ) -> Result<AnonVma<'mm>> {
        let before = vma.snapshot();
        drop(vma);
        let folio = folio.copy_from_user(src)?;
        let vma = dst.lock()?;
        if before.differs(&vma) {
            return Err(EAGAIN);
        }
        dst.map(Pmd::establish(&vma, address)?, folio)?;
        Ok(vma)
    }
}

impl Page for CopiedPage {
    fn fill<'mm>(
        &self,
        dst: &Destination<'mm>,
        vma: AnonVma<'mm>,
        address: usize,
        done: usize,
    ) -> Result<AnonVma<'mm>> {
        let src = self.0.wrapping_byte_add(done);
        let pmd = Pmd::establish(&vma, address)?;
        match NewFolio::alloc(&vma, address)?.copy_from_user_nofault(src) {
            Ok(folio) => dst.map(pmd, folio)?,
            Err(folio) => return Self::fill_unlocked(dst, vma, address, folio, src),
        }
        Ok(vma)
    }
}

/// `UFFDIO_ZEROPAGE`: the shared page of zeros, or a private one where that is forbidden.
struct ZeroPage;

impl Page for ZeroPage {
    fn fill<'mm>(
        &self,
        dst: &Destination<'mm>,
        vma: AnonVma<'mm>,
        address: usize,
        _done: usize,
    ) -> Result<AnonVma<'mm>> {
        let pmd = Pmd::establish(&vma, address)?;
        if pgtable::forbids_zero_page(vma.mm()) {
            dst.map(pmd, NewFolio::alloc(&vma, address)?.zero(address))?;
            return Ok(vma);
        }
        let pte = lock_entry(pmd)?.empty().ok_or(EEXIST)?;
        pte.install_zero_page();
        Ok(vma)
    }
}
