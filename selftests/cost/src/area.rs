// SPDX-License-Identifier: GPL-2.0-only

//! Memory to take faults in.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{madvise, mmap_anonymous, mprotect, munmap, MapFlags, MmapAdvise, ProtFlags};

use crate::{call, Result};

/// Size of a page; the figures are for x86-64.
pub const PAGE: u64 = 4096;

/// What memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous pages that never become huge.
    Anonymous,
    /// Pages of a file in memory (shmem).
    Shared,
    /// Private huge pages of 2 MiB (hugetlb).
    Huge,
}

impl Kind {
    /// Bytes of a page.
    pub fn page(self) -> u64 {
        match self {
            Kind::Anonymous | Kind::Shared => PAGE,
            Kind::Huge => 2 << 20,
        }
    }

    fn flags(self) -> MapFlags {
        match self {
            Kind::Anonymous => MapFlags::MAP_PRIVATE,
            Kind::Shared => MapFlags::MAP_SHARED,
            Kind::Huge => MapFlags::MAP_PRIVATE | MapFlags::MAP_HUGETLB,
        }
    }
}

/// Pages that nothing has a reference into: the kernel changes them.
pub struct Area {
    base: NonNull<u8>,
    pages: u64,
    kind: Kind,
}

// SAFETY: the value only stands for addresses; what is behind them is read by volatile accesses of
// single bytes, and written by the kernel alone.
unsafe impl Sync for Area {}

impl Area {
    /// Maps `pages` private anonymous pages that are not there yet.
    pub fn new(pages: u64) -> Result<Self> {
        Self::of(Kind::Anonymous, pages)
    }

    /// The same of any kind.
    pub fn of(kind: Kind, pages: u64) -> Result<Self> {
        let len = (pages * kind.page()) as usize;
        let bytes = NonZeroUsize::new(len).ok_or("an area without pages")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: no address is asked for, so the mapping takes nobody's place.
        let base =
            unsafe { mmap_anonymous(None, bytes, access, kind.flags()) }.map_err(call("mmap"))?;
        // SAFETY: the range was mapped just now. A kernel without huge pages does not know the
        // advice: there is nothing to switch off then.
        let _ = unsafe { madvise(base, bytes.get(), MmapAdvise::MADV_NOHUGEPAGE) };
        let base = base.cast();
        Ok(Self { base, pages, kind })
    }

    /// The same with the pages there.
    pub fn filled(pages: u64) -> Result<Self> {
        let area = Self::new(pages)?;
        area.fill();
        Ok(area)
    }

    /// Writes to each page.
    pub fn fill(&self) {
        (0..self.pages).for_each(|page| self.write(page));
    }

    /// Reads from each page.
    pub fn visit(&self) {
        (0..self.pages).for_each(|page| {
            self.read(page);
        });
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.pages * self.kind.page()
    }

    /// The address of a page.
    pub fn page(&self, page: u64) -> u64 {
        self.pointer(page).as_ptr().expose_provenance() as u64
    }

    /// The page that starts at an address.
    pub fn page_of(&self, address: u64) -> Option<u64> {
        let page = address.checked_sub(self.page(0))? / self.kind.page();
        (page < self.pages).then_some(page)
    }

    /// Reads a byte of a page, which may sleep in a fault.
    pub fn read(&self, page: u64) -> u8 {
        // SAFETY: `pointer` has checked that the page is in the mapping.
        unsafe { self.pointer(page).read_volatile() }
    }

    /// Writes a byte of a page.
    pub fn write(&self, page: u64) {
        // SAFETY: `pointer` has checked that the page is in the mapping.
        unsafe { self.pointer(page).write_volatile(1) }
    }

    /// Fills a page with the first one of another area.
    pub fn copy_page(&self, page: u64, from: &Area) {
        let len = self.kind.page().min(from.kind.page()) as usize;
        // SAFETY: both pages are that long and in their mappings, and two areas have none in common.
        unsafe {
            from.pointer(0)
                .copy_to_nonoverlapping(self.pointer(page), len)
        }
    }

    /// Permits accesses to `pages` pages from `first` on.
    pub fn protect(&self, first: u64, pages: u64, access: ProtFlags) -> Result<()> {
        assert!(first + pages <= self.pages, "{pages} pages from {first}");
        let len = (pages * self.kind.page()) as usize;
        // SAFETY: the range is in the mapping, and nothing has a reference into it.
        unsafe { mprotect(self.pointer(first).cast(), len, access) }.map_err(call("mprotect"))
    }

    /// Makes the pages from `first` on missing again. A file keeps them.
    pub fn discard(&self, first: u64) -> Result<()> {
        self.advise(first, MmapAdvise::MADV_DONTNEED)
    }

    /// Takes all pages out of the file, too.
    pub fn remove(&self) -> Result<()> {
        self.advise(0, MmapAdvise::MADV_REMOVE)
    }

    fn advise(&self, first: u64, advice: MmapAdvise) -> Result<()> {
        let bytes = ((self.pages - first) * self.kind.page()) as usize;
        // SAFETY: the range ends where the mapping does, and nobody counts on what it holds.
        unsafe { madvise(self.pointer(first).cast(), bytes, advice) }.map_err(call("madvise"))
    }

    fn pointer(&self, page: u64) -> NonNull<u8> {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        // SAFETY: the assertion keeps the result within the mapping.
        unsafe { self.base.add((page * self.kind.page()) as usize) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, this long, and nobody keeps a pointer into it.
        let _ = unsafe { munmap(self.base.cast(), self.len() as usize) };
    }
}
