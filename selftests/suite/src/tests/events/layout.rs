// SPDX-License-Identifier: GPL-2.0-only

//! What is told of mremap, madvise and munmap.

use super::*;
use crate::harness::kind::Kind;
use crate::harness::managed::{next_event, Managed};
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_with, user, Need};
use nix::fcntl::{fallocate, FallocateFlags};
use nix::sys::resource::{setrlimit, Resource, RLIM_INFINITY};
use std::os::fd::AsFd;
use std::sync::Arc;
use uffd::{Errno, Event, Uffd};

tests! {
    remap_is_told_of_what_has_moved [Need::Feature(REMAP)];
    remap_that_grows_tells_the_old_length [Need::Feature(REMAP)];
    remap_in_place_is_not_told [Need::Feature(REMAP)];
    remap_tells_of_all_that_it_unmaps [Need::Feature(REMAP | UNMAP)];
    remap_that_leaves_the_old_place [Need::Feature(REMAP | UNMAP)];
    fix_0496a59745b0_failed_remap_is_over [Need::Feature(REMAP | UNMAP)];
    remove_is_told_before_it_happens [Need::Feature(REMOVE)];
    remove_by_every_advice [Need::Feature(REMOVE | UFFD_FEATURE_MISSING_SHMEM)];
    remove_is_told_by_mapping [Need::Feature(REMOVE)];
    remove_of_what_is_gone_by_then [Need::Feature(REMOVE)];
    hole_punched_through_the_file_is_not_told [Need::Feature(REMOVE | UFFD_FEATURE_MISSING_SHMEM)];
    unmap_is_told_when_it_is_done [Need::Feature(UNMAP)];
    unmap_is_told_once_for_many_mappings [Need::Feature(UNMAP)];
    unmap_is_told_to_each_descriptor [Need::Feature(UNMAP)];
    unmap_by_other_calls [Need::Feature(UNMAP)];
    events_are_told_to_who_asked [Need::Feature(EVENTS)];
}

fn remap_is_told_of_what_has_moved() {
    let uffd = uffd_with(REMAP);
    let (from, to) = (
        registered(Mapping::lone(2), &uffd),
        Arc::new(Mapping::lone(2)),
    );
    fill(&uffd, from.page(0), 7);
    let changer = moving(&from, &to, 0);
    // It has happened by now.
    assert_eq!(to.read(0), 7);
    expect(
        &uffd,
        UFFD_EVENT_REMAP,
        [from.start(), to.start(), 2 * PAGE],
    );
    assert_eq!(changer.join(), Ok(to.start()));
    expect_served(&uffd, &to, 1);
    expect_silence(&uffd);
    std::mem::forget(from);
}

fn remap_that_grows_tells_the_old_length() {
    let uffd = uffd_with(REMAP);
    let (from, to) = (
        registered(Mapping::lone(1), &uffd),
        Arc::new(Mapping::lone(3)),
    );
    let changer = moving(&from, &to, 0);
    expect(&uffd, UFFD_EVENT_REMAP, [from.start(), to.start(), PAGE]);
    assert_eq!(changer.join(), Ok(to.start()));
    // What is new is registered as well.
    for page in 0..3 {
        expect_served(&uffd, &to, page);
    }
    std::mem::forget(from);
}

fn remap_in_place_is_not_told() {
    let uffd = uffd_with(REMAP);
    let room = Mapping::lone(3);
    room.unmap(PAGE, 2 * PAGE);
    let target = Arc::new(room);
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    for (len, new_len) in [(PAGE, 3 * PAGE), (3 * PAGE, 2 * PAGE)] {
        assert_eq!(
            user::remap(target.start(), len, new_len, None),
            Ok(target.start())
        );
        expect_silence(&uffd);
    }
    expect_served(&uffd, &target, 1);
}

fn remap_tells_of_all_that_it_unmaps() {
    let uffd = uffd_with(REMAP | UNMAP);
    let (from, to) = (
        registered(Mapping::lone(3), &uffd),
        registered(Mapping::lone(2), &uffd),
    );
    // It is shorter where it goes: the rest is unmapped, too.
    let changer = moving(&from, &to, 0);
    expect(&uffd, UFFD_EVENT_UNMAP, [to.start(), to.end(), 0]);
    expect(
        &uffd,
        UFFD_EVENT_REMAP,
        [from.start(), to.start(), 2 * PAGE],
    );
    let mut rest: Vec<_> = (0..2).map(|_| next_event(&uffd)).collect();
    rest.sort_by_key(|event| match event {
        Event::Unmap { start, .. } => *start,
        other => panic!("{other:?}"),
    });
    let unmap = |start, end| Event::Unmap { start, end };
    let cut = from.page(2);
    assert_eq!(rest, [unmap(from.start(), cut), unmap(cut, from.end())]);
    assert_eq!(changer.join(), Ok(to.start()));
    expect_served(&uffd, &to, 1);
    drop(uffd);
    std::mem::forget(from);
}

fn remap_that_leaves_the_old_place() {
    let uffd = uffd_with(REMAP | UNMAP);
    let (from, to) = (
        registered(Mapping::lone(2), &uffd),
        Arc::new(Mapping::lone(2)),
    );
    fill(&uffd, from.page(0), 7);
    let changer = moving(&from, &to, libc::MREMAP_DONTUNMAP);
    expect(
        &uffd,
        UFFD_EVENT_REMAP,
        [from.start(), to.start(), 2 * PAGE],
    );
    assert_eq!(changer.join(), Ok(to.start()));
    expect_silence(&uffd);
    assert_eq!(to.read(0), 7);
    // Both places are served, and the old one is empty.
    expect_served(&uffd, &from, 0);
    expect_served(&uffd, &to, 1);
    drop(uffd);
}

fn fix_0496a59745b0_failed_remap_is_over() {
    let uffd = uffd_with(REMAP | UNMAP);
    let (from, to) = (registered(Mapping::lone(2), &uffd), Mapping::lone(2));
    let (start, place) = (from.start(), to.start());
    let fails = |result: Result<u64, Errno>, errno, page| {
        expect_errno(result, errno);
        expect_silence(&uffd);
        fill(&uffd, from.page(page), 1);
        from.advise(page * PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
    };
    fails(remap(start, PAGE, place + 1, PAGE, 0), Errno::EINVAL, 0);
    fails(
        remap(start, 2 * PAGE, start + PAGE, 2 * PAGE, 0),
        Errno::EINVAL,
        1,
    );
    // Beyond the mapping, and across two of which the first is registered.
    fails(remap(start, 3 * PAGE, place, 4 * PAGE, 0), Errno::EFAULT, 0);
    fails(remap(start, 3 * PAGE, place, 3 * PAGE, 0), Errno::EFAULT, 1);
    fails(
        user::remap(start, 2 * PAGE, 3 * PAGE, None),
        Errno::ENOMEM,
        0,
    );
    drop((uffd, from, to));
    let (from, to) = (Mapping::lone(2), Mapping::lone(2));
    let managed = Managed::start(REMAP | UNMAP, &[&from, &to], |link| {
        // The destination is unmapped by then, which is told, and now there is no room.
        setrlimit(Resource::RLIMIT_AS, 0, RLIM_INFINITY).unwrap();
        let (from, to) = (from.start(), to.start());
        let result = remap(from, 2 * PAGE, to, 2 * PAGE, libc::MREMAP_DONTUNMAP);
        expect_errno(result, Errno::ENOMEM);
        link.say(0);
        link.hear();
    });
    let gone = [to.start(), to.end(), 0];
    expect(&managed.uffd, UFFD_EVENT_UNMAP, gone);
    managed.link.hear();
    expect_silence(&managed.uffd);
    fill(&managed.uffd, from.start(), 1);
    managed.link.say(0);
    managed.end();
}

fn remove_is_told_before_it_happens() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(3), &uffd);
    fill(&uffd, target.page(1), 7);
    let changer = removing(&target, 1, 2);
    assert_eq!(target.read(PAGE), 7);
    expect(&uffd, UFFD_EVENT_REMOVE, [target.page(1), target.end(), 0]);
    assert_eq!(changer.join(), Ok(()));
    expect_served(&uffd, &target, 1);
}

fn remove_by_every_advice() {
    const DONTNEED_LOCKED: i32 = 24;
    let private = [libc::MADV_DONTNEED, DONTNEED_LOCKED, libc::MADV_FREE];
    let shared = [libc::MADV_DONTNEED, libc::MADV_REMOVE];
    let cases = private.map(|advice| (Kind::Anon, advice)).into_iter();
    for (kind, advice) in cases.chain(shared.map(|advice| (Kind::Memfd, advice))) {
        let uffd = uffd_with(REMOVE);
        let memory = kind.map(2);
        memory.register(&uffd, UFFDIO_REGISTER_MODE_MISSING);
        let target = Arc::clone(&memory.target);
        fill(&uffd, target.page(1), 7);
        let twin = Arc::clone(&target);
        let changer = changing(libc::SYS_madvise, move || twin.advise(PAGE, PAGE, advice));
        expect(&uffd, UFFD_EVENT_REMOVE, [target.page(1), target.end(), 0]);
        assert_eq!(changer.join(), Ok(()), "{kind:?}, {advice}");
        expect_silence(&uffd);
        match (kind, advice) {
            // The kernel may take its time, and the file still has the page.
            (_, libc::MADV_FREE) => {}
            (Kind::Memfd, libc::MADV_DONTNEED) => assert_eq!(target.read(PAGE), 7),
            _ => expect_served(&uffd, &target, 1),
        }
    }
}

fn remove_is_told_by_mapping() {
    let uffd = uffd_with(REMOVE);
    let target = Arc::new(Mapping::lone(4));
    // Two mappings, as they differ in what can be done with them; and one that nobody asked about.
    target.protect(PAGE, PAGE, libc::PROT_READ).unwrap();
    uffd.register(target.start(), 3 * PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    let changer = removing(&target, 0, 4);
    for page in 0..3 {
        let start = target.page(page);
        expect(&uffd, UFFD_EVENT_REMOVE, [start, start + PAGE, 0]);
    }
    assert_eq!(changer.join(), Ok(()));
    expect_silence(&uffd);
}

fn remove_of_what_is_gone_by_then() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::lone(2), &uffd);
    let changer = removing(&target, 0, 2);
    target.unmap(0, 2 * PAGE);
    expect(&uffd, UFFD_EVENT_REMOVE, [target.start(), target.end(), 0]);
    expect_errno(changer.join(), Errno::ENOMEM);
    std::mem::forget(target);
}

fn hole_punched_through_the_file_is_not_told() {
    let uffd = uffd_with(REMOVE);
    let file = memfd(1);
    let target = registered(Mapping::file(file.as_fd(), 1), &uffd);
    fill(&uffd, target.start(), 7);
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, flags, 0, PAGE as i64).unwrap();
    expect_silence(&uffd);
    expect_served(&uffd, &target, 0);
}

fn unmap_is_told_when_it_is_done() {
    let uffd = uffd_with(UNMAP);
    let target = registered(Mapping::lone(3), &uffd);
    let memory = Arc::clone(&target);
    let changer = changing(libc::SYS_munmap, move || memory.try_unmap(PAGE, PAGE));
    // The place is free by now.
    expect_errno(
        target.advise(PAGE, PAGE, libc::MADV_DONTNEED),
        Errno::ENOMEM,
    );
    expect(&uffd, UFFD_EVENT_UNMAP, [target.page(1), target.page(2), 0]);
    assert_eq!(changer.join(), Ok(()));
    expect_silence(&uffd);
    expect_served(&uffd, &target, 0);
    expect_served(&uffd, &target, 2);
    drop(uffd);
    std::mem::forget(target);
}

/// Memory of which every other page is registered with the descriptor.
fn striped(uffd: &Uffd, target: &Mapping) {
    for page in (0..target.len() / PAGE).step_by(2) {
        uffd.register(target.page(page), PAGE, UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
    }
}

fn unmap_is_told_once_for_many_mappings() {
    let uffd = uffd_with(UNMAP);
    let target = Arc::new(Mapping::lone(7));
    striped(&uffd, &target);
    let memory = Arc::clone(&target);
    let changer = changing(libc::SYS_munmap, move || memory.try_unmap(PAGE, 5 * PAGE));
    // The message has the range as it was given, registered or not.
    expect(&uffd, UFFD_EVENT_UNMAP, [target.page(1), target.page(6), 0]);
    assert_eq!(changer.join(), Ok(()));
    expect_silence(&uffd);
    drop(uffd);
    std::mem::forget(target);
}

fn unmap_is_told_to_each_descriptor() {
    let (one, two) = (uffd_with(UNMAP), uffd_with(UNMAP));
    let target = Arc::new(Mapping::lone(4));
    striped(&one, &target);
    two.register(target.page(1), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    let memory = Arc::clone(&target);
    let changer = changing(libc::SYS_munmap, move || memory.try_unmap(0, 4 * PAGE));
    let whole = [target.start(), target.end(), 0];
    // One after the other, as the memory has them; both are changing from the start.
    let other = Mapping::lone(2);
    one.register(other.page(0), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    two.register(other.page(1), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
    expect_silence(&two);
    assert_eq!(fill_error(&one, other.page(0)), Some(Errno::EAGAIN));
    assert_eq!(fill_error(&two, other.page(1)), Some(Errno::EAGAIN));
    expect(&one, UFFD_EVENT_UNMAP, whole);
    expect(&two, UFFD_EVENT_UNMAP, whole);
    assert_eq!(changer.join(), Ok(()));
    fill(&one, other.page(0), 1);
    fill(&two, other.page(1), 1);
    drop((one, two));
    std::mem::forget(target);
}

fn unmap_by_other_calls() {
    let uffd = uffd_with(UNMAP);
    let target = registered(Mapping::lone(4), &uffd);
    let memory = Arc::clone(&target);
    let changer = changing(libc::SYS_mmap, move || memory.map_over(1));
    expect(&uffd, UFFD_EVENT_UNMAP, [target.page(1), target.page(2), 0]);
    changer.join();
    // What is there now is not registered.
    assert_eq!(target.read(PAGE), 0);
    let from = target.page(2);
    let changer = changing(libc::SYS_mremap, move || {
        user::remap(from, 2 * PAGE, PAGE, None)
    });
    expect(&uffd, UFFD_EVENT_UNMAP, [target.page(3), target.end(), 0]);
    assert_eq!(changer.join(), Ok(from));
    expect_silence(&uffd);
    drop(uffd);
    std::mem::forget(target);
}

fn events_are_told_to_who_asked() {
    for features in [0, REMAP, REMOVE, UNMAP] {
        let uffd = uffd_with(features);
        let (target, to) = (Mapping::lone(3), Mapping::lone(1));
        uffd.register(target.start(), 3 * PAGE, UFFDIO_REGISTER_MODE_MISSING)
            .unwrap();
        let (start, place) = (target.start(), to.start());
        let changer = Faulter::spawn(move || {
            target.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
            target.unmap(2 * PAGE, PAGE);
            remap(target.start(), PAGE, to.start(), PAGE, 0).unwrap();
            std::mem::forget((target, to));
        });
        let (second, third, end) = (start + PAGE, start + 2 * PAGE, start + 3 * PAGE);
        match features {
            REMOVE => expect(&uffd, UFFD_EVENT_REMOVE, [second, third, 0]),
            REMAP => expect(&uffd, UFFD_EVENT_REMAP, [start, place, PAGE]),
            UNMAP => {
                expect(&uffd, UFFD_EVENT_UNMAP, [third, end, 0]);
                expect(&uffd, UFFD_EVENT_UNMAP, [start, second, 0]);
            }
            _ => {}
        }
        changer.join();
        expect_silence(&uffd);
    }
}
