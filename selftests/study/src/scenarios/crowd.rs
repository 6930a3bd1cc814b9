// SPDX-License-Identifier: GPL-2.0-only

//! Many faults.

use crate::stage::{numbered, step};
use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use uffd::abi::UffdMsg;
use uffd::Errno;
use uffd_harness::env::wait_queued;
use uffd_harness::handler::Handler;
use uffd_harness::mem::{Mapping, PAGE};
use uffd_harness::task::Faulter;
use uffd_harness::{registered, uffd_with};

pub fn thousand_sleepers() {
    const SLEEPERS: u64 = 1000;
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(SLEEPERS), &uffd);
    step("each thread touches a page of its own");
    let spawn = |page| {
        let memory = Arc::clone(&target);
        Faulter::named(&format!("sleeper-{}", page + 1), move || {
            memory.read(page * PAGE)
        })
    };
    let sleepers: Vec<_> = (0..SLEEPERS).map(spawn).collect();
    wait_queued(&uffd, SLEEPERS as usize);
    step("the manager reads all messages, as many at a time as fit");
    let (mut messages, mut seen) = ([UffdMsg::default(); 64], BTreeSet::new());
    while let Ok(count) = uffd.read_many(&mut messages) {
        let faults = messages[..count]
            .iter()
            .map(|message| message.decode().pagefault());
        seen.extend(faults.map(|fault| fault.unwrap().address));
    }
    assert!(seen
        .into_iter()
        .eq((0..SLEEPERS).map(|page| target.page(page))));
    step("one request fills all pages and wakes everybody");
    assert_eq!(
        uffd.zeropage(target.start(), target.len(), 0),
        Ok(target.len())
    );
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
}

pub fn post_copy() {
    const PAGES: u64 = 24;
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(PAGES), &uffd);
    let (source, begin) = (Arc::new(numbered(PAGES)), target.start());
    let from = source.start();
    step("the program runs here already; the handler fetches what it touches");
    let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
        let at = event.pagefault().unwrap().address;
        assert_eq!(uffd.copy(at, from + (at - begin), PAGE, 0), Ok(PAGE));
    });
    let (memory, turn) = (Arc::clone(&target), Arc::new(Barrier::new(2)));
    let managers_turn = Arc::clone(&turn);
    let program = Faulter::named("program", move || {
        for page in (0..PAGES).map(|n| n * 7 % PAGES) {
            assert_eq!(memory.read(page * PAGE), page as u8 + 1);
            turn.wait();
            turn.wait();
        }
    });
    step("the manager pushes a page after each step of the program, from the last one on");
    let mut pushed = 0;
    for page in (0..PAGES).rev() {
        managers_turn.wait();
        match uffd.copy(target.page(page), source.page(page), PAGE, 0) {
            Ok(_) => pushed += 1,
            Err(partial) => assert_eq!(partial.errno, Errno::EEXIST),
        }
        managers_turn.wait();
    }
    program.join();
    assert_eq!(handler.stop().len() + pushed, PAGES as usize);
}
