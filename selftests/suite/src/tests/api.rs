// SPDX-License-Identifier: GPL-2.0-only

//! Making a descriptor, and the handshake.

use crate::harness::env::fdinfo;
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::need::has_request;
use crate::harness::process::Child;
use crate::harness::{expect_errno, tests, uffd_raw, uffd_with, Need};
use nix::fcntl::{fcntl, FcntlArg};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Barrier};
use std::thread;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    syscall_takes_only_known_flags;
    device_makes_descriptors [Need::Root, Need::Path("/dev/userfaultfd")];
    descriptor_has_the_flags_asked_for;
    handshake_reports_what_there_is;
    wrong_version_is_refused;
    unknown_features_are_refused;
    rwp_async_needs_rwp [Need::Feature(UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC)];
    wp_async_brings_unpopulated_along [Need::Feature(UFFD_FEATURE_WP_ASYNC)];
    fork_event_needs_privilege [Need::Root];
    fork_event_is_for_the_privileged [
        Need::Feature(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE),
        Need::Root,
    ];
    handshake_succeeds_once;
    failed_handshake_can_be_repeated;
    unreadable_argument;
    unwritable_argument;
    nothing_works_before_the_handshake;
    unknown_requests_are_refused;
    racing_handshakes_have_one_winner [Need::Cpus(2)];
}

/// A structure that the kernel has to have written if it becomes zero.
fn request(api: u64, features: u64) -> UffdioApi {
    UffdioApi {
        api,
        features,
        ioctls: 0x5e5e,
    }
}

/// The features in effect, as fdinfo shows them.
fn enabled(uffd: &Uffd) -> u64 {
    let api = fdinfo(uffd).api;
    u64::from_str_radix(api.split(':').nth(1).expect("three parts"), 16).expect("a number")
}

/// The bit by which the kernel marks a descriptor whose handshake is done.
const INITIALIZED: u64 = 1 << 31;

/// Every request of the interface.
fn requests() -> impl Iterator<Item = u64> {
    let named = CONSTANTS
        .iter()
        .filter(|item| item.name.starts_with("UFFDIO_"));
    named
        .filter(|item| !item.name.contains("_MODE_"))
        .map(|item| item.value)
}

#[track_caller]
fn refused(uffd: &Uffd, mut arg: UffdioApi, want: Errno) {
    expect_errno(uffd.ioctl_api(&mut arg), want);
    assert_eq!(arg, UffdioApi::default(), "the structure is zeroed");
    assert_eq!(enabled(uffd), 0);
}

fn syscall_takes_only_known_flags() {
    let known = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY as i32;
    for bit in 0..32 {
        let flag = (1u32 << bit) as i32;
        if flag & known == 0 {
            expect_errno(Uffd::from_syscall(flag), Errno::EINVAL);
        }
    }
    Uffd::from_syscall(known).unwrap();
    Uffd::from_syscall(0).unwrap();
}

fn device_makes_descriptors() {
    let uffd = Uffd::from_device(libc::O_CLOEXEC | libc::O_NONBLOCK).unwrap();
    assert_eq!(uffd.api(0).unwrap(), uffd_raw(0).api(0).unwrap());
    expect_errno(uffd.read(), Errno::EAGAIN);
    for flag in [1 << 1, libc::O_APPEND, 1 << 30, i32::MIN] {
        expect_errno(Uffd::from_device(flag), Errno::EINVAL);
    }
    let device = std::fs::File::open("/dev/userfaultfd").unwrap();
    for request in [UFFDIO_API, USERFAULTFD_IOC_NEW + 1, 0] {
        // SAFETY: the kernel cannot write to address 0.
        let ret = Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), request, 0) });
        expect_errno(ret, Errno::EINVAL);
    }
}

fn descriptor_has_the_flags_asked_for() {
    for flags in [
        0,
        libc::O_CLOEXEC,
        libc::O_NONBLOCK,
        libc::O_CLOEXEC | libc::O_NONBLOCK,
    ] {
        let uffd = Uffd::from_syscall(flags).unwrap();
        let status = fcntl(&uffd, FcntlArg::F_GETFL).unwrap();
        assert_eq!(status & libc::O_NONBLOCK, flags & libc::O_NONBLOCK);
        assert_eq!(status & libc::O_ACCMODE, libc::O_RDONLY);
        let descriptor = fcntl(&uffd, FcntlArg::F_GETFD).unwrap();
        assert_eq!(descriptor != 0, flags & libc::O_CLOEXEC != 0);
        expect_errno(nix::unistd::write(&uffd, &[0; 32]), Errno::EBADF);
        assert_eq!(
            nix::unistd::lseek(&uffd, 4, nix::unistd::Whence::SeekSet),
            Ok(0)
        );
    }
}

fn handshake_reports_what_there_is() {
    let api = uffd_raw(0).api(0).unwrap();
    assert_eq!(api.api, UFFD_API);
    assert_eq!(
        api.features & !UFFD_API_FEATURES,
        0,
        "features this suite does not know"
    );
    let always = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS;
    assert_eq!(api.features & always, always);
    // UFFDIO_SET_MODE came together with the features it switches.
    let set_mode = if api.features & UFFD_FEATURE_RWP_ASYNC == 0 {
        1 << _UFFDIO_SET_MODE
    } else {
        0
    };
    assert_eq!(api.ioctls, UFFD_API_IOCTLS & !set_mode);

    // What is asked for changes what is enabled, not the answer.
    let uffd = uffd_raw(0);
    assert_eq!(uffd.api(UFFD_FEATURE_THREAD_ID).unwrap(), api);
    assert_eq!(enabled(&uffd), INITIALIZED | UFFD_FEATURE_THREAD_ID);
    // All that is offered can be had.
    let uffd = uffd_raw(0);
    let features = api.features & !UFFD_FEATURE_EVENT_FORK;
    uffd.api(features).unwrap();
    assert_eq!(enabled(&uffd), INITIALIZED | features);
}

fn wrong_version_is_refused() {
    let uffd = uffd_raw(0);
    for version in [0, UFFD_API - 1, UFFD_API + 1, UFFD_API | 1 << 32, u64::MAX] {
        refused(&uffd, request(version, 0), Errno::EINVAL);
    }
}

fn unknown_features_are_refused() {
    let have = uffd_raw(0).api(0).unwrap().features;
    let uffd = uffd_raw(0);
    for bit in (0..64).map(|bit| 1 << bit).filter(|bit| have & bit == 0) {
        refused(&uffd, request(UFFD_API, bit), Errno::EINVAL);
        refused(
            &uffd,
            request(UFFD_API, bit | UFFD_FEATURE_SIGBUS),
            Errno::EINVAL,
        );
    }
}

fn rwp_async_needs_rwp() {
    let uffd = uffd_raw(0);
    refused(
        &uffd,
        request(UFFD_API, UFFD_FEATURE_RWP_ASYNC),
        Errno::EINVAL,
    );
    uffd.api(UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC).unwrap();
}

fn wp_async_brings_unpopulated_along() {
    let uffd = uffd_raw(0);
    uffd.api(UFFD_FEATURE_WP_ASYNC).unwrap();
    assert_eq!(
        enabled(&uffd),
        INITIALIZED | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED
    );
}

/// Runs a function without privilege, with a descriptor made before.
fn as_nobody(body: impl FnOnce(&Uffd)) {
    let child = Child::spawn(|| {
        let uffd = uffd_raw(0);
        let nobody = nix::unistd::Uid::from_raw(65534);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        body(&uffd);
    });
    child.expect_success();
}

fn fork_event_needs_privilege() {
    // The privilege is asked for before it is known whether there is such a feature.
    as_nobody(|uffd| {
        refused(
            uffd,
            request(UFFD_API, UFFD_FEATURE_EVENT_FORK),
            Errno::EPERM,
        );
        // The version is looked at before the privilege, and the privilege before other features.
        refused(
            uffd,
            request(UFFD_API + 1, UFFD_FEATURE_EVENT_FORK),
            Errno::EINVAL,
        );
        refused(
            uffd,
            request(UFFD_API, UFFD_FEATURE_EVENT_FORK | 1 << 63),
            Errno::EPERM,
        );
        refused(
            uffd,
            request(UFFD_API, UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_RWP_ASYNC),
            Errno::EPERM,
        );
        uffd.api(UFFD_FEATURE_THREAD_ID).unwrap();
    });
}

fn fork_event_is_for_the_privileged() {
    uffd_raw(0).api(UFFD_FEATURE_EVENT_FORK).unwrap();
    // Other events are for everybody.
    as_nobody(|uffd| {
        uffd.api(UFFD_FEATURE_EVENT_REMOVE).unwrap();
    });
}

fn handshake_succeeds_once() {
    let uffd = uffd_with(UFFD_FEATURE_THREAD_ID);
    let mut arg = request(UFFD_API, UFFD_FEATURE_SIGBUS);
    expect_errno(uffd.ioctl_api(&mut arg), Errno::EINVAL);
    assert_eq!(arg, UffdioApi::default(), "the structure is zeroed");
    assert_eq!(enabled(&uffd), INITIALIZED | UFFD_FEATURE_THREAD_ID);
}

fn failed_handshake_can_be_repeated() {
    let uffd = uffd_raw(0);
    refused(&uffd, request(0, 0), Errno::EINVAL);
    refused(&uffd, request(UFFD_API, 1 << 63), Errno::EINVAL);
    uffd.api(0).unwrap();
}

/// The handshake with a structure in a mapping.
fn api_at(uffd: &Uffd, mapping: &Mapping, offset: u64) -> Result<i32, Errno> {
    // SAFETY: the structure lies in the mapping, which no reference points into.
    unsafe { uffd.ioctl(UFFDIO_API, (mapping.start() + offset) as usize) }
}

fn unreadable_argument() {
    let uffd = uffd_raw(0);
    let memory = Mapping::with_hole();
    memory.write_bytes(PAGE - 16, &UFFD_API.to_le_bytes());
    // Unlike the other requests, this one reads the whole structure.
    for offset in [PAGE - 16, PAGE, 2 * PAGE - 8] {
        expect_errno(api_at(&uffd, &memory, offset), Errno::EFAULT);
    }
    // SAFETY: these are not addresses of memory that can be written.
    expect_errno(unsafe { uffd.ioctl(UFFDIO_API, 0) }, Errno::EFAULT);
    // SAFETY: as above.
    expect_errno(
        unsafe { uffd.ioctl(UFFDIO_API, usize::MAX & !7) },
        Errno::EFAULT,
    );
    assert_eq!(enabled(&uffd), 0);
    uffd.api(0).unwrap();
}

fn unwritable_argument() {
    let uffd = uffd_raw(0);
    let memory = Mapping::anon(1);
    memory.write_bytes(0, &UFFD_API.to_le_bytes());
    memory.write_bytes(64, &(UFFD_API + 1).to_le_bytes());
    memory.protect(0, PAGE, libc::PROT_READ).unwrap();
    expect_errno(api_at(&uffd, &memory, 0), Errno::EFAULT);
    // Not being able to zero the structure outweighs the wrong version.
    expect_errno(api_at(&uffd, &memory, 64), Errno::EFAULT);
    // Nothing was enabled by a handshake that the program saw fail.
    assert_eq!(enabled(&uffd), 0);
    uffd.api(0).unwrap();
}

fn nothing_works_before_the_handshake() {
    let memory = Mapping::anon(1);
    for flags in [0, libc::O_NONBLOCK] {
        let uffd = uffd_raw(flags);
        for request in requests().filter(|&request| request != UFFDIO_API) {
            // Not even the argument is looked at.
            // SAFETY: the kernel cannot write to address 0.
            expect_errno(unsafe { uffd.ioctl(request, 0) }, Errno::EINVAL);
        }
        expect_errno(
            uffd.register(memory.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING),
            Errno::EINVAL,
        );
        expect_errno(uffd.unregister(memory.start(), PAGE), Errno::EINVAL);
        expect_errno(uffd.set_mode(0, 0), Errno::EINVAL);
        expect_errno(uffd.read(), Errno::EINVAL);
        expect_errno(uffd.read_many(&mut [UffdMsg::default(); 2]), Errno::EINVAL);
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::NONE), Ok(1));
        assert_eq!(fds[0].revents(), Some(PollFlags::POLLERR));
    }
}

fn unknown_requests_are_refused() {
    let uffd = uffd_with(0);
    let known: Vec<u64> = requests().filter(|&request| has_request(request)).collect();
    for nr in 0..=0xff {
        for dir in 0..4 {
            for size in [0, 8, 16, 24, 32, 40] {
                let request = dir << 30 | size << 16 | UFFDIO << 8 | nr;
                if !known.contains(&request) {
                    // SAFETY: the kernel cannot write to address 0.
                    expect_errno(unsafe { uffd.ioctl(request, 0) }, Errno::EINVAL);
                }
            }
        }
    }
    // Another type with a number and size that exist.
    // SAFETY: as above.
    expect_errno(unsafe { uffd.ioctl(UFFDIO_COPY ^ 0x100, 0) }, Errno::EINVAL);
}

fn racing_handshakes_have_one_winner() {
    const THREADS: u64 = 4;
    const ROUNDS: u32 = 200;
    for _ in 0..ROUNDS {
        let uffd = Arc::new(uffd_raw(0));
        let start = Arc::new(Barrier::new(THREADS as usize));
        // Each asks for another set, so that the winner is known by what is enabled.
        let wanted = |index: u64| index << UFFD_FEATURE_SIGBUS.trailing_zeros();
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let (uffd, start) = (Arc::clone(&uffd), Arc::clone(&start));
                thread::spawn(move || {
                    let mut arg = request(UFFD_API, wanted(index));
                    start.wait();
                    (uffd.ioctl_api(&mut arg), arg)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for (index, thread) in (0..).zip(threads) {
            match thread.join().unwrap() {
                (Ok(()), arg) => {
                    assert_eq!(arg.api, UFFD_API);
                    winners.push(index);
                }
                (Err(errno), arg) => {
                    assert_eq!((errno, arg), (Errno::EINVAL, UffdioApi::default()));
                }
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(enabled(&uffd), INITIALIZED | wanted(winners[0]));
    }
}
