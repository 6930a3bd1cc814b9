// SPDX-License-Identifier: GPL-2.0-only

//! Registering and unregistering ranges, and what becomes of the mappings.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::need::offers;
use crate::harness::process::Child;
use crate::harness::smaps::{vmas, Vma};
use crate::harness::{expect_errno, tests, uffd_with, Need};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    answer_for_missing_mode;
    answer_for_write_protection [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    answer_for_shared_memory [Need::Feature(SHARED)];
    answer_for_rwp [Need::Feature(UFFD_FEATURE_RWP)];
    flags_show_missing_mode;
    flags_show_every_mode [Need::Feature(SHARED)];
    part_of_a_mapping_splits_it;
    neighbours_merge;
    modes_keep_neighbours_apart [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    range_may_span_mappings;
    range_may_span_holes;
    range_without_a_mapping;
    unregister_passes_over_what_is_not_registered;
    unregister_takes_every_mode [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    unregister_twice;
    registering_again_changes_nothing;
    registering_again_adds_modes [Need::Feature(SHARED)];
    write_protection_is_not_dropped [Need::Feature(SHARED), Need::Release(7, 3)];
    rwp_is_not_dropped [Need::Feature(UFFD_FEATURE_RWP)];
    rwp_excludes_wp [Need::Feature(UFFD_FEATURE_RWP)];
    rwp_needs_the_feature [Need::Release(7, 3)];
    memory_of_another_descriptor_is_busy;
    closing_gives_the_memory_up;
    closing_gives_protected_memory_up [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    fork_drops_the_registration;
    mremap_drops_the_registration;
    mremap_drops_write_protection [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    mapping_over_drops_the_registration;
    new_mapping_next_to_it_is_not_registered;
}

pub(super) const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
pub(super) const WP: u64 = UFFDIO_REGISTER_MODE_WP;
pub(super) const MINOR: u64 = UFFDIO_REGISTER_MODE_MINOR;
pub(super) const RWP: u64 = UFFDIO_REGISTER_MODE_RWP;

/// What every mode on shared memory takes.
pub(super) const SHARED: u64 = UFFD_FEATURE_MISSING_SHMEM
    | UFFD_FEATURE_MINOR_SHMEM
    | UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

pub(super) fn register(uffd: &Uffd, mapping: &Mapping, mode: u64) -> Result<u64, Errno> {
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
pub(super) fn shape(mapping: &Mapping) -> Vec<(u64, u64, u64)> {
    let page =
        |address: u64| (address.clamp(mapping.start(), mapping.end()) - mapping.start()) / PAGE;
    let found = vmas(mapping.start(), mapping.end());
    found
        .iter()
        .map(|vma| (page(vma.start), page(vma.end), modes(vma)))
        .collect()
}

pub(super) fn bits(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |bits, number| bits | 1 << number)
}

/// The requests for every range that is not of huge pages.
pub(super) fn always() -> u64 {
    let optional = [
        (UFFD_FEATURE_MOVE, _UFFDIO_MOVE),
        (UFFD_FEATURE_POISON, _UFFDIO_POISON),
    ];
    optional
        .into_iter()
        .filter(|&(feature, _)| offers(feature))
        .fold(
            bits(&[_UFFDIO_WAKE, _UFFDIO_COPY, _UFFDIO_ZEROPAGE]),
            |all, (_, number)| all | bits(&[number]),
        )
}

fn answer_for_missing_mode() {
    let uffd = uffd_with(0);
    assert_eq!(register(&uffd, &Mapping::anon(1), MISSING), Ok(always()));
}

/// The modes that private memory has, with the requests that they add.
fn private_modes() -> [(u64, u64); 3] {
    let writeprotect = bits(&[_UFFDIO_WRITEPROTECT]);
    [
        (MISSING, 0),
        (WP, writeprotect),
        (MISSING | WP, writeprotect),
    ]
}

fn answer_for_write_protection() {
    let uffd = uffd_with(0);
    for (mode, extra) in private_modes() {
        assert_eq!(
            register(&uffd, &Mapping::anon(1), mode),
            Ok(always() | extra),
            "mode {mode}"
        );
    }
}

fn answer_for_shared_memory() {
    let uffd = uffd_with(0);
    let shared = [
        (MINOR, bits(&[_UFFDIO_CONTINUE])),
        (
            MISSING | MINOR | WP,
            bits(&[_UFFDIO_CONTINUE, _UFFDIO_WRITEPROTECT]),
        ),
    ];
    for (mode, extra) in private_modes().into_iter().chain(shared) {
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

fn check_flags(memory: &Mapping, mode: u64) {
    let uffd = uffd_with(0);
    let pages = memory.len() / PAGE;
    assert_eq!(shape(memory), [(0, pages, 0)]);
    register(&uffd, memory, mode).unwrap();
    assert_eq!(shape(memory), [(0, pages, mode)]);
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(memory), [(0, pages, 0)]);
}

fn flags_show_missing_mode() {
    check_flags(&Mapping::lone(3), MISSING);
}

fn flags_show_every_mode() {
    for mode in [
        MISSING,
        WP,
        MINOR,
        MISSING | WP,
        MISSING | MINOR,
        WP | MINOR,
        MISSING | WP | MINOR,
    ] {
        check_flags(&Mapping::shared(3), mode);
    }
}

fn part_of_a_mapping_splits_it() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(6);
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
    let memory = Mapping::lone(6);
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
    // Other descriptors keep mappings apart.
    let other = uffd_with(0);
    uffd.unregister(memory.page(0), PAGE).unwrap();
    other.register(memory.page(0), PAGE, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 1, MISSING), (1, 6, MISSING)]);
}

fn modes_keep_neighbours_apart() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(6);
    register(&uffd, &memory, MISSING).unwrap();
    uffd.register(memory.page(5), PAGE, MISSING | WP).unwrap();
    assert_eq!(shape(&memory), [(0, 5, MISSING), (5, 6, MISSING | WP)]);
}

fn range_may_span_mappings() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(4);
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
    let memory = Mapping::lone(5);
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
    let memory = Mapping::lone(3);
    memory.unmap(PAGE, PAGE);
    expect_errno(uffd.register(memory.page(1), PAGE, MISSING), Errno::EINVAL);
    expect_errno(uffd.unregister(memory.page(1), PAGE), Errno::EINVAL);
    assert_eq!(shape(&memory), [(0, 1, 0), (2, 3, 0)]);
}

fn unregister_passes_over_what_is_not_registered() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(5);
    uffd.register(memory.page(1), PAGE, MISSING).unwrap();
    uffd.register(memory.page(3), PAGE, MISSING).unwrap();
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(&memory), [(0, 5, 0)]);
}

fn unregister_takes_every_mode() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(5);
    for (page, mode) in [(0, MISSING), (2, WP), (3, MISSING | WP)] {
        uffd.register(memory.page(page), PAGE, mode).unwrap();
    }
    uffd.unregister(memory.start(), memory.len()).unwrap();
    assert_eq!(shape(&memory), [(0, 5, 0)]);
}

fn unregister_twice() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(1);
    assert_eq!(
        uffd.unregister(memory.start(), PAGE),
        Ok(()),
        "memory that could be registered"
    );
    register(&uffd, &memory, MISSING).unwrap();
    assert_eq!(uffd.unregister(memory.start(), PAGE), Ok(()));
    assert_eq!(uffd.unregister(memory.start(), PAGE), Ok(()));
}

fn registering_again_changes_nothing() {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(3);
    register(&uffd, &memory, MISSING).unwrap();
    for (page, pages) in [(1, 1), (0, 2), (0, 3)] {
        let answer = uffd.register(memory.page(page), pages * PAGE, MISSING);
        assert_eq!(answer, Ok(always()));
        assert_eq!(shape(&memory), [(0, 3, MISSING)]);
    }
}

fn registering_again_adds_modes() {
    let uffd = uffd_with(0);
    let memory = Mapping::shared(3);
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
    let memory = Mapping::shared(3);
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
    let memory = Mapping::lone(1);
    register(&uffd, &memory, MISSING | RWP).unwrap();
    assert_eq!(shape(&memory), [(0, 1, MISSING | RWP)]);
    for mode in [MISSING, WP, MISSING | WP] {
        expect_errno(register(&uffd, &memory, mode), Errno::EBUSY);
    }
    assert_eq!(shape(&memory), [(0, 1, MISSING | RWP)]);
}

fn rwp_excludes_wp() {
    let uffd = uffd_with(UFFD_FEATURE_RWP);
    let memory = Mapping::lone(1);
    expect_errno(register(&uffd, &memory, RWP | WP), Errno::EINVAL);
    expect_errno(register(&uffd, &memory, RWP | WP | MISSING), Errno::EINVAL);
    register(&uffd, &memory, WP).unwrap();
    expect_errno(register(&uffd, &memory, RWP), Errno::EBUSY);
}

fn rwp_needs_the_feature() {
    let uffd = uffd_with(0);
    expect_errno(register(&uffd, &Mapping::anon(1), RWP), Errno::EINVAL);
}

fn memory_of_another_descriptor_is_busy() {
    let (owner, other) = (uffd_with(0), uffd_with(0));
    let memory = Mapping::lone(3);
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

fn check_close(mode: u64) {
    let uffd = uffd_with(0);
    let memory = Mapping::lone(3);
    uffd.register(memory.page(1), PAGE, mode).unwrap();
    drop(uffd);
    assert_eq!(modes(&vmas(memory.page(1), memory.page(2))[0]), 0);
    let next = uffd_with(0);
    register(&next, &memory, MISSING).unwrap();
    assert_eq!(shape(&memory), [(0, 3, MISSING)]);
}

fn closing_gives_the_memory_up() {
    check_close(MISSING);
}

fn closing_gives_protected_memory_up() {
    check_close(MISSING | WP);
}

fn fork_drops_the_registration() {
    // Unless the feature EVENT_FORK was asked for: the child has the memory, and never waits.
    let uffd = uffd_with(0);
    let memory = Mapping::lone(3);
    memory.write(2 * PAGE, 3);
    uffd.register(memory.page(0), 2 * PAGE, MISSING).unwrap();
    let before = shape(&memory);
    let child = Child::spawn(|| {
        // It was split before, and nobody merges what a fork copies.
        assert_eq!(shape(&memory), [(0, 2, 0), (2, 3, 0)]);
        memory.write(0, 1);
        assert_eq!((memory.read(PAGE), memory.read(2 * PAGE)), (0, 3));
        // The descriptor is still about its maker's memory.
        uffd.zeropage(memory.page(1), PAGE, 0).unwrap();
    });
    child.expect_success();
    assert_eq!(shape(&memory), before);
    assert_eq!(memory.read(PAGE), 0);
    expect_errno(uffd.read(), Errno::EAGAIN);
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

fn check_mremap(mode: u64) {
    // Unless the feature EVENT_REMAP was asked for.
    let uffd = uffd_with(0);
    let memory = Mapping::anon(2);
    register(&uffd, &memory, mode).unwrap();
    let start = moved(memory);
    let found = vmas(start, start + 2 * PAGE);
    assert!(found.iter().all(|vma| modes(vma) == 0), "{found:?}");
    uffd.register(start, 2 * PAGE, MISSING).unwrap();
}

fn mremap_drops_the_registration() {
    check_mremap(MISSING);
}

fn mremap_drops_write_protection() {
    check_mremap(MISSING | WP);
}

fn mapping_over_drops_the_registration() {
    let uffd = uffd_with(0);
    let memory = Mapping::anon(3);
    register(&uffd, &memory, MISSING).unwrap();
    memory.map_over(1);
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
    memory.map_over(2);
    assert_eq!(shape(&memory)[..2], [(0, 2, MISSING), (2, 3, 0)]);
}
