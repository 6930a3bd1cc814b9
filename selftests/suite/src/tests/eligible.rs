// SPDX-License-Identifier: GPL-2.0-only

//! What memory can be registered, and what cannot.

use super::register::{bits, register, shape, MINOR, MISSING, RWP, SHARED, WP};
use crate::harness::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::{expect_errno, tests, uffd_with, Need};
use nix::fcntl::{openat, OFlag};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use uffd::abi::*;
use uffd::Errno;

tests! {
    read_only_shared_file_is_refused [Need::Feature(SHARED)];
    sealed_file_is_refused [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    private_mapping_of_a_read_only_file_is_fine [Need::Feature(UFFD_FEATURE_MISSING_SHMEM)];
    inaccessible_memory_can_be_registered;
    rwp_needs_an_accessible_mapping [Need::Feature(UFFD_FEATURE_RWP)];
    private_memory_has_no_minor_mode;
    minor_mode_needs_a_file [Need::Feature(SHARED)];
    special_mappings_are_refused;
    ordinary_files_are_refused [Need::Root];
    wp_async_takes_ordinary_files [Need::Feature(UFFD_FEATURE_WP_ASYNC), Need::Root];
    answer_for_huge_pages [Need::Feature(HUGE), Need::Hugetlb(1)];
    huge_pages_are_registered_whole [
        Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS),
        Need::Hugetlb(2),
    ];
}

const HUGE: u64 =
    UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_POISON;

/// The file once more, opened for reading only.
fn reopened(file: impl AsFd) -> std::fs::File {
    std::fs::File::open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).unwrap()
}

/// A file on a ramfs: page cache, but not shared memory, on whatever the root file system is.
pub(super) fn ramfs_file() -> OwnedFd {
    const FSCONFIG_CMD_CREATE: i32 = 6;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a string that ends with 0; no other memory is involved.
    let fs = unsafe { adopt(libc::syscall(libc::SYS_fsopen, c"ramfs".as_ptr(), 0)) };
    // SAFETY: this command takes neither key nor value.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            null,
            null,
            0,
        )
    };
    assert_eq!(ret, 0, "fsconfig");
    // SAFETY: integers only.
    let mount = unsafe { adopt(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 0, 0)) };
    let file = openat(
        &mount,
        "file",
        OFlag::O_RDWR | OFlag::O_CREAT,
        Mode::S_IRWXU,
    )
    .unwrap();
    nix::unistd::ftruncate(&file, PAGE as i64).unwrap();
    file
}

/// Takes over a descriptor that a call returned.
///
/// # Safety
///
/// The value comes straight from such a call.
unsafe fn adopt(ret: libc::c_long) -> OwnedFd {
    let fd = Errno::result(ret).unwrap();
    // SAFETY: see above.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// The file mapped for reading by a descriptor that only allows that.
fn read_only(file: &OwnedFd, flags: i32) -> Mapping {
    Mapping::new(
        PAGE,
        libc::PROT_READ,
        flags,
        Some(reopened(file).as_fd()),
        0,
    )
    .unwrap()
}

/// A mapping of huge pages of hugetlbfs.
fn huge(pages: u64) -> Mapping {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    Mapping::new(pages * HUGE_PAGE, RW, flags, None, 0).unwrap()
}

fn read_only_shared_file_is_refused() {
    // Filling would write to a file that the process may not write to.
    let uffd = uffd_with(0);
    let file = reopened(memfd(1));
    let memory = Mapping::new(
        PAGE,
        libc::PROT_READ,
        libc::MAP_SHARED,
        Some(file.as_fd()),
        0,
    )
    .unwrap();
    for mode in [MISSING, MINOR, WP, MISSING | WP | MINOR] {
        expect_errno(register(&uffd, &memory, mode), Errno::EPERM);
    }
    // Who owns the memory is asked later, what it is, earlier.
    expect_errno(
        uffd.copy(memory.start(), memory.start(), PAGE, 0),
        Errno::ENOENT,
    );
    // Without write access now, but with the right to it, it is fine.
    let file = memfd(1);
    let memory = Mapping::new(
        PAGE,
        libc::PROT_READ,
        libc::MAP_SHARED,
        Some(file.as_fd()),
        0,
    )
    .unwrap();
    register(&uffd, &memory, MISSING).unwrap();
}

fn sealed_file_is_refused() {
    use nix::fcntl::{fcntl, FcntlArg, SealFlag};
    let uffd = uffd_with(0);
    let file = memfd_with(c"sealed", libc::MFD_ALLOW_SEALING, PAGE);
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
    let memory = Mapping::new(
        PAGE,
        libc::PROT_READ,
        libc::MAP_SHARED,
        Some(file.as_fd()),
        0,
    )
    .unwrap();
    expect_errno(register(&uffd, &memory, MISSING), Errno::EPERM);
}

fn private_mapping_of_a_read_only_file_is_fine() {
    let uffd = uffd_with(0);
    let file = reopened(memfd(1));
    let memory = Mapping::new(PAGE, RW, libc::MAP_PRIVATE, Some(file.as_fd()), 0).unwrap();
    register(&uffd, &memory, MISSING).unwrap();
    uffd.zeropage(memory.start(), PAGE, 0).unwrap();
    memory.write(0, 1);
}

fn inaccessible_memory_can_be_registered() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(1);
    memory.protect(0, PAGE, libc::PROT_NONE).unwrap();
    register(&uffd, &memory, MISSING).unwrap();
    assert_eq!(uffd.zeropage(memory.start(), PAGE, 0), Ok(PAGE));
    memory.protect(0, PAGE, libc::PROT_READ).unwrap();
    assert_eq!(memory.read(0), 0);
}

fn rwp_needs_an_accessible_mapping() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let memory = Mapping::lone(1);
    memory.protect(0, PAGE, libc::PROT_NONE).unwrap();
    expect_errno(register(&uffd, &memory, RWP), Errno::EINVAL);
    memory.protect(0, PAGE, libc::PROT_READ).unwrap();
    register(&uffd, &memory, RWP).unwrap();
    // Later on it may become inaccessible, and can be given back all the same.
    memory.protect(0, PAGE, libc::PROT_NONE).unwrap();
    uffd.unregister(memory.start(), PAGE).unwrap();
}

fn private_memory_has_no_minor_mode() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(1);
    expect_errno(register(&uffd, &memory, MINOR), Errno::EINVAL);
    expect_errno(register(&uffd, &memory, MISSING | MINOR), Errno::EINVAL);
}

fn minor_mode_needs_a_file() {
    // One page of private memory in the range is enough to refuse all of it.
    let uffd = uffd_with(0);
    let shared = Mapping::shared(2);
    register(&uffd, &shared, MINOR).unwrap();
    uffd.unregister(shared.start(), shared.len()).unwrap();
    shared.map_over(1);
    expect_errno(register(&uffd, &shared, MINOR), Errno::EINVAL);
    assert_eq!(shape(&shared), [(0, 1, 0), (1, 2, 0)]);
}

fn special_mappings_are_refused() {
    let uffd = uffd_with(0);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .expect("a vdso");
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    for mode in [MISSING, WP, MINOR] {
        expect_errno(uffd.register(start, end - start, mode), Errno::EINVAL);
    }
    expect_errno(uffd.unregister(start, end - start), Errno::EINVAL);
}

fn ordinary_files_are_refused() {
    let uffd = uffd_with(0);
    let file = ramfs_file();
    let memory = read_only(&file, libc::MAP_PRIVATE);
    for mode in [MISSING, WP, MINOR, MISSING | WP] {
        expect_errno(register(&uffd, &memory, mode), Errno::EINVAL);
    }
    expect_errno(uffd.unregister(memory.start(), PAGE), Errno::EINVAL);
    // What cannot be registered at all goes before who may write to it.
    expect_errno(
        register(&uffd, &read_only(&file, libc::MAP_SHARED), MISSING),
        Errno::EINVAL,
    );
}

fn wp_async_takes_ordinary_files() {
    let uffd = uffd_with(UFFD_FEATURE_WP_ASYNC);
    let memory = read_only(&ramfs_file(), libc::MAP_PRIVATE);
    expect_errno(register(&uffd, &memory, MISSING | WP), Errno::EINVAL);
    register(&uffd, &memory, WP).unwrap();
    assert_eq!(shape(&memory), [(0, 1, WP)]);
    uffd.unregister(memory.start(), PAGE).unwrap();
}

fn answer_for_huge_pages() {
    let uffd = uffd_with(0);
    let memory = huge(1);
    let basic = bits(&[_UFFDIO_WAKE, _UFFDIO_COPY, _UFFDIO_POISON]);
    assert_eq!(register(&uffd, &memory, MISSING), Ok(basic));
    assert_eq!(
        register(&uffd, &memory, MISSING | WP),
        Ok(basic | bits(&[_UFFDIO_WRITEPROTECT]))
    );
}

fn huge_pages_are_registered_whole() {
    let uffd = uffd_with(0);
    let memory = huge(2);
    for (offset, len) in [
        (PAGE, HUGE_PAGE),
        (0, PAGE),
        (0, HUGE_PAGE + PAGE),
        (HUGE_PAGE - PAGE, HUGE_PAGE + PAGE),
    ] {
        expect_errno(
            uffd.register(memory.start() + offset, len, MISSING),
            Errno::EINVAL,
        );
    }
    uffd.register(memory.start() + HUGE_PAGE, HUGE_PAGE, MISSING)
        .unwrap();
    expect_errno(
        uffd.unregister(memory.start() + PAGE, HUGE_PAGE),
        Errno::EINVAL,
    );
    uffd.unregister(memory.start(), 2 * HUGE_PAGE).unwrap();
}
