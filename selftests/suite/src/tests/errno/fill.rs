// SPDX-License-Identifier: GPL-2.0-only

//! The requests that fill missing pages.

use super::Answer::{Done, Failed, Partly, Refused};
use super::{Scene, Table, KERNEL, UNMAPPED, USER_END};
use crate::harness::mem::{Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::{tests, Need};
use uffd::abi::*;
use uffd::Errno::{EEXIST, EFAULT, EINVAL, ENOENT};

tests! {
    copy;
    zeropage;
    continue_ [Need::Feature(UFFD_FEATURE_MINOR_SHMEM)];
    poison [Need::Feature(UFFD_FEATURE_POISON)];
    move_ [Need::Feature(
        UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MINOR_SHMEM
    )];
    huge_pages [Need::Feature(HUGE), Need::Hugetlb(3)];
}

const HUGE: u64 = UFFD_FEATURE_MISSING_HUGETLBFS
    | UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | UFFD_FEATURE_WP_HUGETLBFS_SHMEM
    | UFFD_FEATURE_MOVE;

fn copy() {
    let scene = Scene::new();
    let (to, from) = (&scene.missing, scene.plain.start());
    let (first, present) = (to.page(0), to.page(2));
    let wp = UFFDIO_COPY_MODE_WP;
    scene.bad_ranges(UFFDIO_COPY, true, first, |start, len| {
        vec![start, from, len, 0]
    });
    scene.bad_modes(UFFDIO_COPY, true, UFFDIO_COPY_MODE_DONTWAKE | wp, |mode| {
        vec![first, from, PAGE, mode]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("source in the kernel", &[first, KERNEL, PAGE, 0], Refused(EINVAL)),
        ("source beyond user space", &[first, USER_END, PAGE, 0], Refused(EINVAL)),
        ("source that wraps around", &[first, PAGE.wrapping_neg() + 1, PAGE, 0], Refused(EINVAL)),
        ("bad source before target", &[UNMAPPED, KERNEL, PAGE, 0], Refused(EINVAL)),
        ("bad mode before target", &[UNMAPPED, from, PAGE, 4], Refused(EINVAL)),
        ("no target", &[UNMAPPED, from, PAGE, 0], Failed(ENOENT)),
        ("target not registered", &[from, from, PAGE, 0], Failed(ENOENT)),
        ("target longer than its mapping", &[first, from, 8 * PAGE, 0], Failed(ENOENT)),
        ("no target before no source", &[UNMAPPED, UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("no target before protection", &[UNMAPPED, from, PAGE, wp], Failed(ENOENT)),
        ("protection of what cannot have it", &[first, from, PAGE, wp], Failed(EINVAL)),
        ("protection before no source", &[first, UNMAPPED, PAGE, wp], Failed(EINVAL)),
        ("protection before a present page", &[present, from, PAGE, wp], Failed(EINVAL)),
        ("no source", &[first, UNMAPPED, PAGE, 0], Failed(EFAULT)),
        ("no source at address 0", &[first, 0, PAGE, 0], Failed(EFAULT)),
        ("no source before a present page", &[present, UNMAPPED, PAGE, 0], Failed(EFAULT)),
        ("a source that cannot be read", &[first, scene.hole.page(1), PAGE, 0], Failed(EFAULT)),
        ("a present page", &[present, from, PAGE, 0], Failed(EEXIST)),
        ("a present page with DONTWAKE", &[present, from, PAGE, UFFDIO_COPY_MODE_DONTWAKE], Failed(EEXIST)),
        ("all right until a present page", &[to.page(1), from, 2 * PAGE, 0], Partly(PAGE)),
        ("all right until the source ends", &[first, scene.hole.page(0), 2 * PAGE, 0], Partly(PAGE)),
        ("all right, and the source is anywhere", &[to.page(3), from + 5, PAGE, 0], Done(PAGE)),
    ];
    scene.table(UFFDIO_COPY, true, rows);
}

fn zeropage() {
    let scene = Scene::new();
    let to = &scene.missing;
    let dontwake = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
    scene.bad_ranges(UFFDIO_ZEROPAGE, true, to.start(), |start, len| {
        vec![start, len, 0]
    });
    scene.bad_modes(UFFDIO_ZEROPAGE, true, dontwake, |mode| {
        vec![to.start(), PAGE, mode]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("bad mode before target", &[UNMAPPED, PAGE, 2], Refused(EINVAL)),
        ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("target not registered", &[scene.plain.start(), PAGE, 0], Failed(ENOENT)),
        ("target longer than its mapping", &[to.start(), 8 * PAGE, 0], Failed(ENOENT)),
        ("a present page", &[to.page(2), PAGE, 0], Failed(EEXIST)),
        ("all right until a present page", &[to.page(0), 4 * PAGE, 0], Partly(2 * PAGE)),
        ("there now", &[to.page(0), PAGE, dontwake], Failed(EEXIST)),
        ("all right", &[to.page(3), PAGE, dontwake], Done(PAGE)),
    ];
    scene.table(UFFDIO_ZEROPAGE, true, rows);
}

fn continue_() {
    let scene = Scene::new();
    let to = &scene.minor();
    let wp = UFFDIO_CONTINUE_MODE_WP;
    scene.bad_ranges(UFFDIO_CONTINUE, true, to.start(), |start, len| {
        vec![start, len, 0]
    });
    scene.bad_modes(
        UFFDIO_CONTINUE,
        true,
        UFFDIO_CONTINUE_MODE_DONTWAKE | wp,
        |mode| vec![to.start(), PAGE, mode],
    );
    #[rustfmt::skip]
    let rows: Table = &[
        ("bad mode before target", &[UNMAPPED, PAGE, 4], Refused(EINVAL)),
        ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("target not registered", &[scene.plain.start(), PAGE, 0], Failed(ENOENT)),
        ("private memory", &[scene.missing.start(), PAGE, 0], Failed(EINVAL)),
        ("private memory before a present page", &[scene.missing.page(2), PAGE, 0], Failed(EINVAL)),
        ("protection of what cannot have it", &[to.page(0), PAGE, wp], Failed(EINVAL)),
        ("protection before no page in the file", &[to.page(2), PAGE, wp], Failed(EINVAL)),
        ("mapped already", &[to.page(1), PAGE, 0], Failed(EEXIST)),
        ("no page in the file", &[to.page(2), PAGE, 0], Failed(EFAULT)),
        ("all right until it is mapped already", &[to.page(0), 2 * PAGE, 0], Partly(PAGE)),
        ("mapped now", &[to.page(0), PAGE, UFFDIO_CONTINUE_MODE_DONTWAKE], Failed(EEXIST)),
    ];
    scene.table(UFFDIO_CONTINUE, true, rows);
}

fn poison() {
    let scene = Scene::new();
    let to = &scene.missing;
    let dontwake = UFFDIO_POISON_MODE_DONTWAKE;
    scene.bad_ranges(UFFDIO_POISON, true, to.start(), |start, len| {
        vec![start, len, 0]
    });
    scene.bad_modes(UFFDIO_POISON, true, dontwake, |mode| {
        vec![to.start(), PAGE, mode]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("bad mode before target", &[UNMAPPED, PAGE, 2], Refused(EINVAL)),
        ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("target not registered", &[scene.plain.start(), PAGE, 0], Failed(ENOENT)),
        ("a present page", &[to.page(2), PAGE, 0], Failed(EEXIST)),
        ("all right until a present page", &[to.page(0), 4 * PAGE, 0], Partly(2 * PAGE)),
        ("poisoned now", &[to.page(0), PAGE, 0], Failed(EEXIST)),
        ("all right", &[to.page(3), PAGE, dontwake], Done(PAGE)),
    ];
    scene.table(UFFDIO_POISON, true, rows);
    // Poison counts as a page for zeroes, but a copy takes its place: the memory is good again.
    let source = scene.plain.start();
    #[rustfmt::skip]
    let rows: Table = &[
        ("zeroes over poison", &[to.page(0), PAGE, 0], Failed(EEXIST)),
    ];
    scene.table(UFFDIO_ZEROPAGE, true, rows);
    #[rustfmt::skip]
    let rows: Table = &[
        ("a copy over poison", &[to.page(0), source, PAGE, 0], Done(PAGE)),
    ];
    scene.table(UFFDIO_COPY, true, rows);
    assert_eq!(to.read(0), 1);
}

fn move_() {
    let scene = Scene::new();
    let (to, from) = (&scene.missing, &scene.plain);
    let (protected, minor) = (scene.protected(), scene.minor());
    let (first, source) = (to.page(0), from.page(0));
    let (dontwake, holes) = (UFFDIO_MOVE_MODE_DONTWAKE, UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES);
    scene.bad_ranges(UFFDIO_MOVE, true, first, |start, len| {
        vec![start, source, len, 0]
    });
    scene.bad_ranges(UFFDIO_MOVE, true, source, |start, len| {
        vec![first, start, len, 0]
    });
    scene.bad_modes(UFFDIO_MOVE, true, dontwake | holes, |mode| {
        vec![first, source, PAGE, mode]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("bad mode before target", &[UNMAPPED, source, PAGE, 4], Refused(EINVAL)),
        ("no target", &[UNMAPPED, source, PAGE, 0], Failed(ENOENT)),
        ("no source", &[first, UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("no source for a target not registered", &[from.page(1), UNMAPPED, PAGE, 0], Failed(ENOENT)),
        ("target not registered", &[scene.hole.page(0), source, PAGE, 0], Failed(EINVAL)),
        ("target longer than its mapping", &[to.page(3), protected.start(), 2 * PAGE, 0], Failed(EINVAL)),
        ("source longer than its mapping", &[first, from.page(1), 2 * PAGE, 0], Failed(EINVAL)),
        ("shared source", &[first, minor.page(1), PAGE, 0], Failed(EINVAL)),
        ("shared target", &[minor.page(2), source, PAGE, 0], Failed(EINVAL)),
        ("source that cannot be accessed", &[first, scene.hole.page(1), PAGE, 0], Failed(EINVAL)),
        ("a source page that is not there", &[first, to.page(1), PAGE, 0], Failed(ENOENT)),
        ("a present page", &[to.page(2), source, PAGE, 0], Failed(EEXIST)),
        ("a hole is fine if allowed", &[first, to.page(1), PAGE, holes], Done(PAGE)),
        ("all right until a source page is not there", &[first, to.page(2), 2 * PAGE, 0], Partly(PAGE)),
        ("all right", &[to.page(1), source, PAGE, dontwake], Done(PAGE)),
        ("gone now", &[to.page(2), source, PAGE, 0], Failed(ENOENT)),
    ];
    scene.table(UFFDIO_MOVE, true, rows);
}

fn huge_pages() {
    let scene = Scene::new();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let to = Mapping::new(2 * HUGE_PAGE, RW, flags, None, 0).unwrap();
    let source = Mapping::anon(HUGE_PAGE / PAGE);
    let (start, from) = (to.start(), source.start());
    let mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    scene.uffd.register(start, to.len(), mode).unwrap();
    #[rustfmt::skip]
    let rows: Table = &[
        ("a part of a huge page", &[start, from, PAGE, 0], Failed(EINVAL)),
        ("from within a huge page", &[start + PAGE, from, HUGE_PAGE, 0], Failed(EINVAL)),
        ("no source", &[start, UNMAPPED, HUGE_PAGE, 0], Failed(EFAULT)),
        ("all right", &[start, from, HUGE_PAGE, 0], Done(HUGE_PAGE)),
        ("a present page", &[start, from, HUGE_PAGE, 0], Failed(EEXIST)),
        ("a present page before no source", &[start, UNMAPPED, HUGE_PAGE, 0], Failed(EEXIST)),
    ];
    scene.table(UFFDIO_COPY, true, rows);
    #[rustfmt::skip]
    let rows: Table = &[
        ("there are no huge pages of zeroes", &[start + HUGE_PAGE, HUGE_PAGE, 0], Failed(EINVAL)),
    ];
    scene.table(UFFDIO_ZEROPAGE, true, rows);
    #[rustfmt::skip]
    let rows: Table = &[
        ("a part of a huge page", &[start, PAGE, 1], Refused(EINVAL)),
        ("from within a huge page", &[start + PAGE, HUGE_PAGE, 1], Refused(EINVAL)),
        ("all right", &[start, HUGE_PAGE, 1], Done(0)),
    ];
    scene.table(UFFDIO_WRITEPROTECT, false, rows);
    #[rustfmt::skip]
    let rows: Table = &[
        ("huge pages do not move", &[start + HUGE_PAGE, from, HUGE_PAGE, 0], Failed(EINVAL)),
    ];
    scene.table(UFFDIO_MOVE, true, rows);
}
