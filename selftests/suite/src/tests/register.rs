// SPDX-License-Identifier: GPL-2.0-only

//! Registering and unregistering ranges, and what becomes of the mappings.

use crate::harness::env::{vmas, Vma};
use crate::harness::mem::{memfd, memfd_with, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::{expect_errno, tests, uffd_with, Need};
use nix::fcntl::{openat, OFlag};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    answer_lists_the_requests_of_the_mode;
    answer_for_rwp [Need::Feature(UFFD_FEATURE_RWP)];
    answer_for_huge_pages [Need::Hugetlb(1)];
    flags_show_the_mode;
    part_of_a_mapping_splits_it;
    neighbours_merge;
    range_may_span_mappings;
    range_may_span_holes;
    range_without_a_mapping;
    unregister_passes_over_what_is_not_registered;
    unregister_twice;
    registering_again_adds_modes;
    write_protection_is_not_dropped [Need::Release(7, 3)];
    rwp_is_not_dropped [Need::Feature(UFFD_FEATURE_RWP)];
    rwp_excludes_wp [Need::Feature(UFFD_FEATURE_RWP)];
    rwp_needs_the_feature [Need::Release(7, 3)];
    rwp_needs_an_accessible_mapping [Need::Feature(UFFD_FEATURE_RWP)];
    memory_of_another_descriptor_is_busy;
    closing_gives_the_memory_up;
    read_only_shared_file_is_refused;
    sealed_file_is_refused;
    private_mapping_of_a_read_only_file_is_fine;
    inaccessible_memory_can_be_registered;
    minor_mode_needs_a_file;
    special_mappings_are_refused;
    ordinary_files_are_refused [Need::Root];
    wp_async_takes_ordinary_files [Need::Root, Need::Feature(UFFD_FEATURE_WP_ASYNC)];
    huge_pages_are_registered_whole [Need::Hugetlb(2)];
    mremap_drops_the_registration;
    mapping_over_drops_the_registration;
    new_mapping_next_to_it_is_not_registered;
}

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const WP: u64 = UFFDIO_REGISTER_MODE_WP;
const MINOR: u64 = UFFDIO_REGISTER_MODE_MINOR;
const RWP: u64 = UFFDIO_REGISTER_MODE_RWP;

fn register(uffd: &Uffd, mapping: &Mapping, mode: u64) -> Result<u64, Errno> {
    uffd.register(mapping.start(), mapping.len(), mode)
}

/// The modes in a mapping's flags.
fn modes(vma: &Vma) -> u64 {
    let flags = [("um", MISSING), ("uw", WP), ("ui", MINOR), ("ur", RWP)];
    flags
        .into_iter()
        .filter(|(flag, _)| vma.has(flag))
        .fold(0, |modes, (_, mode)| modes | mode)
}

/// The mappings within a [`Mapping`] in pages from its start, with their modes.
fn shape(mapping: &Mapping) -> Vec<(u64, u64, u64)> {
    let page =
        |address: u64| (address.clamp(mapping.start(), mapping.end()) - mapping.start()) / PAGE;
    let found = vmas(mapping.start(), mapping.end());
    found
        .iter()
        .map(|vma| (page(vma.start), page(vma.end), modes(vma)))
        .collect()
}

fn bits(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |bits, number| bits | 1 << number)
}

/// The requests for every range that is not of huge pages.
fn always() -> u64 {
    bits(&[
        _UFFDIO_WAKE,
        _UFFDIO_COPY,
        _UFFDIO_ZEROPAGE,
        _UFFDIO_MOVE,
        _UFFDIO_POISON,
    ])
}

fn answer_lists_the_requests_of_the_mode() {
    let uffd = uffd_with(0);
    let private = [
        (MISSING, 0),
        (WP, bits(&[_UFFDIO_WRITEPROTECT])),
        (MISSING | WP, bits(&[_UFFDIO_WRITEPROTECT])),
    ];
    for (mode, extra) in private {
        assert_eq!(
            register(&uffd, &Mapping::anon(1), mode),
            Ok(always() | extra),
            "mode {mode}"
        );
    }
    let shared = [
        (MINOR, bits(&[_UFFDIO_CONTINUE])),
        (
            MISSING | MINOR | WP,
            bits(&[_UFFDIO_CONTINUE, _UFFDIO_WRITEPROTECT]),
        ),
    ];
    for (mode, extra) in private.into_iter().chain(shared) {
        assert_eq!(
            register(&uffd, &Mapping::shared(1), mode),
            Ok(always() | extra),
            "mode {mode}"
        );
    }
}

fn answer_for_rwp() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    for mode in [RWP, RWP | MISSING] {
        assert_eq!(
            register(&uffd, &Mapping::anon(1), mode),
            Ok(always() | bits(&[_UFFDIO_RWPROTECT]))
        );
    }
}

/// A mapping of huge pages of hugetlbfs.
fn huge(pages: u64) -> Mapping {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    Mapping::new(pages * HUGE_PAGE, RW, flags, None, 0).unwrap()
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

fn flags_show_the_mode() {
    let uffd = uffd_with(0);
    for mode in [
        MISSING,
        WP,
        MINOR,
        MISSING | WP,
        MISSING | MINOR,
        WP | MINOR,
        MISSING | WP | MINOR,
    ] {
        let memory = Mapping::shared(3);
        assert_eq!(shape(&memory), [(0, 3, 0)]);
        register(&uffd, &memory, mode).unwrap();
        assert_eq!(shape(&memory), [(0, 3, mode)]);
        uffd.unregister(memory.start(), memory.len()).unwrap();
        assert_eq!(shape(&memory), [(0, 3, 0)]);
    }
}

/// Memory that stays apart from its neighbours, so that it is one mapping before and after.
fn lone(pages: u64) -> Mapping {
    let memory = Mapping::shared(pages);
    assert_eq!(shape(&memory), [(0, pages, 0)]);
    memory
}

fn part_of_a_mapping_splits_it() {
    let uffd = uffd_with(0);
    let memory = lone(6);
    uffd.register(memory.page(2), 2 * PAGE, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 2, 0), (2, 4, MISSING), (4, 6, 0)]);
    uffd.register(memory.page(0), PAGE, MISSING).unwrap();
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 2, 0), (2, 4, MISSING), (4, 6, 0)]
    );
    uffd.unregister(memory.page(3), PAGE).unwrap();
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 2, 0), (2, 3, MISSING), (3, 6, 0)]
    );
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(&memory), [(0, 6, 0)]);
}

fn neighbours_merge() {
    let uffd = uffd_with(0);
    let memory = lone(6);
    for (page, pages) in [(0, 1), (2, 1), (1, 1), (4, 2)] {
        uffd.register(memory.page(page), pages * PAGE, MISSING)
            .unwrap();
    }
    assert_eq!(
        shape(&memory),
        [(0, 3, MISSING), (3, 4, 0), (4, 6, MISSING)]
    );
    uffd.register(memory.start(), memory.len(), MISSING)
        .unwrap();
    assert_eq!(shape(&memory), [(0, 6, MISSING)]);
    // Other modes and other descriptors keep mappings apart.
    uffd.register(memory.page(5), PAGE, MISSING | WP).unwrap();
    assert_eq!(shape(&memory), [(0, 5, MISSING), (5, 6, MISSING | WP)]);
    let other = uffd_with(0);
    uffd.unregister(memory.page(0), PAGE).unwrap();
    other.register(memory.page(0), PAGE, MISSING).unwrap();
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 5, MISSING), (5, 6, MISSING | WP)]
    );
}

fn range_may_span_mappings() {
    let uffd = uffd_with(0);
    let memory = lone(4);
    memory.protect(PAGE, PAGE, libc::PROT_READ).unwrap();
    uffd.register(memory.start(), 3 * PAGE, MISSING).unwrap();
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 2, MISSING), (2, 3, MISSING), (3, 4, 0)]
    );
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(&memory), [(0, 1, 0), (1, 2, 0), (2, 4, 0)]);
}

fn range_may_span_holes() {
    let uffd = uffd_with(0);
    let memory = lone(5);
    memory.unmap(PAGE, PAGE);
    memory.unmap(4 * PAGE, PAGE);
    // It may begin and end in a hole as well.
    uffd.register(memory.page(1), 4 * PAGE, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 1, 0), (2, 4, MISSING)]);
    uffd.register(memory.page(0), 5 * PAGE, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 1, MISSING), (2, 4, MISSING)]);
    uffd.unregister(memory.page(1), 4 * PAGE).unwrap();
    assert_eq!(shape(&memory), [(0, 1, MISSING), (2, 4, 0)]);
}

fn range_without_a_mapping() {
    let uffd = uffd_with(0);
    let memory = lone(3);
    memory.unmap(PAGE, PAGE);
    expect_errno(uffd.register(memory.page(1), PAGE, MISSING), Errno::EINVAL);
    expect_errno(uffd.unregister(memory.page(1), PAGE), Errno::EINVAL);
    assert_eq!(shape(&memory), [(0, 1, 0), (2, 3, 0)]);
}

fn unregister_passes_over_what_is_not_registered() {
    let uffd = uffd_with(0);
    let memory = lone(5);
    uffd.register(memory.page(1), PAGE, MISSING).unwrap();
    uffd.register(memory.page(3), PAGE, WP).unwrap();
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(&memory), [(0, 5, 0)]);
}

fn unregister_twice() {
    let uffd = uffd_with(0);
    let memory = lone(1);
    assert_eq!(
        uffd.unregister(memory.start(), PAGE),
        Ok(()),
        "memory that could be registered"
    );
    register(&uffd, &memory, MISSING).unwrap();
    assert_eq!(uffd.unregister(memory.start(), PAGE), Ok(()));
    assert_eq!(uffd.unregister(memory.start(), PAGE), Ok(()));
}

fn registering_again_adds_modes() {
    let uffd = uffd_with(0);
    let memory = lone(3);
    register(&uffd, &memory, MISSING).unwrap();
    // The answer is about the mode of this call.
    let answer = uffd.register(memory.page(1), PAGE, MISSING | WP);
    assert_eq!(answer, Ok(always() | bits(&[_UFFDIO_WRITEPROTECT])));
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 2, MISSING | WP), (2, 3, MISSING)]
    );
    // A mode that is there already changes nothing, others included; a new one replaces them.
    uffd.register(memory.page(0), PAGE, MISSING | MINOR)
        .unwrap();
    uffd.register(memory.page(0), PAGE, MISSING).unwrap();
    assert_eq!(shape(&memory)[0], (0, 1, MISSING | MINOR));
    uffd.register(memory.page(2), PAGE, MINOR).unwrap();
    assert_eq!(shape(&memory)[2], (2, 3, MINOR));
}

fn write_protection_is_not_dropped() {
    let uffd = uffd_with(0);
    let memory = lone(3);
    uffd.register(memory.page(1), PAGE, MISSING | WP).unwrap();
    for mode in [MISSING, MINOR, MISSING | MINOR] {
        expect_errno(register(&uffd, &memory, mode), Errno::EBUSY);
    }
    assert_eq!(shape(&memory), [(0, 1, 0), (1, 2, MISSING | WP), (2, 3, 0)]);
    uffd.register(memory.page(1), PAGE, WP).unwrap();
    uffd.unregister(memory.page(1), PAGE).unwrap();
    register(&uffd, &memory, MISSING).unwrap();
}

fn rwp_is_not_dropped() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let memory = lone(1);
    register(&uffd, &memory, MISSING | RWP).unwrap();
    assert_eq!(shape(&memory), [(0, 1, MISSING | RWP)]);
    for mode in [MISSING, WP, MISSING | WP] {
        expect_errno(register(&uffd, &memory, mode), Errno::EBUSY);
    }
    assert_eq!(shape(&memory), [(0, 1, MISSING | RWP)]);
}

fn rwp_excludes_wp() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let memory = lone(1);
    expect_errno(register(&uffd, &memory, RWP | WP), Errno::EINVAL);
    expect_errno(register(&uffd, &memory, RWP | WP | MISSING), Errno::EINVAL);
    register(&uffd, &memory, WP).unwrap();
    expect_errno(register(&uffd, &memory, RWP), Errno::EBUSY);
}

fn rwp_needs_the_feature() {
    let uffd = uffd_with(0);
    expect_errno(register(&uffd, &Mapping::anon(1), RWP), Errno::EINVAL);
}

fn rwp_needs_an_accessible_mapping() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let memory = lone(1);
    memory.protect(0, PAGE, libc::PROT_NONE).unwrap();
    expect_errno(register(&uffd, &memory, RWP), Errno::EINVAL);
    memory.protect(0, PAGE, libc::PROT_READ).unwrap();
    register(&uffd, &memory, RWP).unwrap();
    // Later on it may become inaccessible, and can be given back all the same.
    memory.protect(0, PAGE, libc::PROT_NONE).unwrap();
    uffd.unregister(memory.start(), PAGE).unwrap();
}

fn memory_of_another_descriptor_is_busy() {
    let (owner, other) = (uffd_with(0), uffd_with(0));
    let memory = lone(3);
    owner.register(memory.page(1), PAGE, MISSING).unwrap();
    for (page, pages) in [(1, 1), (0, 2), (1, 2), (0, 3)] {
        expect_errno(
            other.register(memory.page(page), pages * PAGE, MISSING),
            Errno::EBUSY,
        );
        // There is no errno of its own for giving back what others have.
        expect_errno(
            other.unregister(memory.page(page), pages * PAGE),
            Errno::EINVAL,
        );
    }
    assert_eq!(shape(&memory), [(0, 1, 0), (1, 2, MISSING), (2, 3, 0)]);
    owner.unregister(memory.page(1), PAGE).unwrap();
    register(&other, &memory, MISSING).unwrap();
}

fn closing_gives_the_memory_up() {
    let uffd = uffd_with(0);
    let memory = lone(3);
    uffd.register(memory.page(1), PAGE, MISSING | WP).unwrap();
    drop(uffd);
    assert_eq!(modes(&vmas(memory.page(1), memory.page(2))[0]), 0);
    let next = uffd_with(0);
    register(&next, &memory, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 3, MISSING)]);
}

/// The file once more, opened for reading only.
fn reopened(file: impl AsFd) -> std::fs::File {
    std::fs::File::open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).unwrap()
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

fn minor_mode_needs_a_file() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(1);
    expect_errno(register(&uffd, &memory, MINOR), Errno::EINVAL);
    expect_errno(register(&uffd, &memory, MISSING | MINOR), Errno::EINVAL);
    // One page of it in the range is enough to refuse all.
    let shared = Mapping::shared(1);
    register(&uffd, &shared, MINOR).unwrap();
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

/// A file on a ramfs: page cache, but not shared memory, on whatever the root file system is.
fn ramfs_file() -> OwnedFd {
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

/// mremap(2) of a whole mapping to an address of the kernel's choice.
fn moved(memory: Mapping) -> u64 {
    let spare = Mapping::anon(memory.len() / PAGE);
    let len = memory.len() as usize;
    let pointer = |address: u64| -> *mut libc::c_void {
        std::ptr::with_exposed_provenance_mut(address as usize)
    };
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let target = spare.start();
    // SAFETY: both ranges are mappings of ours that no reference points into.
    let at = unsafe { libc::mremap(pointer(memory.start()), len, len, flags, pointer(target)) };
    assert_ne!(at, libc::MAP_FAILED);
    memory.leak();
    spare.leak();
    target
}

fn mremap_drops_the_registration() {
    // Unless the feature EVENT_REMAP was asked for.
    let uffd = uffd_with(0);
    let memory = Mapping::anon(2);
    register(&uffd, &memory, MISSING | WP).unwrap();
    let start = moved(memory);
    let found = vmas(start, start + 2 * PAGE);
    assert!(found.iter().all(|vma| modes(vma) == 0), "{found:?}");
    uffd.register(start, 2 * PAGE, MISSING).unwrap();
}

fn mapping_over_drops_the_registration() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(3);
    register(&uffd, &memory, MISSING).unwrap();
    let address = std::ptr::with_exposed_provenance_mut(memory.page(1) as usize);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page lies in the mapping, which no reference points into.
    let at = unsafe { libc::mmap(address, PAGE as usize, RW, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    assert_eq!(
        shape(&memory),
        [(0, 1, MISSING), (1, 2, 0), (2, 3, MISSING)]
    );
    memory.write(PAGE, 1);
}

fn new_mapping_next_to_it_is_not_registered() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(3);
    memory.unmap(2 * PAGE, PAGE);
    uffd.register(memory.start(), 2 * PAGE, MISSING).unwrap();
    let address = std::ptr::with_exposed_provenance_mut(memory.page(2) as usize);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: the page was unmapped above, and the flag keeps what may be there since.
    let at = unsafe { libc::mmap(address, PAGE as usize, RW, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    assert_eq!(shape(&memory)[..2], [(0, 2, MISSING), (2, 3, 0)]);
}
