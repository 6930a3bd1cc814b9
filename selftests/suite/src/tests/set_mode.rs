// SPDX-License-Identifier: GPL-2.0-only

//! Switching between faults that are reported and faults that resolve themselves.

use crate::harness::env;
use crate::harness::handler::Handler;
use crate::harness::kind::{Kind, FILL};
use crate::harness::mem::PAGE;
use crate::harness::protect::{expect_silence, protected, Against};
use crate::harness::task::Faulter;
use crate::harness::{tests, Need};
use std::sync::Arc;
use uffd::abi::*;
use uffd::Uffd;
use Against::Access;

tests! {
    becoming_asynchronous_wakes_all_sleepers [ASYNC];
    mode_can_be_switched_to_and_fro [ASYNC];
    fdinfo_shows_the_mode [ASYNC];
    other_descriptors_keep_their_mode [ASYNC];
    switching_against_faults [ASYNC];
    switching_against_registering [ASYNC];
}

const TOGGLE: u64 = UFFD_FEATURE_RWP_ASYNC;
const ASYNC: Need = Need::Feature(UFFD_FEATURE_RWP | TOGGLE);
const NOTHING: [u64; 0] = [];

fn becoming_asynchronous_wakes_all_sleepers() {
    for kind in Kind::protectable() {
        println!("{kind:?}");
        let uffd = Access.uffd(0);
        let target = Access.guarded(&uffd, kind, 4);
        // Two of them were read about, the rest waits in the queue.
        let mut sleepers = vec![
            Access.reader(&uffd, kind, &target, 0),
            Access.writer(&uffd, kind, &target, (kind.unit(), FILL)),
        ];
        for (page, queued) in [(2, 3), (3, 4), (0, 5)] {
            sleepers.push(Faulter::read(&target, page * kind.unit()));
            env::wait_queued(&uffd, queued);
        }
        sleepers.iter().for_each(Faulter::wait_asleep);
        uffd.set_mode(TOGGLE, 0).unwrap();
        assert!(sleepers
            .into_iter()
            .map(Faulter::join)
            .all(|value| value == FILL));
        assert_eq!(env::fdinfo(&uffd).total, 0);
        assert_eq!(protected(&target), NOTHING);
        expect_silence(&uffd);
    }
}

fn mode_can_be_switched_to_and_fro() {
    let uffd = Access.uffd(0);
    let target = Access.guarded(&uffd, Kind::Anon, 2);
    for _ in 0..3 {
        uffd.set_mode(TOGGLE, 0).unwrap();
        Access.on(&uffd, &target);
        assert_eq!(target.read(0), FILL);
        assert_eq!(protected(&target), [1]);
        uffd.set_mode(0, TOGGLE).unwrap();
        // What the other mode has resolved stays so.
        assert_eq!(target.read(0), FILL);
        let reader = Access.reader(&uffd, Kind::Anon, &target, PAGE);
        // Switching off what is off disturbs nobody, nor does switching nothing.
        uffd.set_mode(0, TOGGLE).unwrap();
        uffd.set_mode(0, 0).unwrap();
        reader.wait_asleep();
        let info = env::fdinfo(&uffd);
        assert_eq!((info.pending, info.total), (0, 1));
        Access.off(&uffd, &target, PAGE, PAGE);
        assert_eq!(reader.join(), FILL);
    }
}

fn fdinfo_shows_the_mode() {
    let uffd = Access.uffd(0);
    let features = |uffd: &Uffd| {
        let api = env::fdinfo(uffd).api;
        let field = api.split(':').nth(1).expect("features").to_owned();
        u64::from_str_radix(&field, 16).unwrap() & UFFD_API_FEATURES
    };
    let before = features(&uffd);
    assert_eq!(before & TOGGLE, 0);
    uffd.set_mode(TOGGLE, 0).unwrap();
    assert_eq!(features(&uffd), before | TOGGLE);
    uffd.set_mode(0, TOGGLE).unwrap();
    assert_eq!(features(&uffd), before);
}

fn other_descriptors_keep_their_mode() {
    let (uffd, other) = (Access.uffd(0), Access.uffd(0));
    let target = Access.guarded(&uffd, Kind::Anon, 1);
    other.set_mode(TOGGLE, 0).unwrap();
    let reader = Access.reader(&uffd, Kind::Anon, &target, 0);
    Access.off(&uffd, &target, 0, PAGE);
    assert_eq!(reader.join(), FILL);
}

/// A handler that unprotects what is reported.
fn handler(uffd: &Arc<Uffd>) -> Handler {
    Handler::spawn(Arc::clone(uffd), |uffd, event| {
        let fault = event.pagefault().unwrap();
        assert_eq!(
            fault.flags & !UFFD_PAGEFAULT_FLAG_WRITE,
            UFFD_PAGEFAULT_FLAG_RWP
        );
        uffd.rwprotect(fault.address, PAGE, 0).unwrap();
    })
}

fn switching_against_faults() {
    const PAGES: u64 = 8;
    const ROUNDS: u64 = 1500;
    for kind in [Kind::Anon, Kind::Memfd] {
        if !Kind::protectable().contains(&kind) {
            continue;
        }
        println!("{kind:?}");
        let uffd = Arc::new(Access.uffd(0));
        let target = Access.guarded(&uffd, kind, PAGES);
        let handler = handler(&uffd);
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let memory = Arc::clone(&target);
                Faulter::spawn(move || {
                    for round in 0..ROUNDS {
                        let at = (round + 3 * thread) % PAGES * PAGE + thread + 1;
                        let value = round as u8;
                        memory.write(at, value);
                        assert_eq!(memory.read(at), value);
                    }
                })
            })
            .collect();
        let mut rounds = 0;
        while !threads.iter().all(Faulter::is_finished) {
            Access.on(&uffd, &target);
            uffd.set_mode(TOGGLE, 0).unwrap();
            Access.on(&uffd, &target);
            uffd.set_mode(0, TOGGLE).unwrap();
            rounds += 1;
        }
        threads.into_iter().for_each(Faulter::join);
        let seen = handler.stop();
        println!("{rounds} rounds, {} messages", seen.len());
        assert_eq!(env::fdinfo(&uffd).total, 0);
        Access.off(&uffd, &target, 0, target.len());
        assert_eq!(target.read(0), FILL);
    }
}

fn switching_against_registering() {
    let uffd = Arc::new(Access.uffd(0));
    let target = Arc::new(Kind::Anon.populated(6));
    let (manager, memory) = (Arc::clone(&uffd), Arc::clone(&target));
    let registrar = Faulter::spawn(move || {
        for round in 0..300 {
            let (start, len) = (memory.page(round % 3), 3 * PAGE);
            manager.register(start, len, Access.mode()).unwrap();
            manager.rwprotect(start, len, 1).unwrap();
            manager.unregister(start, len).unwrap();
        }
    });
    while !registrar.is_finished() {
        uffd.set_mode(TOGGLE, 0).unwrap();
        uffd.set_mode(0, TOGGLE).unwrap();
    }
    registrar.join();
    assert_eq!(protected(&target), NOTHING);
    (0..6).for_each(|page| target.write(page * PAGE, 1));
    expect_silence(&uffd);
}
