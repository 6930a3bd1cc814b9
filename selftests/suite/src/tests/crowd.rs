// SPDX-License-Identifier: GPL-2.0-only

//! Many sleepers at once: the order of their messages, and who is woken by what.

use crate::harness::env::fdinfo;
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::rng::Rng;
use crate::harness::task::{until, Faulter};
use crate::harness::{expect_errno, registered, release, sleepers, tests, uffd_with};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    order_survives_wakes_between;
    sleepers_match_a_naive_model;
    close_wakes_everybody;
    unregister_wakes_its_part;
}

fn order_survives_wakes_between() {
    const PAGES: u64 = 64;
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(PAGES), &uffd);
    // Each page once, in an order that is neither that of the addresses nor its reverse.
    let order: Vec<u64> = (0..PAGES).map(|n| n * 37 % PAGES).collect();
    let mut asleep: BTreeMap<u64, _> = order
        .iter()
        .copied()
        .zip(sleepers(&uffd, &target, order.iter().copied()))
        .collect();
    // Of every four, one is answered before it was read; the others are read in order, and one of
    // them is answered at once, so that the queue shrinks at both ends and between.
    for (index, &page) in order.iter().enumerate().filter(|(index, _)| index % 4 == 2) {
        uffd.zeropage(target.page(page), PAGE, 0).unwrap();
        assert_eq!(asleep.remove(&page).unwrap().join(), 0, "sleeper {index}");
    }
    for (index, &page) in order.iter().enumerate().filter(|(index, _)| index % 4 != 2) {
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        assert_eq!(fault.address, target.page(page), "message {index}");
        if index % 4 == 1 {
            uffd.zeropage(target.page(page), PAGE, 0).unwrap();
            assert_eq!(asleep.remove(&page).unwrap().join(), 0);
        }
    }
    expect_errno(uffd.read(), Errno::EAGAIN);
    assert_eq!(fdinfo(&uffd).total, asleep.len());
    release(&uffd, &target, asleep.into_values().collect());
}

/// What is known of the sleepers, kept in the simplest way.
struct Model {
    uffd: Uffd,
    target: Arc<Mapping>,
    /// The sleepers by thread.
    sleepers: BTreeMap<i32, Sleeper>,
    /// The unread in order. Those that one call woke come back in any order among themselves.
    unread: VecDeque<BTreeSet<i32>>,
    /// The pages that are there.
    present: BTreeSet<u64>,
}

struct Sleeper {
    offset: u64,
    thread: Faulter<u8>,
}

const MODEL_PAGES: u64 = 48;
const MOST_SLEEPERS: usize = 80;

impl Model {
    fn new() -> Model {
        let uffd = uffd_with(UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID);
        let target = registered(Mapping::anon(MODEL_PAGES), &uffd);
        Model {
            uffd,
            target,
            sleepers: BTreeMap::new(),
            unread: VecDeque::new(),
            present: BTreeSet::new(),
        }
    }

    /// Waits until the kernel has as many as the model.
    fn settle(&self) {
        let unread = self.unread.iter().map(BTreeSet::len).sum::<usize>();
        until(|| {
            let now = fdinfo(&self.uffd);
            (now.pending, now.total) == (unread, self.sleepers.len())
        });
    }

    /// A thread touches a byte: if its page is missing it falls asleep.
    fn touch(&mut self, offset: u64) {
        if self.present.contains(&(offset / PAGE)) {
            assert_eq!(self.target.read(offset), 0);
            return;
        }
        let thread = Faulter::read(&self.target, offset);
        self.unread.push_back([thread.tid()].into());
        self.sleepers
            .insert(thread.tid(), Sleeper { offset, thread });
        self.settle();
    }

    /// Reads messages: the oldest, each of them once.
    fn read(&mut self, most: usize) {
        let mut msgs = vec![UffdMsg::default(); most];
        let unread = self.unread.iter().map(BTreeSet::len).sum::<usize>();
        let count = match self.uffd.read_many(&mut msgs) {
            Err(Errno::EAGAIN) => 0,
            result => result.unwrap(),
        };
        assert_eq!(count, most.min(unread), "messages read");
        for msg in &msgs[..count] {
            let fault = msg.decode().pagefault().unwrap();
            let tid = fault.ptid as i32;
            let oldest = self.unread.front_mut().expect("an unread message");
            assert!(oldest.remove(&tid), "{tid} is not the oldest: {oldest:?}");
            if oldest.is_empty() {
                self.unread.pop_front();
            }
            let want = self.target.start() + self.sleepers[&tid].offset;
            assert_eq!(fault.address, want, "address of {tid}");
        }
    }

    /// Fills the missing pages of a range, and wakes nobody.
    fn fill(&mut self, pages: std::ops::Range<u64>) {
        for page in pages.filter(|page| !self.present.contains(page)) {
            let mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
            assert_eq!(
                self.uffd.zeropage(self.target.page(page), PAGE, mode),
                Ok(PAGE)
            );
        }
    }

    /// Wakes a range: who finds a page is done, the others come back as the youngest.
    fn wake(&mut self, pages: std::ops::Range<u64>) {
        let len = (pages.end - pages.start) * PAGE;
        self.uffd.wake(self.target.page(pages.start), len).unwrap();
        let woken: BTreeSet<i32> = self
            .sleepers
            .iter()
            .filter(|(_, sleeper)| pages.contains(&(sleeper.offset / PAGE)))
            .map(|(&tid, _)| tid)
            .collect();
        self.unread
            .iter_mut()
            .for_each(|group| group.retain(|tid| !woken.contains(tid)));
        let (done, again): (BTreeSet<i32>, BTreeSet<i32>) = woken
            .into_iter()
            .partition(|tid| self.present.contains(&(self.sleepers[tid].offset / PAGE)));
        self.unread.push_back(again);
        self.unread.retain(|group| !group.is_empty());
        for tid in done {
            assert_eq!(self.sleepers.remove(&tid).unwrap().thread.join(), 0);
        }
        self.settle();
    }

    /// Drops pages, which are missing again.
    fn drop_pages(&mut self, pages: std::ops::Range<u64>) {
        let len = (pages.end - pages.start) * PAGE;
        self.target
            .advise(pages.start * PAGE, len, libc::MADV_DONTNEED)
            .unwrap();
        self.present.retain(|page| !pages.contains(page));
    }
}

fn sleepers_match_a_naive_model() {
    const STEPS: u64 = 400;
    let mut rng = Rng::new();
    let mut model = Model::new();
    // A crowd first, then every step one of the things that can happen.
    while model.sleepers.len() < MOST_SLEEPERS {
        model.touch(rng.below(0..MODEL_PAGES * PAGE));
    }
    for _ in 0..STEPS {
        let start = rng.below(0..MODEL_PAGES);
        let pages = start..rng.below(start + 1..(start + 9).min(MODEL_PAGES + 1));
        match rng.below(0..8) {
            0..=3 if model.sleepers.len() < MOST_SLEEPERS => {
                model.touch(rng.below(0..MODEL_PAGES * PAGE));
            }
            0..=4 => model.read(rng.below(1..9) as usize),
            5 => {
                model.fill(pages.clone());
                model.present.extend(pages);
            }
            6 => model.wake(pages),
            _ => model.drop_pages(pages),
        }
        model.settle();
    }
    model.fill(0..MODEL_PAGES);
    model.present.extend(0..MODEL_PAGES);
    model.wake(0..MODEL_PAGES);
    assert!(model.sleepers.is_empty());
    expect_errno(model.uffd.read(), Errno::EAGAIN);
}

fn close_wakes_everybody() {
    const SLEEPERS: u64 = 64;
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(SLEEPERS / 2), &uffd);
    // Two on each page; of some the message has been read.
    let asleep = sleepers(&uffd, &target, (0..SLEEPERS).map(|n| n / 2));
    let mut msgs = [UffdMsg::default(); 20];
    assert_eq!(uffd.read_many(&mut msgs), Ok(20));
    drop(uffd);
    assert!(asleep
        .into_iter()
        .map(Faulter::join)
        .all(|value| value == 0));
}

fn unregister_wakes_its_part() {
    const SLEEPERS: u64 = 64;
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(SLEEPERS), &uffd);
    let mut asleep = sleepers(&uffd, &target, 0..SLEEPERS);
    let mut msgs = [UffdMsg::default(); 24];
    assert_eq!(uffd.read_many(&mut msgs), Ok(24));
    // Some that were read and some that were not.
    let gone: Vec<_> = asleep.drain(16..48).collect();
    uffd.unregister(target.page(16), 32 * PAGE).unwrap();
    assert!(gone.into_iter().map(Faulter::join).all(|value| value == 0));
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (16, 32));
    asleep.iter().for_each(Faulter::wait_asleep);
    let first = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(first.address, target.page(48));
    release(&uffd, &target, asleep);
}
