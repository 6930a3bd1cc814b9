// SPDX-License-Identifier: GPL-2.0-only

//! In which order events are read and by whom, and what cannot be done meanwhile.

use super::*;
use crate::harness::managed::{next_event, next_message, wait_input};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::{blocking_uffd_with, registered, sleepers, tests, uffd_with, Need};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::BTreeMap;
use std::sync::Arc;
use uffd::{Errno, Event};

tests! {
    faults_are_read_before_events [Need::Feature(REMOVE)];
    events_are_read_in_their_order [Need::Feature(REMOVE)];
    each_event_has_one_reader [Need::Feature(REMOVE)];
    blocked_reader_is_told [Need::Feature(REMOVE)];
    event_makes_the_descriptor_readable [Need::Feature(REMOVE)];
    edge_for_each_event [Need::Feature(REMOVE)];
    fills_wait_for_every_kind_of_change [Need::Feature(EVENTS)];
    fills_wait_for_all_changes [Need::Feature(REMOVE)];
    change_outlives_the_registration [Need::Feature(REMOVE)];
    fill_of_what_has_gone [Need::Feature(REMAP | UNMAP)];
}

fn faults_are_read_before_events() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(3), &uffd);
    let changer = removing(&target, 0, 1);
    let faulters = sleepers(&uffd, &target, [1, 2]);
    let mut messages = [UffdMsg::default(); 4];
    assert_eq!(uffd.read_many(&mut messages), Ok(3));
    let [one, two, three, _] = messages.map(|message| message.decode());
    assert_eq!(one.pagefault().unwrap().address, target.page(1));
    assert_eq!(two.pagefault().unwrap().address, target.page(2));
    let (start, end) = (target.page(0), target.page(1));
    assert_eq!(three, Event::Remove { start, end });
    assert_eq!(changer.join(), Ok(()));
    crate::harness::release(&uffd, &target, faulters);
}

fn events_are_read_in_their_order() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(6), &uffd);
    let order = [3, 0, 5, 1, 4, 2];
    let changers = order.map(|page| removing(&target, page, 1));
    for (page, changer) in order.into_iter().zip(changers) {
        let start = target.page(page);
        expect(&uffd, UFFD_EVENT_REMOVE, [start, start + PAGE, 0]);
        assert_eq!(changer.join(), Ok(()));
    }
    expect_silence(&uffd);
}

fn each_event_has_one_reader() {
    const THREADS: u64 = 3;
    const ROUNDS: u64 = 50;
    let uffd = Arc::new(blocking_uffd_with(REMOVE));
    let target = registered(Mapping::anon(THREADS + 1), &uffd);
    let last = target.page(THREADS);
    let readers: Vec<_> = (0..THREADS)
        .map(|_| {
            let uffd = Arc::clone(&uffd);
            Faulter::spawn(move || {
                let mut seen = BTreeMap::new();
                loop {
                    match uffd.read_event() {
                        Ok(Event::Remove { start, .. }) if start == last => return seen,
                        Ok(Event::Remove { start, .. }) => *seen.entry(start).or_insert(0) += 1,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let drop_page = |page: u64, rounds: u64| {
        let target = Arc::clone(&target);
        Faulter::spawn(move || {
            for _ in 0..rounds {
                target
                    .advise(page * PAGE, PAGE, libc::MADV_DONTNEED)
                    .unwrap();
            }
        })
    };
    let changers: Vec<_> = (0..THREADS).map(|page| drop_page(page, ROUNDS)).collect();
    changers.into_iter().for_each(Faulter::join);
    drop_page(THREADS, THREADS).join();
    let mut seen = BTreeMap::new();
    for (start, count) in readers.into_iter().flat_map(Faulter::join) {
        *seen.entry(start).or_insert(0) += count;
    }
    let want = (0..THREADS).map(|page| (target.page(page), ROUNDS));
    assert_eq!(seen, want.collect());
}

fn blocked_reader_is_told() {
    let uffd = Arc::new(blocking_uffd_with(REMOVE));
    let target = registered(Mapping::anon(1), &uffd);
    let twin = Arc::clone(&uffd);
    let reader = Faulter::spawn(move || twin.read().map(|message| message.to_bytes()));
    wait_asleep_in(reader.tid(), libc::SYS_read);
    target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    let want = message(UFFD_EVENT_REMOVE, [target.start(), target.end(), 0]);
    assert_eq!(reader.join(), Ok(want));
}

fn event_makes_the_descriptor_readable() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(1), &uffd);
    let memory = Arc::clone(&target);
    for _ in 0..3 {
        let memory = Arc::clone(&memory);
        let changer = Faulter::spawn(move || memory.advise(0, PAGE, libc::MADV_DONTNEED));
        wait_input(&uffd);
        // It stays so until it is read.
        wait_input(&uffd);
        expect(&uffd, UFFD_EVENT_REMOVE, [target.start(), target.end(), 0]);
        assert_eq!(changer.join(), Ok(()));
        expect_silence(&uffd);
    }
}

fn edge_for_each_event() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(2), &uffd);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&uffd, EpollEvent::new(flags, 5)).unwrap();
    let mut found = [EpollEvent::empty()];
    let mut changers = Vec::new();
    for page in 0..2 {
        changers.push(removing(&target, page, 1));
        assert_eq!(epoll.wait(&mut found, EpollTimeout::NONE), Ok(1));
        assert_eq!(
            (found[0].data(), found[0].events()),
            (5, EpollFlags::EPOLLIN)
        );
        assert_eq!(epoll.wait(&mut found, EpollTimeout::ZERO), Ok(0));
    }
    for changer in changers {
        uffd.read().unwrap();
        assert_eq!(changer.join(), Ok(()));
    }
}

fn fills_wait_for_every_kind_of_change() {
    let uffd = uffd_with(EVENTS);
    let target = registered(Mapping::lone(6), &uffd);
    let to = Arc::new(Mapping::lone(1));
    let (memory, place) = (Arc::clone(&target), to.start());
    let changer = Faulter::spawn(move || {
        memory.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
        memory.unmap(5 * PAGE, PAGE);
        remap(memory.page(2), PAGE, place, PAGE, 0).unwrap();
    });
    for event in [
        UFFD_EVENT_REMOVE,
        UFFD_EVENT_UNMAP,
        UFFD_EVENT_REMAP,
        UFFD_EVENT_UNMAP,
    ] {
        wait_input(&uffd);
        assert_eq!(fill_error(&uffd, target.page(0)), Some(Errno::EAGAIN));
        assert_eq!(next_message(&uffd).to_bytes()[0], event);
    }
    changer.join();
    fill(&uffd, target.page(0), 1);
    fill(&uffd, to.start(), 1);
    drop(uffd);
    std::mem::forget(target);
}

fn fills_wait_for_all_changes() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(3), &uffd);
    let changers = [0, 1].map(|page| removing(&target, page, 1));
    for changer in changers {
        assert_eq!(fill_error(&uffd, target.page(2)), Some(Errno::EAGAIN));
        uffd.read().unwrap();
        assert_eq!(changer.join(), Ok(()));
    }
    fill(&uffd, target.page(2), 1);
}

fn change_outlives_the_registration() {
    let uffd = uffd_with(REMOVE);
    let target = registered(Mapping::anon(1), &uffd);
    let changer = removing(&target, 0, 1);
    uffd.unregister(target.start(), PAGE).unwrap();
    assert!(!changer.is_finished());
    expect(&uffd, UFFD_EVENT_REMOVE, [target.start(), target.end(), 0]);
    assert_eq!(changer.join(), Ok(()));
}

fn fill_of_what_has_gone() {
    let uffd = uffd_with(REMAP | UNMAP);
    let (target, to) = (
        registered(Mapping::lone(3), &uffd),
        Arc::new(Mapping::lone(1)),
    );
    let (memory, place) = (Arc::clone(&target), to.start());
    let changer = Faulter::spawn(move || {
        memory.unmap(0, PAGE);
        remap(memory.page(2), PAGE, place, PAGE, 0).unwrap();
    });
    for _ in 0..3 {
        next_event(&uffd);
    }
    changer.join();
    for page in [0, 2] {
        assert_eq!(fill_error(&uffd, target.page(page)), Some(Errno::ENOENT));
    }
    // As far as it is there.
    let source = Mapping::anon(2);
    source.fill(0, 2 * PAGE, 1);
    let partial = uffd
        .copy(target.page(1), source.start(), 2 * PAGE, 0)
        .unwrap_err();
    assert_eq!(partial.errno, Errno::ENOENT);
    fill(&uffd, target.page(1), 1);
    fill(&uffd, place, 1);
    drop(uffd);
    std::mem::forget(target);
}
