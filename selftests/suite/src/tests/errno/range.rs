// SPDX-License-Identifier: GPL-2.0-only

//! The handshake, and the requests that do not fill.

use super::super::register::always;
use super::Answer::{Done, Refused};
use super::{Scene, Table, UNMAPPED};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::raw::Argument;
use crate::harness::{tests, uffd_raw, Need};
use uffd::abi::*;
use uffd::Errno::{self, EINVAL, ENOENT};

tests! {
    api;
    register;
    unregister;
    wake;
    writeprotect [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP)];
    rwprotect [Need::Feature(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_RWP)];
    set_mode [Need::Feature(UFFD_FEATURE_RWP_ASYNC)];
    set_mode_without_rwp [Need::Feature(UFFD_FEATURE_RWP_ASYNC)];
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
    #[rustfmt::skip]
    let rows: Table = &[
        ("no mode", &[free, PAGE, 0], Refused(EINVAL)),
        ("nothing there", &[UNMAPPED, PAGE, missing], Refused(EINVAL)),
        ("minor mode on private memory", &[free, PAGE, UFFDIO_REGISTER_MODE_MINOR], Refused(EINVAL)),
        ("all right", &[free, PAGE, missing], Done(always())),
        ("all right, with a gap before it", &[UNMAPPED, free + PAGE - UNMAPPED, 0], Refused(EINVAL)),
    ];
    scene.table(UFFDIO_REGISTER, true, rows);
}

fn unregister() {
    let scene = Scene::new();
    let start = scene.missing.start();
    scene.bad_ranges(UFFDIO_UNREGISTER, false, start, |start, len| {
        vec![start, len]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("nothing there", &[UNMAPPED, PAGE], Refused(EINVAL)),
        ("all right", &[start, 4 * PAGE], Done(0)),
        ("not registered any more", &[start, PAGE], Done(0)),
        ("never registered", &[scene.plain.start(), PAGE], Done(0)),
    ];
    scene.table(UFFDIO_UNREGISTER, false, rows);
}

fn wake() {
    let scene = Scene::new();
    scene.bad_ranges(UFFDIO_WAKE, false, scene.missing.start(), |start, len| {
        vec![start, len]
    });
    #[rustfmt::skip]
    let rows: Table = &[
        ("all right", &[scene.missing.start(), 2 * PAGE], Done(0)),
        ("not registered", &[scene.plain.start(), PAGE], Done(0)),
        ("nothing there", &[UNMAPPED, PAGE], Done(0)),
        ("the first page", &[0, PAGE], Done(0)),
        ("all there can be", &[0, 0x7fff_ffff_f000], Done(0)),
    ];
    scene.table(UFFDIO_WAKE, false, rows);
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
    #[rustfmt::skip]
    let rows: Table = &[
        ("protecting wakes nobody anyway", &[to.start(), PAGE, protect | dontwake], Refused(EINVAL)),
        ("bad mode before target", &[UNMAPPED, PAGE, 4], Refused(EINVAL)),
        ("no target", &[UNMAPPED, PAGE, protect], Refused(ENOENT)),
        ("no target to unprotect", &[UNMAPPED, PAGE, 0], Refused(ENOENT)),
        ("target not registered", &[scene.plain.start(), PAGE, protect], Refused(ENOENT)),
        ("target registered for something else", &[scene.missing.start(), PAGE, protect], Refused(ENOENT)),
        ("all right", &[to.start(), 2 * PAGE, protect], Done(0)),
        ("once more", &[to.start(), PAGE, protect], Done(0)),
        ("undone", &[to.start(), PAGE, 0], Done(0)),
        ("undone without waking", &[to.page(1), PAGE, dontwake], Done(0)),
        ("undone though it was not protected", &[to.start(), PAGE, 0], Done(0)),
    ];
    scene.table(request, false, rows);
}

fn writeprotect() {
    let scene = Scene::new();
    let to = scene.protected();
    protecting(&scene, UFFDIO_WRITEPROTECT, &to);
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
    let protected = scene.protected();
    let words = [protected.start(), PAGE, protect];
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
    #[rustfmt::skip]
    let rows: Table = &[
        ("both at once", &[toggle, toggle], Refused(EINVAL)),
        ("nothing", &[0, 0], Done(0)),
        ("on", &[toggle, 0], Done(0)),
        ("on again", &[toggle, 0], Done(0)),
        ("off", &[0, toggle], Done(0)),
        ("off again", &[0, toggle], Done(0)),
    ];
    scene.table(UFFDIO_SET_MODE, false, rows);
}

fn set_mode_without_rwp() {
    let uffd = uffd_raw(0);
    uffd.api(0).unwrap();
    let scene = Scene {
        uffd,
        ..Scene::new()
    };
    let toggle = UFFD_FEATURE_RWP_ASYNC;
    #[rustfmt::skip]
    let rows: Table = &[
        ("on", &[toggle, 0], Refused(EINVAL)),
        ("off, which it is", &[0, toggle], Done(0)),
    ];
    scene.table(UFFDIO_SET_MODE, false, rows);
}
