// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of memory that can be registered, for tests that go through several of them.

use super::env::{fdinfo, wait_queued};
use super::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use super::need::{offers, Need};
use super::protect::expect_message;
use super::task::Faulter;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use uffd::abi::{UFFD_FEATURE_MISSING_HUGETLBFS, UFFD_PAGEFAULT_FLAG_WRITE};
use uffd::Uffd;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private and anonymous.
    Anon,
    /// A file in memory, mapped private.
    PrivateFile,
    /// Shared and anonymous.
    SharedAnon,
    /// A file without a name, mapped shared.
    Memfd,
    /// A file of a tmpfs, mapped shared.
    Tmpfs,
    /// Huge pages of hugetlbfs, private and anonymous.
    HugePrivate,
    /// A file of huge pages, mapped private.
    HugePrivateFile,
    /// Huge pages, shared and anonymous.
    HugeSharedAnon,
    /// A file of huge pages, mapped shared.
    HugeMemfd,
}

impl Kind {
    /// All kinds of shared memory in pages of the usual size.
    pub const SHMEM: [Kind; 3] = [Kind::SharedAnon, Kind::Memfd, Kind::Tmpfs];
    /// All kinds of huge pages of hugetlbfs.
    pub const HUGE: [Kind; 4] = [
        Kind::HugePrivate,
        Kind::HugePrivateFile,
        Kind::HugeSharedAnon,
        Kind::HugeMemfd,
    ];

    /// Those of the kinds that the kernel has and offers faults for. Huge pages are there to map some.
    #[track_caller]
    pub fn offered(kinds: &[Kind]) -> Vec<Kind> {
        const SOME: u64 = 5;
        let known = Path::new("/sys/kernel/mm/hugepages").exists();
        let huge = known && offers(UFFD_FEATURE_MISSING_HUGETLBFS);
        if huge && kinds.iter().any(|kind| kind.is_huge()) {
            assert_eq!(Need::Hugetlb(SOME).missing(), None);
        }
        let kinds = kinds.iter().copied();
        kinds.filter(|kind| huge || !kind.is_huge()).collect()
    }

    /// Whether the memory consists of huge pages.
    pub fn is_huge(self) -> bool {
        matches!(
            self,
            Kind::HugePrivate | Kind::HugePrivateFile | Kind::HugeSharedAnon | Kind::HugeMemfd
        )
    }

    /// Whether what is written to the memory is seen by others.
    pub fn is_shared(self) -> bool {
        !matches!(
            self,
            Kind::Anon | Kind::PrivateFile | Kind::HugePrivate | Kind::HugePrivateFile
        )
    }

    /// Bytes of a page.
    pub fn unit(self) -> u64 {
        if self.is_huge() {
            HUGE_PAGE
        } else {
            PAGE
        }
    }

    /// Maps so many pages, of which none is there.
    #[track_caller]
    pub fn map(self, units: u64) -> Memory {
        let len = units * self.unit();
        let pages = len / PAGE;
        let anonymous = |flags: i32| {
            let flags = flags | libc::MAP_ANONYMOUS;
            Mapping::new(len, RW, flags, None, 0).expect("mmap")
        };
        let private = |file: &OwnedFd| {
            let file = Some(file.as_fd());
            Mapping::new(len, RW, libc::MAP_PRIVATE, file, 0).expect("mmap")
        };
        let shared = |file: OwnedFd| {
            let [target, twin] = [(); 2].map(|()| Mapping::file(file.as_fd(), pages));
            (target, Some(twin), Some(file))
        };
        let huge_file = || memfd_with(c"uffd-suite", libc::MFD_HUGETLB | libc::MFD_HUGE_2MB, len);
        let (target, twin, file) = match self {
            Kind::Anon => (Mapping::anon(units), None, None),
            Kind::PrivateFile => {
                let file = memfd(units);
                (private(&file), None, Some(file))
            }
            Kind::SharedAnon => {
                let target = Mapping::shared(units);
                let twin = target.again();
                (target, Some(twin), None)
            }
            Kind::Memfd => shared(memfd(units)),
            Kind::Tmpfs => {
                let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
                let file = open(&std::env::temp_dir(), flags, Mode::S_IRWXU).expect("O_TMPFILE");
                nix::unistd::ftruncate(&file, len as i64).expect("ftruncate");
                shared(file)
            }
            Kind::HugePrivate => (anonymous(libc::MAP_PRIVATE | libc::MAP_HUGETLB), None, None),
            Kind::HugePrivateFile => {
                let file = huge_file();
                (private(&file), None, Some(file))
            }
            Kind::HugeSharedAnon => (anonymous(libc::MAP_SHARED | libc::MAP_HUGETLB), None, None),
            Kind::HugeMemfd => shared(huge_file()),
        };
        Memory {
            kind: self,
            target: Arc::new(target),
            twin,
            file,
        }
    }
}

/// Memory of some kind.
#[derive(Debug)]
pub struct Memory {
    /// Of this kind.
    pub kind: Kind,
    /// The mapping that tests register.
    pub target: Arc<Mapping>,
    /// The same memory mapped once more. None where that cannot be.
    pub twin: Option<Mapping>,
    /// The file, if it has a descriptor.
    pub file: Option<OwnedFd>,
}

impl Memory {
    /// Bytes of a page.
    pub fn unit(&self) -> u64 {
        self.kind.unit()
    }

    /// Address of a page.
    pub fn at(&self, index: u64) -> u64 {
        self.target.page(index * self.unit() / PAGE)
    }

    /// Registers all of it.
    #[track_caller]
    pub fn register(&self, uffd: &Uffd, mode: u64) {
        uffd.register(self.start(), self.len(), mode)
            .expect("UFFDIO_REGISTER");
    }

    /// A thread that sleeps in an access to a byte, a read or a write of this value, the message of
    /// which has been read: it has these flags, besides that of a write.
    #[track_caller]
    pub fn faulter(&self, uffd: &Uffd, offset: u64, write: Option<u8>, flags: u64) -> Faulter<u8> {
        let queued = fdinfo(uffd).total;
        let (faulter, write) = match write {
            None => (Faulter::read(&self.target, offset), 0),
            Some(value) => {
                let writer = Faulter::write(&self.target, offset, value);
                (writer, UFFD_PAGEFAULT_FLAG_WRITE)
            }
        };
        wait_queued(uffd, queued + 1);
        expect_message(uffd, (self.start() + offset, self.unit()), flags | write);
        faulter
    }

    /// The second mapping.
    #[track_caller]
    pub fn twin(&self) -> &Mapping {
        self.twin.as_ref().expect("mapped twice")
    }

    /// The file.
    #[track_caller]
    pub fn file(&self) -> &OwnedFd {
        self.file.as_ref().expect("a file")
    }
}

impl Deref for Memory {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.target
    }
}

/// Memory to copy from, so many bytes of pages that begin and end with a value of their own:
/// the given one, and one more for each page of the usual size.
pub fn stamped(len: u64, value: u8) -> Mapping {
    let source = Mapping::anon(len / PAGE);
    stamp(&source, 0, len, value);
    source
}

/// Puts such values to a part.
pub fn stamp(memory: &Mapping, offset: u64, len: u64, value: u8) {
    for page in 0..len / PAGE {
        let (at, value) = (offset + page * PAGE, value.wrapping_add(page as u8));
        memory.write(at, value);
        memory.write(at + PAGE - 1, value);
    }
}

/// Fails unless a part holds such values, and zeroes between them.
#[track_caller]
pub fn expect_stamped(memory: &Mapping, offset: u64, len: u64, value: u8) {
    for page in 0..len / PAGE {
        let (at, value) = (offset + page * PAGE, value.wrapping_add(page as u8));
        let found = [0, 1, PAGE / 2, PAGE - 1].map(|inside| memory.read(at + inside));
        assert_eq!(found, [value, 0, 0, value], "page {page}");
    }
}
