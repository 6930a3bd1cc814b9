// SPDX-License-Identifier: GPL-2.0-only

//! Many threads that change their memory at once, against fills, with a manager that follows.
//!
//! The manager fills pages with [`FILLED`]. A thread writes [`WRITTEN`]: what it finds later tells
//! whether a page was lost, or came back.

use super::*;
use crate::harness::handler::Handler;
use crate::harness::rng::Rng;
use crate::harness::{tests, uffd_with};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use uffd::Event;

tests! {
    storm_of_drops [Need::Feature(EVENTS)];
    storm_of_moves [Need::Feature(EVENTS)];
    storm_of_unmapping [Need::Feature(EVENTS)];
    storm_of_everything [Need::Feature(EVENTS)];
}

const THREADS: usize = 4;
const ROUNDS: u64 = 60;
/// Pages of a thread, half of them for use at a time.
const PAGES: u64 = 8;
const HALF: u64 = PAGES / 2;
const FILLED: u8 = 1;
const WRITTEN: u8 = 2;

/// The memory of a thread. One half is registered.
struct Area {
    uffd: Arc<Uffd>,
    memory: Arc<Mapping>,
    first: bool,
}

impl Area {
    /// Where the half in use begins.
    fn offset(&self) -> u64 {
        if self.first {
            0
        } else {
            HALF * PAGE
        }
    }

    fn register(&self) {
        let start = self.memory.start() + self.offset();
        self.uffd
            .register(start, HALF * PAGE, UFFDIO_REGISTER_MODE_MISSING)
            .expect("UFFDIO_REGISTER");
    }

    #[track_caller]
    fn expect(&self, value: u8) {
        for page in 0..HALF {
            let found = self.memory.read(self.offset() + page * PAGE);
            assert_eq!(found, value, "page {page}");
        }
    }

    fn write(&self) {
        for page in 0..HALF {
            self.memory.write(self.offset() + page * PAGE, WRITTEN);
        }
    }

    /// Drops what was written.
    fn drop_pages(&mut self) {
        self.write();
        self.memory
            .advise(self.offset(), HALF * PAGE, libc::MADV_DONTNEED)
            .expect("madvise");
        self.expect(FILLED);
    }

    /// Moves what was written to the other half.
    fn move_pages(&mut self) {
        self.write();
        let from = self.memory.start() + self.offset();
        self.first = !self.first;
        let to = self.memory.start() + self.offset();
        remap(from, HALF * PAGE, to, HALF * PAGE, 0).expect("mremap");
        self.expect(WRITTEN);
    }

    /// Unmaps what was written, and begins anew.
    fn unmap(&mut self) {
        self.write();
        let page = self.offset() / PAGE;
        self.memory.unmap(self.offset(), HALF * PAGE);
        (page..page + HALF).for_each(|page| self.memory.map_over(page));
        self.register();
        self.expect(FILLED);
    }
}

/// Answers a fault, and all that is read while that cannot be.
fn answer(uffd: &Uffd, event: Event, source: &Mapping) {
    let mut faults: Vec<u64> = Vec::new();
    let mut next = Some(event);
    loop {
        if let Some(Event::Pagefault(fault)) = next {
            faults.push(fault.address);
        }
        faults.retain(|&address| {
            let result = uffd.copy(address, source.start(), PAGE, 0);
            match result.map_err(|partial| partial.errno) {
                Ok(_) => false,
                // The fault was answered by another fill, and its page may be gone by now.
                Err(Errno::EEXIST | Errno::ENOENT) => {
                    uffd.wake(address, PAGE).expect("UFFDIO_WAKE");
                    false
                }
                // Something is changing, here or elsewhere.
                Err(Errno::EAGAIN) => true,
                Err(errno) => panic!("UFFDIO_COPY at {address:#x}: {errno}"),
            }
        });
        if faults.is_empty() {
            return;
        }
        next = match uffd.read_event() {
            Ok(event) => Some(event),
            Err(Errno::EAGAIN) => {
                std::thread::yield_now();
                None
            }
            Err(errno) => panic!("read: {errno}"),
        };
    }
}

/// Lets threads make changes as the function has it.
fn storm(change: fn(&mut Area, &mut Rng)) {
    let mut rng = Rng::new();
    let uffd = Arc::new(uffd_with(EVENTS));
    let source = Mapping::anon(1);
    source.fill(0, PAGE, FILLED);
    let memories: Vec<_> = (0..THREADS)
        .map(|_| Arc::new(Mapping::lone(PAGES)))
        .collect();
    let spare = Mapping::anon(1);
    spare.fill(0, PAGE, FILLED);
    let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
        answer(uffd, event, &source);
    });
    let done = Arc::new(AtomicBool::new(false));
    let filler = {
        let (uffd, memories, mut rng) = (Arc::clone(&uffd), memories.clone(), rng.fork());
        let done = Arc::clone(&done);
        Faulter::spawn(move || {
            let mut filled = 0;
            while !done.load(Ordering::Relaxed) {
                let memory = &memories[rng.below(0..THREADS as u64) as usize];
                let address = memory.page(rng.below(0..PAGES));
                let result = uffd.copy(address, spare.start(), PAGE, 0);
                match result.map_err(|partial| partial.errno) {
                    Ok(_) => filled += 1,
                    Err(Errno::EAGAIN | Errno::ENOENT | Errno::EEXIST) => {}
                    Err(errno) => panic!("UFFDIO_COPY: {errno}"),
                }
            }
            filled
        })
    };
    // A thread that starts maps memory for itself, for which any hole will do: so all start first.
    // The manager has when it has read this.
    let first = Mapping::anon(1);
    uffd.register(first.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .expect("UFFDIO_REGISTER");
    first.advise(0, PAGE, libc::MADV_DONTNEED).expect("madvise");
    let started = Arc::new(Barrier::new(THREADS));
    let changers: Vec<_> = memories
        .iter()
        .map(|memory| {
            let mut area = Area {
                uffd: Arc::clone(&uffd),
                memory: Arc::clone(memory),
                first: true,
            };
            let (mut rng, started) = (rng.fork(), Arc::clone(&started));
            Faulter::spawn(move || {
                started.wait();
                area.register();
                (0..ROUNDS).for_each(|_| change(&mut area, &mut rng));
            })
        })
        .collect();
    changers.into_iter().for_each(Faulter::join);
    done.store(true, Ordering::Relaxed);
    println!("{} pages were filled before anybody asked", filler.join());
    handler.stop();
    // Nobody is left to read what unmapping would tell.
    drop(uffd);
}

fn storm_of_drops() {
    storm(|area, _| area.drop_pages());
}

fn storm_of_moves() {
    storm(|area, _| area.move_pages());
}

fn storm_of_unmapping() {
    storm(|area, _| area.unmap());
}

fn storm_of_everything() {
    storm(|area, rng| match rng.below(0..3) {
        0 => area.drop_pages(),
        1 => area.move_pages(),
        _ => area.unmap(),
    });
}
