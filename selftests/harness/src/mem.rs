// SPDX-License-Identifier: GPL-2.0-only

//! Memory to take faults in.

use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Size of a page; all this is for x86-64.
pub const PAGE: u64 = 4096;
/// Size of a huge page of hugetlbfs.
pub const HUGE_PAGE: u64 = 2 << 20;

/// A mapping that goes away with the value. Nothing but the accessors below may touch it.
#[derive(Debug)]
pub struct Mapping {
    start: u64,
    len: u64,
}

impl Mapping {
    /// mmap(2) with everything given, at an address of the kernel's choice.
    pub fn new(
        len: u64,
        prot: i32,
        flags: i32,
        file: Option<BorrowedFd>,
        offset: u64,
    ) -> Result<Mapping, Errno> {
        let fd = file.map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: without MAP_FIXED, which callers have no address for, no existing mapping changes.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len as usize,
                prot,
                flags,
                fd,
                offset as i64,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Mapping {
            start: start.expose_provenance() as u64,
            len,
        })
    }

    /// Private anonymous memory, readable and writable, without huge pages.
    #[track_caller]
    pub fn anon(pages: u64) -> Mapping {
        let mapping = Self::new(
            pages * PAGE,
            RW,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            None,
            0,
        )
        .expect("mmap");
        // A kernel without huge pages does not know the advice: nothing to switch off then.
        let _ = mapping.advise(0, mapping.len, libc::MADV_NOHUGEPAGE);
        mapping
    }

    /// The same between pages that cannot be accessed: it is one mapping, whatever is mapped
    /// elsewhere.
    #[track_caller]
    pub fn lone(pages: u64) -> Mapping {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let all = Self::new((pages + 2) * PAGE, libc::PROT_NONE, flags, None, 0).expect("mmap");
        all.protect(PAGE, pages * PAGE, RW).expect("mprotect");
        all.cut(PAGE, pages * PAGE)
    }

    /// Private anonymous memory of so many huge pages, at the address of one, that wants them.
    /// As with [`lone`](Self::lone), it is one mapping.
    #[track_caller]
    pub fn aligned(huge_pages: u64) -> Mapping {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let len = huge_pages * HUGE_PAGE;
        let all = Self::new(len + 2 * HUGE_PAGE, libc::PROT_NONE, flags, None, 0).expect("mmap");
        let offset = (all.start + PAGE).next_multiple_of(HUGE_PAGE) - all.start;
        all.protect(offset, len, RW).expect("mprotect");
        let mapping = all.cut(offset, len);
        // A kernel without huge pages does not know the advice.
        let _ = mapping.advise(0, len, libc::MADV_HUGEPAGE);
        mapping
    }

    /// Shared anonymous memory (shmem), readable and writable.
    #[track_caller]
    pub fn shared(pages: u64) -> Mapping {
        Self::new(
            pages * PAGE,
            RW,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            None,
            0,
        )
        .expect("mmap")
    }

    /// A file mapped shared, readable and writable, from its start.
    #[track_caller]
    pub fn file(file: BorrowedFd, pages: u64) -> Mapping {
        Self::new(pages * PAGE, RW, libc::MAP_SHARED, Some(file), 0).expect("mmap")
    }

    /// A segment of System V shared memory of this many bytes, mapped twice; it goes away with
    /// its mappings. Flags as for shmget(2).
    pub fn sysv(len: u64, flags: i32) -> Result<[Mapping; 2], Errno> {
        // SAFETY: integers only.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, len as usize, flags | 0o600) };
        let id = Errno::result(id)?;
        let [one, two] = [(); 2].map(|()| {
            // SAFETY: at an address of the kernel's choice, so that no existing mapping changes.
            let start = unsafe { libc::shmat(id, ptr::null(), 0) };
            let start = start.expose_provenance();
            match start {
                usize::MAX => Err(Errno::last()),
                _ => Ok(Mapping {
                    start: start as u64,
                    len,
                }),
            }
        });
        // SAFETY: no structure is read or written.
        unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
        Ok([one?, two?])
    }

    /// Shared memory mapped once more.
    #[track_caller]
    pub fn again(&self) -> Mapping {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let twin = Self::new(self.len, libc::PROT_NONE, flags, None, 0).expect("mmap");
        super::user::remap(self.start, 0, self.len, Some(twin.start)).expect("mremap");
        twin
    }

    /// Three pages of which the middle one cannot be accessed: a call that the kernel makes
    /// there fails as on unmapped memory, and nothing else can be mapped there meanwhile.
    #[track_caller]
    pub fn with_hole() -> Mapping {
        let mapping = Self::anon(3);
        mapping
            .protect(PAGE, PAGE, libc::PROT_NONE)
            .expect("mprotect");
        mapping
    }

    /// First byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Address of a page of the mapping.
    pub fn page(&self, index: u64) -> u64 {
        assert!(index * PAGE < self.len, "page {index} lies outside");
        self.start + index * PAGE
    }

    /// A part of the memory by itself; the rest stays as it is.
    pub fn cut(self, offset: u64, len: u64) -> Mapping {
        assert!(offset + len <= self.len, "offset {offset} lies outside");
        let start = self.start + offset;
        self.leak();
        Mapping { start, len }
    }

    /// Makes the value forget its memory, which then stays or is somebody else's to unmap.
    pub fn leak(self) {
        std::mem::forget(self);
    }

    /// Unmaps a part, given by its offset.
    #[track_caller]
    pub fn unmap(&self, offset: u64, len: u64) {
        self.try_unmap(offset, len).expect("munmap");
    }

    /// The same where it may fail.
    pub fn try_unmap(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let address = self.pointer(offset, len);
        // SAFETY: the range lies in this mapping, which no reference points into.
        Errno::result(unsafe { libc::munmap(address.cast(), len as usize) }).map(drop)
    }

    /// Puts fresh private memory in the place of a page.
    #[track_caller]
    pub fn map_over(&self, index: u64) {
        let address = self.pointer(index * PAGE, PAGE).cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page lies in this mapping, which no reference points into.
        let at = unsafe { libc::mmap(address, PAGE as usize, RW, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "mmap");
    }

    /// madvise(2) on a part, given by its offset.
    pub fn advise(&self, offset: u64, len: u64, advice: i32) -> Result<(), Errno> {
        let address = self.pointer(offset, len);
        // SAFETY: the range lies in this mapping, which no reference points into.
        Errno::result(unsafe { libc::madvise(address.cast(), len as usize, advice) }).map(drop)
    }

    /// mprotect(2) on a part, given by its offset.
    pub fn protect(&self, offset: u64, len: u64, prot: i32) -> Result<(), Errno> {
        let address = self.pointer(offset, len);
        // SAFETY: the range lies in this mapping, which no reference points into.
        Errno::result(unsafe { libc::mprotect(address.cast(), len as usize, prot) }).map(drop)
    }

    /// Reads a byte, which may fault.
    pub fn read(&self, offset: u64) -> u8 {
        // SAFETY: the address lies in this mapping; what tests do to it is their subject.
        unsafe { self.pointer(offset, 1).read_volatile() }
    }

    /// Writes a byte, which may fault.
    pub fn write(&self, offset: u64, value: u8) {
        // SAFETY: the address lies in this mapping, which no reference points into.
        unsafe { self.pointer(offset, 1).write_volatile(value) }
    }

    /// Writes a byte to each address of a part.
    pub fn fill(&self, offset: u64, len: u64, value: u8) {
        (offset..offset + len).for_each(|at| self.write(at, value));
    }

    /// Writes bytes from an offset on.
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) {
        bytes
            .iter()
            .zip(offset..)
            .for_each(|(&byte, at)| self.write(at, byte));
    }

    /// Reads bytes from an offset on.
    pub fn read_bytes(&self, offset: u64, len: u64) -> Vec<u8> {
        (offset..offset + len).map(|at| self.read(at)).collect()
    }

    fn pointer(&self, offset: u64, len: u64) -> *mut u8 {
        assert!(offset + len <= self.len, "offset {offset} lies outside");
        ptr::with_exposed_provenance_mut((self.start + offset) as usize)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let address: *mut libc::c_void = ptr::with_exposed_provenance_mut(self.start as usize);
        // SAFETY: the mapping is ours and no reference points into it. Unmapping memory with
        // holes is allowed, and nothing is to be done about a failure.
        unsafe { libc::munmap(address, self.len as usize) };
    }
}

/// Readable and writable.
pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A file in memory (shmem) of this many pages, all of them holes.
#[track_caller]
pub fn memfd(pages: u64) -> OwnedFd {
    memfd_with(c"uffd", 0, pages * PAGE)
}

/// A file in memory with flags for memfd_create(2) and a length in bytes.
#[track_caller]
pub fn memfd_with(name: &CStr, flags: u32, len: u64) -> OwnedFd {
    use nix::sys::memfd::{memfd_create, MFdFlags};
    let flags = MFdFlags::from_bits_retain(flags) | MFdFlags::MFD_CLOEXEC;
    let file = memfd_create(name, flags).expect("memfd_create");
    nix::unistd::ftruncate(&file, len as i64).expect("ftruncate");
    file
}
