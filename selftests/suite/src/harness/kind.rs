// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of memory that can be registered, for tests that go through several of them.

use super::env::{fdinfo, wait_queued};
use super::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use super::need::{offers, Need};
use super::protect::expect_message;
use super::scan::is_huge;
use super::skip;
use super::task::Faulter;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use uffd::abi::{
    UFFD_FEATURE_MISSING_HUGETLBFS, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFD_PAGEFAULT_FLAG_WRITE,
};
use uffd::Uffd;

/// What the first byte of each page of [`Kind::populated`] is.
pub const FILL: u8 = 0x5c;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private and anonymous, in single pages.
    Anon,
    /// The same in huge pages that are mapped as one.
    Thp,
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

    /// The kinds that this kernel has and can protect, one for each sort of page table; prints them.
    /// Huge pages are there for what tests do to them.
    #[track_caller]
    pub fn protectable() -> Vec<Kind> {
        // Four huge pages shared, and four private ones with the pages of their file.
        const SOME: u64 = 12;
        let mut all = vec![Kind::Anon];
        if Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            all.push(Kind::Thp);
        }
        if offers(UFFD_FEATURE_WP_HUGETLBFS_SHMEM) {
            all.extend([Kind::Memfd, Kind::PrivateFile]);
            if Path::new("/sys/kernel/mm/hugepages").exists() {
                if let Some(reason) = Need::Hugetlb(SOME).missing() {
                    skip(&reason);
                }
                all.extend([Kind::HugeMemfd, Kind::HugePrivateFile]);
            }
        }
        println!("kinds: {all:?}");
        all
    }

    /// Those of them that are files.
    #[track_caller]
    pub fn protectable_files() -> Vec<Kind> {
        let mut files = Kind::protectable();
        files.retain(|kind| !kind.is_anon());
        files
    }

    /// Whether it is private memory without a file, of pages that are not huge by themselves.
    pub fn is_anon(self) -> bool {
        matches!(self, Kind::Anon | Kind::Thp)
    }

    /// Whether the memory consists of huge pages of hugetlbfs.
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
            Kind::Anon | Kind::Thp | Kind::PrivateFile | Kind::HugePrivate | Kind::HugePrivateFile
        )
    }

    /// Bytes of what a message tells of and what is filled or resolved at once.
    pub fn grain(self) -> u64 {
        if self.is_huge() {
            HUGE_PAGE
        } else {
            PAGE
        }
    }

    /// Bytes of a page: of what is mapped by one entry of a page table.
    pub fn unit(self) -> u64 {
        match self {
            Kind::Thp => HUGE_PAGE,
            _ => self.grain(),
        }
    }

    /// The single pages of some pages, counted from the start of the mapping.
    pub fn pages(self, units: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let each = self.unit() / PAGE;
        let pages = units.into_iter().map(|unit| unit * each..(unit + 1) * each);
        pages.flatten().collect()
    }

    /// A mapping of so many pages, of which none is there, and its file if it has a descriptor.
    #[track_caller]
    pub fn alone(self, units: u64) -> (Mapping, Option<OwnedFd>) {
        let len = units * self.unit();
        let anonymous = |flags: i32| {
            let flags = flags | libc::MAP_ANONYMOUS;
            (Mapping::new(len, RW, flags, None, 0).expect("mmap"), None)
        };
        let of_file = |file: OwnedFd| {
            let flags = if self.is_shared() {
                libc::MAP_SHARED
            } else {
                libc::MAP_PRIVATE
            };
            let mapping = Mapping::new(len, RW, flags, Some(file.as_fd()), 0).expect("mmap");
            (mapping, Some(file))
        };
        match self {
            Kind::Anon => (Mapping::lone(units), None),
            Kind::Thp => (Mapping::aligned(units), None),
            Kind::SharedAnon => (Mapping::shared(units), None),
            Kind::PrivateFile | Kind::Memfd => of_file(memfd(units)),
            Kind::Tmpfs => {
                let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
                let file = open(&std::env::temp_dir(), flags, Mode::S_IRWXU).expect("O_TMPFILE");
                nix::unistd::ftruncate(&file, len as i64).expect("ftruncate");
                of_file(file)
            }
            Kind::HugePrivate => anonymous(libc::MAP_PRIVATE | libc::MAP_HUGETLB),
            Kind::HugeSharedAnon => anonymous(libc::MAP_SHARED | libc::MAP_HUGETLB),
            Kind::HugePrivateFile | Kind::HugeMemfd => {
                let flags = libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
                of_file(memfd_with(c"uffd-suite", flags, len))
            }
        }
    }

    /// Maps so many pages, of which none is there, and where that can be once more.
    #[track_caller]
    pub fn map(self, units: u64) -> Memory {
        let (target, file) = self.alone(units);
        let twin = match self {
            Kind::SharedAnon => Some(target.again()),
            Kind::Memfd | Kind::Tmpfs | Kind::HugeMemfd => {
                let file = file.as_ref().map(OwnedFd::as_fd).expect("a file");
                Some(Mapping::file(file, target.len() / PAGE))
            }
            _ => None,
        };
        Memory {
            kind: self,
            target: Arc::new(target),
            twin,
            file,
        }
    }

    /// A mapping of so many pages, all of them there, written, and starting with [`FILL`].
    #[track_caller]
    pub fn populated(self, units: u64) -> Mapping {
        let (mapping, _) = self.alone(units);
        self.populate(&mapping);
        mapping
    }

    /// Writes [`FILL`] to the first byte of each page.
    #[track_caller]
    pub fn populate(self, mapping: &Mapping) {
        for offset in (0..mapping.len()).step_by(self.unit() as usize) {
            mapping.write(offset, FILL);
            if self == Kind::Thp && !is_huge(mapping, offset) {
                skip("the kernel gave no huge page");
            }
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
        expect_message(
            uffd,
            (self.start() + offset, self.kind.grain()),
            flags | write,
        );
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
