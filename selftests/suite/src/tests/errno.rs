// SPDX-License-Identifier: GPL-2.0-only

//! Tables of what each request answers to what it is given, and which answer comes first.
//!
//! A filling request that fails a check of its argument leaves the result field alone; one that
//! fails on the memory puts the negated errno there.

use crate::harness::mem::{memfd, Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::raw::{Argument, UNTOUCHED};
use crate::harness::{tests, uffd_raw, Need};
use std::os::fd::AsFd;
use uffd::abi::*;
use uffd::{Errno, Uffd};
use Errno::{EEXIST, EFAULT, EINVAL, ENOENT};

tests! {
    api;
    register;
    unregister;
    wake;
    copy;
    zeropage;
    continue_;
    poison;
    move_;
    writeprotect;
    rwprotect [Need::Feature(UFFD_FEATURE_RWP)];
    set_mode [Need::Feature(UFFD_FEATURE_RWP_ASYNC)];
    set_mode_without_rwp [Need::Feature(UFFD_FEATURE_RWP_ASYNC)];
    huge_pages [Need::Hugetlb(3)];
}

/// Page 1: below what mmap(2) gives anybody.
const UNMAPPED: u64 = PAGE;
/// The first address that no x86-64 program can have, be it with four levels of page tables or five.
const USER_END: u64 = (1 << 56) - PAGE;
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// What a request answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Success; the result field, if there is one, holds this.
    Done(u64),
    /// An errno, and the result field is as before.
    Refused(Errno),
    /// An errno, and the result field holds it negated.
    Failed(Errno),
    /// EAGAIN, and the result field holds the bytes done.
    Partly(u64),
}
use Answer::{Done, Failed, Partly, Refused};

/// Memory in each state that makes a difference.
struct Scene {
    uffd: Uffd,
    argument: Argument,
    /// Four pages, registered for missing faults; page 2 is there.
    missing: Mapping,
    /// Two pages that are there, registered for write protection.
    protected: Mapping,
    /// Four pages of a file, registered for minor faults; the file has pages 0 and 1, and page 1
    /// is mapped.
    minor: Mapping,
    /// Two pages that are there, not registered.
    plain: Mapping,
    /// Two pages that are not there, not registered, with one that cannot be accessed between.
    hole: Mapping,
}

impl Scene {
    fn new() -> Scene {
        let offered = uffd_raw(0).api(0).unwrap().features;
        let uffd = uffd_raw(libc::O_NONBLOCK);
        uffd.api(offered & UFFD_FEATURE_RWP).unwrap();
        let missing = Mapping::anon(4);
        missing.write(2 * PAGE, 1);
        uffd.register(missing.start(), missing.len(), UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        let protected = Mapping::anon(2);
        protected.fill(0, 2 * PAGE, 1);
        uffd.register(protected.start(), protected.len(), UFFDIO_REGISTER_MODE_WP)
            .unwrap();
        let file = memfd(4);
        nix::sys::uio::pwrite(&file, &[1; 2 * PAGE as usize], 0).unwrap();
        let minor = Mapping::file(file.as_fd(), 4);
        // Without reading ahead: page 1 and no other.
        minor.advise(0, minor.len(), libc::MADV_RANDOM).unwrap();
        uffd.register(minor.start(), minor.len(), UFFDIO_REGISTER_MODE_MINOR)
            .unwrap();
        uffd.continue_pages(minor.page(1), PAGE, 0).unwrap();
        let plain = Mapping::anon(2);
        plain.fill(0, 2 * PAGE, 1);
        Scene {
            uffd,
            argument: Argument::new(),
            missing,
            protected,
            minor,
            plain,
            hole: Mapping::with_hole(),
        }
    }

    /// Makes the request and compares. `has_result` says that the last word is a result field.
    #[track_caller]
    fn expect(&self, what: &str, request: u64, words: &[u64], has_result: bool, want: Answer) {
        let mut given = words.to_vec();
        given.extend(has_result.then_some(UNTOUCHED));
        let (result, left) = self.argument.call(&self.uffd, request, &given);
        let (errno, field) = match want {
            Done(field) => (None, field),
            Refused(errno) => (Some(errno), UNTOUCHED),
            Failed(errno) => (Some(errno), (errno as u64).wrapping_neg()),
            Partly(bytes) => (Some(Errno::EAGAIN), bytes),
        };
        assert_eq!(result.err(), errno, "{what}: {words:x?}");
        let mut expected = words.to_vec();
        expected.extend(has_result.then_some(field));
        assert_eq!(left, expected, "{what}: what is left of the argument");
    }

    /// Tries every range that cannot be one, with a request built around it.
    #[track_caller]
    fn bad_ranges(
        &self,
        request: u64,
        has_result: bool,
        base: u64,
        words: impl Fn(u64, u64) -> Vec<u64>,
    ) {
        let ranges = [
            ("start not at a page", base + 1, PAGE),
            ("start not at a page by half", base + PAGE / 2, PAGE),
            ("length not of pages", base, PAGE + 1),
            ("length less than a page", base, 1),
            ("no length", base, 0),
            ("start beyond user space", USER_END, PAGE),
            ("end beyond user space", base, USER_END - base + PAGE),
            ("start in the kernel", KERNEL, PAGE),
            ("start at the last page", PAGE.wrapping_neg(), PAGE),
            ("end wraps around", base, PAGE.wrapping_neg()),
            ("end wraps to the start", base, base.wrapping_neg()),
            ("length with the sign bit", base, 1 << 63),
        ];
        for (what, start, len) in ranges {
            self.expect(
                what,
                request,
                &words(start, len),
                has_result,
                Refused(EINVAL),
            );
        }
    }

    /// Tries every mode bit that there is not.
    #[track_caller]
    fn bad_modes(
        &self,
        request: u64,
        has_result: bool,
        known: u64,
        words: impl Fn(u64) -> Vec<u64>,
    ) {
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| known & bit == 0) {
            self.expect(
                "unknown mode",
                request,
                &words(bit),
                has_result,
                Refused(EINVAL),
            );
            self.expect(
                "unknown mode",
                request,
                &words(bit | known),
                has_result,
                Refused(EINVAL),
            );
        }
    }

    /// Tries a row for each line of a table.
    #[track_caller]
    fn table(&self, request: u64, has_result: bool, rows: &[(&str, &[u64], Answer)]) {
        for (what, words, want) in rows {
            self.expect(what, request, words, has_result, *want);
        }
    }
}

fn api() {
    let argument = Argument::new();
    let uffd = uffd_raw(0);
    let all = uffd_raw(0).api(0).unwrap();
    let rows: [(&str, [u64; 3], Result<i32, Errno>); 5] = [
        ("no version", [0, 0, 1], Err(EINVAL)),
        ("next version", [UFFD_API + 1, 0, 1], Err(EINVAL)),
        ("unknown feature", [UFFD_API, 1 << 62, 1], Err(EINVAL)),
        (
            "all that is known and more",
            [UFFD_API, u64::MAX, 1],
            Err(EINVAL),
        ),
        ("all right", [UFFD_API, 0, 1], Ok(0)),
    ];
    for (what, words, want) in rows {
        let (result, left) = argument.call(&uffd, UFFDIO_API, &words);
        assert_eq!(result, want, "{what}");
        let answer = if want.is_ok() {
            vec![UFFD_API, all.features, all.ioctls]
        } else {
            vec![0; 3]
        };
        assert_eq!(left, answer, "{what}");
    }
    assert_eq!(
        argument.call(&uffd, UFFDIO_API, &[UFFD_API, 0, 1]),
        (Err(EINVAL), vec![0; 3]),
        "a second time"
    );
}

fn register() {
    let scene = Scene::new();
    let free = scene.plain.start();
    let missing = UFFDIO_REGISTER_MODE_MISSING;
    scene.bad_ranges(UFFDIO_REGISTER, true, free, |start, len| {
        vec![start, len, missing]
    });
    scene.bad_modes(UFFDIO_REGISTER, true, UFFD_API_REGISTER_MODES, |mode| {
        vec![free, PAGE, mode]
    });
    let answer = UFFD_API_RANGE_IOCTLS
        & !(1 << _UFFDIO_WRITEPROTECT | 1 << _UFFDIO_CONTINUE | 1 << _UFFDIO_RWPROTECT);
    scene.table(
        UFFDIO_REGISTER,
        true,
        &[
            ("no mode", &[free, PAGE, 0], Refused(EINVAL)),
            ("nothing there", &[UNMAPPED, PAGE, missing], Refused(EINVAL)),
            (
                "minor mode on private memory",
                &[free, PAGE, UFFDIO_REGISTER_MODE_MINOR],
                Refused(EINVAL),
            ),
            ("all right", &[free, PAGE, missing], Done(answer)),
            (
                "all right, with a gap before it",
                &[UNMAPPED, free + PAGE - UNMAPPED, 0],
                Refused(EINVAL),
            ),
        ],
    );
}

fn unregister() {
    let scene = Scene::new();
    let start = scene.missing.start();
    scene.bad_ranges(UFFDIO_UNREGISTER, false, start, |start, len| {
        vec![start, len]
    });
    scene.table(
        UFFDIO_UNREGISTER,
        false,
        &[
            ("nothing there", &[UNMAPPED, PAGE], Refused(EINVAL)),
            ("all right", &[start, 4 * PAGE], Done(0)),
            ("not registered any more", &[start, PAGE], Done(0)),
            ("never registered", &[scene.plain.start(), PAGE], Done(0)),
        ],
    );
}

fn wake() {
    let scene = Scene::new();
    scene.bad_ranges(UFFDIO_WAKE, false, scene.missing.start(), |start, len| {
        vec![start, len]
    });
    scene.table(
        UFFDIO_WAKE,
        false,
        &[
            ("all right", &[scene.missing.start(), 2 * PAGE], Done(0)),
            ("not registered", &[scene.plain.start(), PAGE], Done(0)),
            ("nothing there", &[UNMAPPED, PAGE], Done(0)),
            ("the first page", &[0, PAGE], Done(0)),
            ("all there can be", &[0, 0x7fff_ffff_f000], Done(0)),
        ],
    );
}

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
    scene.table(
        UFFDIO_COPY,
        true,
        &[
            (
                "source in the kernel",
                &[first, KERNEL, PAGE, 0],
                Refused(EINVAL),
            ),
            (
                "source beyond user space",
                &[first, USER_END, PAGE, 0],
                Refused(EINVAL),
            ),
            (
                "source that wraps around",
                &[first, PAGE.wrapping_neg() + 1, PAGE, 0],
                Refused(EINVAL),
            ),
            (
                "bad source before target",
                &[UNMAPPED, KERNEL, PAGE, 0],
                Refused(EINVAL),
            ),
            (
                "bad mode before target",
                &[UNMAPPED, from, PAGE, 4],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, from, PAGE, 0], Failed(ENOENT)),
            (
                "target not registered",
                &[from, from, PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "target longer than its mapping",
                &[first, from, 8 * PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "no target before no source",
                &[UNMAPPED, UNMAPPED, PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "no target before protection",
                &[UNMAPPED, from, PAGE, wp],
                Failed(ENOENT),
            ),
            (
                "protection of what cannot have it",
                &[first, from, PAGE, wp],
                Failed(EINVAL),
            ),
            (
                "protection before no source",
                &[first, UNMAPPED, PAGE, wp],
                Failed(EINVAL),
            ),
            (
                "protection before a present page",
                &[present, from, PAGE, wp],
                Failed(EINVAL),
            ),
            ("no source", &[first, UNMAPPED, PAGE, 0], Failed(EFAULT)),
            (
                "no source at address 0",
                &[first, 0, PAGE, 0],
                Failed(EFAULT),
            ),
            (
                "no source before a present page",
                &[present, UNMAPPED, PAGE, 0],
                Failed(EFAULT),
            ),
            (
                "a source that cannot be read",
                &[first, scene.hole.page(1), PAGE, 0],
                Failed(EFAULT),
            ),
            ("a present page", &[present, from, PAGE, 0], Failed(EEXIST)),
            (
                "a present page with DONTWAKE",
                &[present, from, PAGE, UFFDIO_COPY_MODE_DONTWAKE],
                Failed(EEXIST),
            ),
            (
                "all right until a present page",
                &[to.page(1), from, 2 * PAGE, 0],
                Partly(PAGE),
            ),
            (
                "all right until the source ends",
                &[first, scene.hole.page(0), 2 * PAGE, 0],
                Partly(PAGE),
            ),
            (
                "all right, and the source is anywhere",
                &[to.page(3), from + 5, PAGE, 0],
                Done(PAGE),
            ),
        ],
    );
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
    scene.table(
        UFFDIO_ZEROPAGE,
        true,
        &[
            (
                "bad mode before target",
                &[UNMAPPED, PAGE, 2],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
            (
                "target not registered",
                &[scene.plain.start(), PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "target longer than its mapping",
                &[to.start(), 8 * PAGE, 0],
                Failed(ENOENT),
            ),
            ("a present page", &[to.page(2), PAGE, 0], Failed(EEXIST)),
            (
                "all right until a present page",
                &[to.page(0), 4 * PAGE, 0],
                Partly(2 * PAGE),
            ),
            ("there now", &[to.page(0), PAGE, dontwake], Failed(EEXIST)),
            ("all right", &[to.page(3), PAGE, dontwake], Done(PAGE)),
        ],
    );
}

fn continue_() {
    let scene = Scene::new();
    let to = &scene.minor;
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
    scene.table(
        UFFDIO_CONTINUE,
        true,
        &[
            (
                "bad mode before target",
                &[UNMAPPED, PAGE, 4],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
            (
                "target not registered",
                &[scene.plain.start(), PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "private memory",
                &[scene.missing.start(), PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "private memory before a present page",
                &[scene.missing.page(2), PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "protection of what cannot have it",
                &[to.page(0), PAGE, wp],
                Failed(EINVAL),
            ),
            (
                "protection before no page in the file",
                &[to.page(2), PAGE, wp],
                Failed(EINVAL),
            ),
            ("mapped already", &[to.page(1), PAGE, 0], Failed(EEXIST)),
            (
                "no page in the file",
                &[to.page(2), PAGE, 0],
                Failed(EFAULT),
            ),
            (
                "all right until it is mapped already",
                &[to.page(0), 2 * PAGE, 0],
                Partly(PAGE),
            ),
            (
                "mapped now",
                &[to.page(0), PAGE, UFFDIO_CONTINUE_MODE_DONTWAKE],
                Failed(EEXIST),
            ),
        ],
    );
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
    scene.table(
        UFFDIO_POISON,
        true,
        &[
            (
                "bad mode before target",
                &[UNMAPPED, PAGE, 2],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, PAGE, 0], Failed(ENOENT)),
            (
                "target not registered",
                &[scene.plain.start(), PAGE, 0],
                Failed(ENOENT),
            ),
            ("a present page", &[to.page(2), PAGE, 0], Failed(EEXIST)),
            (
                "all right until a present page",
                &[to.page(0), 4 * PAGE, 0],
                Partly(2 * PAGE),
            ),
            ("poisoned now", &[to.page(0), PAGE, 0], Failed(EEXIST)),
            ("all right", &[to.page(3), PAGE, dontwake], Done(PAGE)),
        ],
    );
    // Poison counts as a page for zeroes, but a copy takes its place: the memory is good again.
    let source = scene.plain.start();
    scene.table(
        UFFDIO_ZEROPAGE,
        true,
        &[("zeroes over poison", &[to.page(0), PAGE, 0], Failed(EEXIST))],
    );
    scene.table(
        UFFDIO_COPY,
        true,
        &[(
            "a copy over poison",
            &[to.page(0), source, PAGE, 0],
            Done(PAGE),
        )],
    );
    assert_eq!(to.read(0), 1);
}

fn move_() {
    let scene = Scene::new();
    let (to, from) = (&scene.missing, &scene.plain);
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
    scene.table(
        UFFDIO_MOVE,
        true,
        &[
            (
                "bad mode before target",
                &[UNMAPPED, source, PAGE, 4],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, source, PAGE, 0], Failed(ENOENT)),
            ("no source", &[first, UNMAPPED, PAGE, 0], Failed(ENOENT)),
            (
                "no source for a target not registered",
                &[from.page(1), UNMAPPED, PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "target not registered",
                &[scene.hole.page(0), source, PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "target longer than its mapping",
                &[to.page(3), scene.protected.start(), 2 * PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "source longer than its mapping",
                &[first, from.page(1), 2 * PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "shared source",
                &[first, scene.minor.page(1), PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "shared target",
                &[scene.minor.page(2), source, PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "source that cannot be accessed",
                &[first, scene.hole.page(1), PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "a source page that is not there",
                &[first, to.page(1), PAGE, 0],
                Failed(ENOENT),
            ),
            (
                "a present page",
                &[to.page(2), source, PAGE, 0],
                Failed(EEXIST),
            ),
            (
                "a hole is fine if allowed",
                &[first, to.page(1), PAGE, holes],
                Done(PAGE),
            ),
            (
                "all right until a source page is not there",
                &[first, to.page(2), 2 * PAGE, 0],
                Partly(PAGE),
            ),
            (
                "all right",
                &[to.page(1), source, PAGE, dontwake],
                Done(PAGE),
            ),
            ("gone now", &[to.page(2), source, PAGE, 0], Failed(ENOENT)),
        ],
    );
}

/// The two requests that protect differ in name only.
fn protecting(scene: &Scene, request: u64, to: &Mapping) {
    let (protect, dontwake) = (
        UFFDIO_WRITEPROTECT_MODE_WP,
        UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
    );
    scene.bad_ranges(request, false, to.start(), |start, len| {
        vec![start, len, protect]
    });
    scene.bad_modes(request, false, protect | dontwake, |mode| {
        vec![to.start(), PAGE, mode]
    });
    scene.table(
        request,
        false,
        &[
            (
                "protecting wakes nobody anyway",
                &[to.start(), PAGE, protect | dontwake],
                Refused(EINVAL),
            ),
            (
                "bad mode before target",
                &[UNMAPPED, PAGE, 4],
                Refused(EINVAL),
            ),
            ("no target", &[UNMAPPED, PAGE, protect], Refused(ENOENT)),
            (
                "no target to unprotect",
                &[UNMAPPED, PAGE, 0],
                Refused(ENOENT),
            ),
            (
                "target not registered",
                &[scene.plain.start(), PAGE, protect],
                Refused(ENOENT),
            ),
            (
                "target registered for something else",
                &[scene.missing.start(), PAGE, protect],
                Refused(ENOENT),
            ),
            ("all right", &[to.start(), 2 * PAGE, protect], Done(0)),
            ("once more", &[to.start(), PAGE, protect], Done(0)),
            ("undone", &[to.start(), PAGE, 0], Done(0)),
            (
                "undone without waking",
                &[to.page(1), PAGE, dontwake],
                Done(0),
            ),
            (
                "undone though it was not protected",
                &[to.start(), PAGE, 0],
                Done(0),
            ),
        ],
    );
}

fn writeprotect() {
    let scene = Scene::new();
    protecting(&scene, UFFDIO_WRITEPROTECT, &scene.protected);
}

fn rwprotect() {
    let scene = Scene::new();
    let to = Mapping::anon(2);
    scene
        .uffd
        .register(to.start(), to.len(), UFFDIO_REGISTER_MODE_RWP)
        .unwrap();
    protecting(&scene, UFFDIO_RWPROTECT, &to);
    let protect = UFFDIO_RWPROTECT_MODE_RWP;
    let words = [scene.protected.start(), PAGE, protect];
    scene.expect(
        "registered for write protection",
        UFFDIO_RWPROTECT,
        &words,
        false,
        Refused(ENOENT),
    );
    let words = [to.start(), PAGE, protect];
    scene.expect(
        "registered for this only",
        UFFDIO_WRITEPROTECT,
        &words,
        false,
        Refused(ENOENT),
    );
}

fn set_mode() {
    let scene = Scene::new();
    let toggle = UFFD_FEATURE_RWP_ASYNC;
    for bit in (0..64).map(|bit| 1 << bit).filter(|&bit| bit != toggle) {
        for words in [[bit, 0], [0, bit], [bit | toggle, 0], [0, bit | toggle]] {
            scene.expect(
                "not to be switched",
                UFFDIO_SET_MODE,
                &words,
                false,
                Refused(EINVAL),
            );
        }
    }
    scene.table(
        UFFDIO_SET_MODE,
        false,
        &[
            ("both at once", &[toggle, toggle], Refused(EINVAL)),
            ("nothing", &[0, 0], Done(0)),
            ("on", &[toggle, 0], Done(0)),
            ("on again", &[toggle, 0], Done(0)),
            ("off", &[0, toggle], Done(0)),
            ("off again", &[0, toggle], Done(0)),
        ],
    );
}

fn set_mode_without_rwp() {
    let uffd = uffd_raw(0);
    uffd.api(0).unwrap();
    let scene = Scene {
        uffd,
        ..Scene::new()
    };
    let toggle = UFFD_FEATURE_RWP_ASYNC;
    scene.table(
        UFFDIO_SET_MODE,
        false,
        &[
            ("on", &[toggle, 0], Refused(EINVAL)),
            ("off, which it is", &[0, toggle], Done(0)),
        ],
    );
}

fn huge_pages() {
    let scene = Scene::new();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let to = Mapping::new(2 * HUGE_PAGE, RW, flags, None, 0).unwrap();
    let source = Mapping::anon(HUGE_PAGE / PAGE);
    let (start, from) = (to.start(), source.start());
    let mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    scene.uffd.register(start, to.len(), mode).unwrap();
    scene.table(
        UFFDIO_COPY,
        true,
        &[
            (
                "a part of a huge page",
                &[start, from, PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "from within a huge page",
                &[start + PAGE, from, HUGE_PAGE, 0],
                Failed(EINVAL),
            ),
            (
                "no source",
                &[start, UNMAPPED, HUGE_PAGE, 0],
                Failed(EFAULT),
            ),
            ("all right", &[start, from, HUGE_PAGE, 0], Done(HUGE_PAGE)),
            (
                "a present page",
                &[start, from, HUGE_PAGE, 0],
                Failed(EEXIST),
            ),
            (
                "a present page before no source",
                &[start, UNMAPPED, HUGE_PAGE, 0],
                Failed(EEXIST),
            ),
        ],
    );
    scene.table(
        UFFDIO_ZEROPAGE,
        true,
        &[(
            "there are no huge pages of zeroes",
            &[start + HUGE_PAGE, HUGE_PAGE, 0],
            Failed(EINVAL),
        )],
    );
    scene.table(
        UFFDIO_WRITEPROTECT,
        false,
        &[
            ("a part of a huge page", &[start, PAGE, 1], Refused(EINVAL)),
            (
                "from within a huge page",
                &[start + PAGE, HUGE_PAGE, 1],
                Refused(EINVAL),
            ),
            ("all right", &[start, HUGE_PAGE, 1], Done(0)),
        ],
    );
    scene.table(
        UFFDIO_MOVE,
        true,
        &[(
            "huge pages do not move",
            &[start + HUGE_PAGE, from, HUGE_PAGE, 0],
            Failed(EINVAL),
        )],
    );
}
