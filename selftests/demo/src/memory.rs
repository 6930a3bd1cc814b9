// SPDX-License-Identifier: GPL-2.0-only

//! The memory that is filled on demand.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{mmap_anonymous, munmap, MapFlags, ProtFlags};
use nix::unistd::{sysconf, SysconfVar};

/// Private anonymous pages. Nothing has a reference into them: the kernel changes them.
pub struct Memory {
    base: NonNull<u8>,
    pages: usize,
    page_size: usize,
}

// SAFETY: the value only stands for addresses; what is behind them is read and written by volatile
// accesses of single bytes, and written by the main thread alone.
unsafe impl Sync for Memory {}

impl Memory {
    /// Map `pages` pages that are not there yet.
    pub fn new(pages: usize) -> Result<Self, Errno> {
        let page_size = sysconf(SysconfVar::PAGE_SIZE)?.ok_or(Errno::EINVAL)? as usize;
        let bytes = pages
            .checked_mul(page_size)
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: no address is asked for, so the mapping takes nobody's place.
        let base = unsafe { mmap_anonymous(None, bytes, access, MapFlags::MAP_PRIVATE) }?;
        Ok(Self {
            base: base.cast(),
            pages,
            page_size,
        })
    }

    /// First byte.
    pub fn start(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        (self.pages * self.page_size) as u64
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes in a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The address of a byte.
    pub fn address(&self, page: usize, offset: usize) -> u64 {
        self.pointer(page, offset).as_ptr().expose_provenance() as u64
    }

    /// The page an address lies in.
    pub fn page_of(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.start())?;
        (offset < self.len()).then_some(offset as usize / self.page_size)
    }

    /// Read a byte, which may sleep in a page fault.
    pub fn read(&self, page: usize, offset: usize) -> u8 {
        // SAFETY: `pointer` has checked that the byte is in the mapping.
        unsafe { self.pointer(page, offset).read_volatile() }
    }

    /// Write a byte, which may sleep in a page fault.
    pub fn write(&self, page: usize, offset: usize, byte: u8) {
        // SAFETY: `pointer` has checked that the byte is in the mapping, and only one thread writes.
        unsafe { self.pointer(page, offset).write_volatile(byte) }
    }

    fn pointer(&self, page: usize, offset: usize) -> NonNull<u8> {
        assert!(
            page < self.pages && offset < self.page_size,
            "outside the memory"
        );
        // SAFETY: the assertion keeps the result within the mapping.
        unsafe { self.base.add(page * self.page_size + offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, this long, and nobody keeps a pointer into it.
        let _ = unsafe { munmap(self.base.cast(), self.pages * self.page_size) };
    }
}
