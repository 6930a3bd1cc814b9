// SPDX-License-Identifier: GPL-2.0-only

//! Filling shared memory of every kind, and private mappings of files in memory.

use super::fill::{failed, partly};
use crate::harness::handler::Handler;
use crate::harness::kind::{expect_stamped, stamped, Kind, Memory};
use crate::harness::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::swap::{page_out_shared, SwapArea};
use crate::harness::task::Faulter;
use crate::harness::{env, expect_errno, registered, tests, uffd_with, Need};
use nix::fcntl::{fallocate, fcntl, open, FallocateFlags, FcntlArg, OFlag, SealFlag};
use nix::mount::{mount, umount, MsFlags};
use nix::sys::stat::{fstat, Mode};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

tests! {
    missing_fault_of_every_kind [Need::Feature(SHMEM)];
    copy_is_seen_by_the_other_mapping [Need::Feature(SHMEM)];
    copy_is_read_from_the_file [Need::Feature(SHMEM)];
    copy_of_many_pages_stops_at_a_cached_one [Need::Feature(SHMEM)];
    swapped_page_is_there [Need::Feature(SHMEM), Need::Root, Need::Swap];
    zeropage_is_a_page_of_the_file [Need::Feature(SHMEM)];
    page_of_the_file_is_not_missing [Need::Feature(SHMEM)];
    punched_hole_is_missing_again [Need::Feature(SHMEM)];
    last_page_of_a_file_may_be_cut [Need::Feature(SHMEM)];
    private_copy_leaves_the_file_alone [Need::Feature(SHMEM)];
    private_zeropage_leaves_the_file_alone [Need::Feature(SHMEM)];
    full_file_system_has_no_page [Need::Feature(SHMEM), Need::Root];
    segments_of_system_v_are_refused [Need::Path("/proc/sysvipc/shm"), Need::Hugetlb(1)];
    seal_against_new_writers_keeps_the_registration [Need::Feature(SHMEM)];
    cve_2018_18397_read_only_file [Need::Feature(SHMEM)];
    cve_2021_46988_source_that_faults [Need::Feature(SHMEM)];
    destination_filled_while_the_source_is_awaited [Need::Feature(SHMEM)];
    destination_truncated_while_the_source_is_awaited [Need::Feature(SHMEM)];
    destination_replaced_while_the_source_is_awaited [Need::Feature(SHMEM)];
    destination_unmapped_while_the_source_is_awaited [Need::Feature(SHMEM)];
}

const SHMEM: u64 = UFFD_FEATURE_MISSING_SHMEM;
pub(super) const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;

/// Pages that a file has.
pub(super) fn blocks(file: &OwnedFd) -> u64 {
    fstat(file).expect("fstat").st_blocks as u64 * 512 / PAGE
}

fn missing_fault_of_every_kind() {
    let source = stamped(PAGE, 7);
    for kind in Kind::SHMEM.into_iter().chain([Kind::PrivateFile]) {
        let (uffd, memory) = (uffd_with(0), kind.map(4));
        memory.register(&uffd, MISSING);
        for (page, at, write) in [(1, 0, None), (2, 5, Some(9))] {
            let faulter = memory.faulter(&uffd, page * PAGE + at, write, 0);
            let copied = uffd.copy(memory.at(page), source.start(), PAGE, 0);
            assert_eq!(copied, Ok(PAGE));
            assert_eq!(faulter.join(), write.unwrap_or(7), "{kind:?}");
        }
        assert_eq!(memory.read(2 * PAGE), 7, "{kind:?}");
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn copy_is_seen_by_the_other_mapping() {
    let source = stamped(3 * PAGE, 1);
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(4));
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(1), source.start(), 3 * PAGE, 0);
        assert_eq!(copied, Ok(3 * PAGE), "{kind:?}");
        expect_stamped(memory.twin(), PAGE, 3 * PAGE, 1);
        // It is one page in both: each side sees what the other one writes.
        memory.write(2 * PAGE + 9, 0x21);
        memory.twin().write(3 * PAGE + 9, 0x22);
        assert_eq!(memory.twin().read(2 * PAGE + 9), 0x21, "{kind:?}");
        assert_eq!(memory.read(3 * PAGE + 9), 0x22, "{kind:?}");
    }
}

fn copy_is_read_from_the_file() {
    let source = stamped(2 * PAGE, 1);
    for kind in [Kind::Memfd, Kind::Tmpfs] {
        let (uffd, memory) = (uffd_with(0), kind.map(4));
        memory.register(&uffd, MISSING);
        assert_eq!(blocks(memory.file()), 0);
        let copied = uffd.copy(memory.at(2), source.start(), 2 * PAGE, 0);
        assert_eq!(copied, Ok(2 * PAGE), "{kind:?}");
        assert_eq!(blocks(memory.file()), 2);
        let mut bytes = vec![0; 4 * PAGE as usize];
        assert_eq!(pread(memory.file(), &mut bytes, 0), Ok(bytes.len()));
        let mut want = vec![0; 2 * PAGE as usize];
        want.extend(source.read_bytes(0, 2 * PAGE));
        assert_eq!(bytes, want);
    }
}

fn copy_of_many_pages_stops_at_a_cached_one() {
    let source = stamped(6 * PAGE, 1);
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(6));
        memory.twin().write(3 * PAGE, 0xcc);
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(0), source.start(), 6 * PAGE, 0);
        assert_eq!(copied, Err(partly(3 * PAGE)), "{kind:?}");
        let rest = uffd.copy(memory.at(3), source.page(3), 3 * PAGE, 0);
        assert_eq!(rest, Err(failed(Errno::EEXIST)), "{kind:?}");
        let rest = uffd.zeropage(memory.at(3), 3 * PAGE, 0);
        assert_eq!(rest, Err(failed(Errno::EEXIST)), "{kind:?}");
        expect_stamped(&memory, 0, 3 * PAGE, 1);
        assert_eq!(memory.read(3 * PAGE), 0xcc);
        // Mapped now, it is still no missing page.
        let again = uffd.copy(memory.at(3), source.start(), PAGE, 0);
        assert_eq!(again, Err(failed(Errno::EEXIST)), "{kind:?}");
        let copied = uffd.copy(memory.at(4), source.start(), 2 * PAGE, 0);
        assert_eq!(copied, Ok(2 * PAGE), "{kind:?}");
    }
}

fn swapped_page_is_there() {
    let (_swap, source) = (SwapArea::new(), stamped(2 * PAGE, 9));
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let copied = uffd.copy(memory.at(0), source.start(), 2 * PAGE, 0);
        assert_eq!(copied, Ok(2 * PAGE), "{kind:?}");
        page_out_shared(&memory);
        for index in 0..2 {
            let copied = uffd.copy(memory.at(index), source.start(), PAGE, 0);
            assert_eq!(copied, Err(failed(Errno::EEXIST)), "{kind:?}");
            let zeroed = uffd.zeropage(memory.at(index), PAGE, 0);
            assert_eq!(zeroed, Err(failed(Errno::EEXIST)), "{kind:?}");
        }
        // It comes back without a message.
        expect_stamped(&memory, 0, 2 * PAGE, 9);
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn zeropage_is_a_page_of_the_file() {
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(3));
        memory.register(&uffd, MISSING);
        assert_eq!(uffd.zeropage(memory.at(0), 2 * PAGE, 0), Ok(2 * PAGE));
        if let Some(file) = &memory.file {
            assert_eq!(blocks(file), 2);
        }
        assert_eq!(memory.read_bytes(0, 2 * PAGE), vec![0; 2 * PAGE as usize]);
        memory.write(PAGE, 4);
        assert_eq!(memory.twin().read(PAGE), 4, "{kind:?}");
    }
}

fn page_of_the_file_is_not_missing() {
    // Neither in a shared mapping nor in a private one: it is mapped without a message.
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        pwrite(memory.file(), &[6], PAGE as i64).unwrap();
        memory.register(&uffd, MISSING);
        assert_eq!(memory.read(PAGE), 6);
        expect_errno(uffd.read(), Errno::EAGAIN);
    }
}

fn punched_hole_is_missing_again() {
    let (uffd, source) = (uffd_with(0), stamped(PAGE, 3));
    let memory = Kind::Memfd.map(2);
    memory.register(&uffd, MISSING);
    for round in 0..3 {
        let copied = uffd.copy(memory.at(1), source.start(), PAGE, 0);
        assert_eq!(copied, Ok(PAGE), "round {round}");
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(memory.file(), flags, PAGE as i64, PAGE as i64).unwrap();
        assert_eq!(blocks(memory.file()), 0);
    }
    let faulter = Faulter::read(&memory.target, PAGE);
    env::wait_queued(&uffd, 1);
    assert_eq!(uffd.zeropage(memory.at(1), PAGE, 0), Ok(PAGE));
    assert_eq!(faulter.join(), 0);
}

fn last_page_of_a_file_may_be_cut() {
    let (uffd, source) = (uffd_with(0), stamped(PAGE, 3));
    let file = memfd_with(c"cut", 0, PAGE + 10);
    let target = registered(Mapping::file(file.as_fd(), 3), &uffd);
    let copied = uffd.copy(target.page(1), source.start(), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    assert_eq!((target.read(PAGE), target.read(2 * PAGE - 1)), (3, 3));
    let copied = uffd.copy(target.page(2), source.start(), PAGE, 0);
    assert_eq!(copied, Err(failed(Errno::ENOMEM)));
    assert_eq!(blocks(&file), 1);
}

fn private_copy_leaves_the_file_alone() {
    let (uffd, source) = (uffd_with(0), stamped(2 * PAGE, 5));
    let memory = Kind::PrivateFile.map(2);
    // Page 1 is in the file, which does not keep a private page from taking its place.
    pwrite(memory.file(), &[8], PAGE as i64).unwrap();
    memory.register(&uffd, MISSING);
    let copied = uffd.copy(memory.at(0), source.start(), 2 * PAGE, 0);
    assert_eq!(copied, Ok(2 * PAGE));
    expect_stamped(&memory, 0, 2 * PAGE, 5);
    memory.write(1, 1);
    assert_eq!(blocks(memory.file()), 1);
    let mut bytes = [1; PAGE as usize + 2];
    assert_eq!(pread(memory.file(), &mut bytes, 0), Ok(bytes.len()));
    assert_eq!(bytes[..PAGE as usize], [0; PAGE as usize]);
    assert_eq!(bytes[PAGE as usize..], [8, 0]);
    // What is mapped is there, be it of the file or not.
    let copied = uffd.copy(memory.at(0), source.start(), PAGE, 0);
    assert_eq!(copied, Err(failed(Errno::EEXIST)));
}

fn private_zeropage_leaves_the_file_alone() {
    let (uffd, memory) = (uffd_with(0), Kind::PrivateFile.map(2));
    pwrite(memory.file(), &[8], PAGE as i64).unwrap();
    memory.register(&uffd, MISSING);
    assert_eq!(uffd.zeropage(memory.at(0), 2 * PAGE, 0), Ok(2 * PAGE));
    assert_eq!((memory.read(0), memory.read(PAGE)), (0, 0));
    memory.write(0, 1);
    assert_eq!(blocks(memory.file()), 1);
    let mut byte = [0];
    assert_eq!(pread(memory.file(), &mut byte, PAGE as i64), Ok(1));
    assert_eq!(byte, [8]);
}

/// A tmpfs of so many pages, which goes away with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(pages: u64) -> Tmpfs {
        let root = std::env::temp_dir().join(format!("uffd-tmpfs-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let (flags, options) = (MsFlags::empty(), format!("size={}", pages * PAGE));
        mount(Some("none"), &root, Some("tmpfs"), flags, Some(&*options)).unwrap();
        Tmpfs(root)
    }

    fn file(&self, pages: u64) -> OwnedFd {
        let flags = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = open(&self.0.join("file"), flags, Mode::S_IRWXU).unwrap();
        ftruncate(&file, (pages * PAGE) as i64).unwrap();
        file
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Nothing is to be done about a failure.
        let _ = umount(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

fn full_file_system_has_no_page() {
    const ROOM: u64 = 2;
    let (uffd, source) = (uffd_with(0), stamped(4 * PAGE, 1));
    let place = Tmpfs::new(ROOM);
    let file = place.file(4);
    let target = registered(Mapping::file(file.as_fd(), 4), &uffd);
    let copied = uffd.copy(target.page(0), source.start(), 4 * PAGE, 0);
    assert_eq!(copied, Err(partly(ROOM * PAGE)));
    let full = Err(failed(Errno::ENOMEM));
    for _ in 0..3 {
        assert_eq!(uffd.copy(target.page(2), source.start(), PAGE, 0), full);
        assert_eq!(uffd.zeropage(target.page(3), PAGE, 0), full);
        assert_eq!(blocks(&file), ROOM);
    }
    // What is there is told before that there is no room.
    let copied = uffd.copy(target.page(1), source.start(), PAGE, 0);
    assert_eq!(copied, Err(failed(Errno::EEXIST)));
    // With room for one more, one more can be filled: failures took nothing for good.
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, flags, 0, PAGE as i64).unwrap();
    let copied = uffd.copy(target.page(2), source.page(2), 2 * PAGE, 0);
    assert_eq!(copied, Err(partly(PAGE)));
    expect_stamped(&target, PAGE, 2 * PAGE, 2);
    assert_eq!(blocks(&file), ROOM);
    drop((target, file));
}

fn segments_of_system_v_are_refused() {
    // Their mappings have operations of their own, which have nothing for faults.
    let (uffd, source) = (uffd_with(0), stamped(PAGE, 1));
    for flags in [0, libc::SHM_HUGETLB] {
        let [memory, other] = Mapping::sysv(HUGE_PAGE, flags).expect("shmget");
        let registered = uffd.register(memory.start(), memory.len(), MISSING);
        expect_errno(registered, Errno::EINVAL);
        let copied = uffd.copy(memory.start(), source.start(), PAGE, 0);
        assert_eq!(copied, Err(failed(Errno::ENOENT)));
        memory.write(0, 3);
        assert_eq!(other.read(0), 3);
    }
}

fn seal_against_new_writers_keeps_the_registration() {
    let uffd = uffd_with(0);
    let file = memfd_with(c"sealed", libc::MFD_ALLOW_SEALING, PAGE);
    let target = registered(Mapping::file(file.as_fd(), 1), &uffd);
    // A file with a mapping that may write cannot be sealed against writing.
    let seal = |seal| fcntl(&file, FcntlArg::F_ADD_SEALS(seal));
    expect_errno(seal(SealFlag::F_SEAL_WRITE), Errno::EBUSY);
    seal(SealFlag::F_SEAL_FUTURE_WRITE).unwrap();
    assert_eq!(uffd.zeropage(target.start(), PAGE, 0), Ok(PAGE));
    let flags = libc::MAP_SHARED;
    let later = Mapping::new(PAGE, libc::PROT_READ, flags, Some(file.as_fd()), 0).unwrap();
    expect_errno(uffd.register(later.start(), PAGE, MISSING), Errno::EPERM);
}

fn cve_2018_18397_read_only_file() {
    let uffd = uffd_with(0);
    let (source, file) = (stamped(PAGE, 1), memfd(2));
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let reader = fs::File::open(format!("/proc/self/fd/{number}")).unwrap();
    let flags = libc::MAP_SHARED;
    let memory = Mapping::new(2 * PAGE, libc::PROT_READ, flags, Some(reader.as_fd()), 0).unwrap();
    for _ in 0..2 {
        let registered = uffd.register(memory.start(), 2 * PAGE, MISSING);
        expect_errno(registered, Errno::EPERM);
        let copied = uffd.copy(memory.page(0), source.start(), PAGE, 0);
        assert_eq!(copied, Err(failed(Errno::ENOENT)));
        let zeroed = uffd.zeropage(memory.page(0), PAGE, 0);
        assert_eq!(zeroed, Err(failed(Errno::ENOENT)));
        // Beside memory that may be filled it is refused, too.
        memory.map_over(1);
    }
    assert_eq!(blocks(&file), 0);
    // A private mapping of the same file is one's own memory.
    let flags = libc::MAP_PRIVATE;
    let memory = Mapping::new(PAGE, RW, flags, Some(reader.as_fd()), 0).unwrap();
    let memory = registered(memory, &uffd);
    let copied = uffd.copy(memory.start(), source.start(), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    assert_eq!((memory.read(0), blocks(&file)), (1, 0));
}

/// Fills a page of shared memory from a source that is missing itself. While the call waits for
/// the source, the function is run; it may change what the call is about.
pub(super) fn awaiting(
    memory: &Memory,
    uffd: &Uffd,
    page: u64,
    mut meanwhile: impl FnMut() + Send + 'static,
) -> Result<u64, Partial> {
    let inner = Arc::new(uffd_with(0));
    let source = registered(Mapping::anon(1), &inner);
    let origin = stamped(PAGE, 0x77);
    let handler = Handler::spawn(Arc::clone(&inner), move |uffd, event| {
        meanwhile();
        let address = event.pagefault().unwrap().address;
        assert_eq!(uffd.copy(address, origin.start(), PAGE, 0), Ok(PAGE));
    });
    let result = uffd.copy(memory.at(page), source.start(), PAGE, 0);
    assert_eq!(handler.stop().len(), 1);
    result
}

fn cve_2021_46988_source_that_faults() {
    for kind in Kind::SHMEM.into_iter().chain([Kind::PrivateFile]) {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        assert_eq!(awaiting(&memory, &uffd, 1, || {}), Ok(PAGE), "{kind:?}");
        expect_stamped(&memory, PAGE, PAGE, 0x77);
        if let Some(file) = &memory.file {
            assert_eq!(blocks(file), u64::from(kind.is_shared()));
        }
        // The source may be of the same memory.
        assert_eq!(uffd.copy(memory.at(0), memory.at(1), PAGE, 0), Ok(PAGE));
        expect_stamped(&memory, 0, PAGE, 0x77);
    }
}

fn destination_filled_while_the_source_is_awaited() {
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let target = Arc::new(memory.twin().again());
        let result = awaiting(&memory, &uffd, 1, move || target.write(PAGE, 3));
        assert_eq!(result, Err(failed(Errno::EEXIST)), "{kind:?}");
        assert_eq!(memory.read(PAGE), 3);
        if let Some(file) = &memory.file {
            assert_eq!(blocks(file), 1);
        }
    }
}

fn destination_truncated_while_the_source_is_awaited() {
    for kind in [Kind::Memfd, Kind::Tmpfs, Kind::PrivateFile] {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let file = memory.file().try_clone().unwrap();
        let cut = move || ftruncate(&file, PAGE as i64).unwrap();
        let result = awaiting(&memory, &uffd, 1, cut);
        assert_eq!(result, Err(failed(Errno::EFAULT)), "{kind:?}");
        // No page was left behind beyond the end.
        ftruncate(memory.file(), 2 * PAGE as i64).unwrap();
        assert_eq!(blocks(memory.file()), 0);
        assert_eq!(uffd.zeropage(memory.at(1), PAGE, 0), Ok(PAGE));
    }
}

fn destination_replaced_while_the_source_is_awaited() {
    let (uffd, memory) = (Arc::new(uffd_with(0)), Kind::Memfd.map(2));
    memory.register(&uffd, MISSING);
    let (target, owner) = (Arc::clone(&memory.target), Arc::clone(&uffd));
    let result = awaiting(&memory, &uffd, 1, move || {
        target.map_over(1);
        let again = owner.register(target.page(1), PAGE, MISSING);
        again.expect("UFFDIO_REGISTER");
    });
    assert_eq!(result, Err(failed(Errno::EAGAIN)));
    assert_eq!(blocks(memory.file()), 0);
    assert_eq!(uffd.zeropage(memory.at(1), PAGE, 0), Ok(PAGE));
}

fn destination_unmapped_while_the_source_is_awaited() {
    for kind in Kind::SHMEM {
        let (uffd, memory) = (uffd_with(0), kind.map(2));
        memory.register(&uffd, MISSING);
        let target = Arc::clone(&memory.target);
        let result = awaiting(&memory, &uffd, 1, move || target.unmap(PAGE, PAGE));
        assert_eq!(result, Err(failed(Errno::ENOENT)), "{kind:?}");
        if let Some(file) = &memory.file {
            assert_eq!(blocks(file), 0);
        }
    }
}
