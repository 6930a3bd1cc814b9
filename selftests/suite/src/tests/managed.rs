// SPDX-License-Identifier: GPL-2.0-only

//! A manager that follows programs through all that they do to their memory.
//!
//! A program writes, drops, unmaps, maps and moves pages, and forks, as the dice have it. Its manager
//! is another process. Events tell it how the memory changes, and the program says, over a socket,
//! what no event tells: what it wrote and what it mapped. The manager fills each page with a pattern
//! of its own, often before anybody needs it. So it has a copy of the memory, and when a process ends
//! both are compared.

use crate::harness::managed::{adopt, Link, Managed};
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::process::Child;
use crate::harness::rng::Rng;
use crate::harness::slab::{attribute, Ledger, CONTEXTS};
use crate::harness::{tests, user, Need};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::os::fd::AsFd;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    copy_is_exact_first_quarter [Need::Feature(EVENTS)];
    copy_is_exact_second_quarter [Need::Feature(EVENTS)];
    copy_is_exact_third_quarter [Need::Feature(EVENTS)];
    copy_is_exact_last_quarter [Need::Feature(EVENTS)];
}

const EVENTS: u64 = UFFD_FEATURE_EVENT_FORK
    | UFFD_FEATURE_EVENT_REMAP
    | UFFD_FEATURE_EVENT_REMOVE
    | UFFD_FEATURE_EVENT_UNMAP;
/// Pages that a program plays with.
const PAGES: u64 = 12;
/// Steps of the first process; each child takes half as many as its parent.
const STEPS: u64 = 32;
/// Seeds of a run, in all its parts: each is a test, with a time limit of its own.
const RUNS: u64 = 200;
const PARTS: u64 = 4;

/// What the program says. Numbers of pages count from the start of its memory.
#[derive(Debug)]
enum Word {
    /// It wrote a byte: page, offset, value.
    Wrote(u64, usize, u8),
    /// It mapped pages, and waits until they are registered.
    Mapped(Range<u64>),
    /// It is about to fork; the child's socket comes along.
    Forking,
    /// It ends, and the page holds this.
    Holds(u64, Vec<u8>),
    /// That was all.
    End,
}

impl Word {
    fn encode(&self) -> Vec<u8> {
        match self {
            Word::Wrote(page, offset, value) => {
                let [low, high] = (*offset as u16).to_le_bytes();
                vec![0, *page as u8, low, high, *value]
            }
            Word::Mapped(range) => vec![1, range.start as u8, range.end as u8],
            Word::Forking => vec![2],
            Word::Holds(page, bytes) => [&[3, *page as u8], &bytes[..]].concat(),
            Word::End => vec![4],
        }
    }

    fn decode(bytes: &[u8]) -> Word {
        match *bytes {
            [0, page, low, high, value] => {
                Word::Wrote(page.into(), u16::from_le_bytes([low, high]).into(), value)
            }
            [1, start, end] => Word::Mapped(start.into()..end.into()),
            [2] => Word::Forking,
            [3, page, ref bytes @ ..] => Word::Holds(page.into(), bytes.to_vec()),
            [4] => Word::End,
            _ => panic!("{bytes:?}"),
        }
    }
}

/// A process of the program.
struct Program<'a> {
    memory: &'a Mapping,
    mapped: [bool; PAGES as usize],
    link: Link,
    rng: Rng,
    children: Vec<Child>,
}

impl Program<'_> {
    fn say(&self, word: Word) {
        self.link.send(&word.encode(), None);
    }

    fn run(mut self, steps: u64) {
        for step in 0..steps {
            match self.rng.below(0..16) {
                0..=5 => self.write(),
                6..=7 => self.drop_pages(),
                8 => self.unmap(),
                9..=10 => self.map(),
                11..=13 => self.remap(),
                // Without registered memory there is no event, and nothing for a child to tell.
                _ if self.mapped.contains(&true) => self.fork((steps - step) / 2),
                _ => {}
            }
        }
        for page in (0..PAGES).filter(|&page| self.mapped[page as usize]) {
            let bytes = self.memory.read_bytes(page * PAGE, PAGE);
            self.say(Word::Holds(page, bytes));
        }
        self.say(Word::End);
        self.children.into_iter().for_each(Child::expect_success);
    }

    /// Some pages, a few at most.
    fn range(&mut self) -> Range<u64> {
        let start = self.rng.below(0..PAGES);
        let most = (PAGES - start).min(4);
        start..start + 1 + self.rng.below(0..most)
    }

    /// Some pages that are all mapped, or all not; none if the dice say so.
    fn uniform(&mut self, mapped: bool) -> Option<Range<u64>> {
        let range = self.range();
        let fits = |page: &u64| self.mapped[*page as usize] == mapped;
        let len = range.clone().take_while(fits).count() as u64;
        (len > 0).then(|| range.start..range.start + len)
    }

    fn set(&mut self, range: Range<u64>, mapped: bool) {
        range.for_each(|page| self.mapped[page as usize] = mapped);
    }

    fn write(&mut self) {
        let Some(range) = self.uniform(true) else {
            return;
        };
        for page in range {
            let (offset, value) = (self.rng.below(0..PAGE), self.rng.below(0..256) as u8);
            self.memory.write(page * PAGE + offset, value);
            self.say(Word::Wrote(page, offset as usize, value));
        }
    }

    fn drop_pages(&mut self) {
        if let Some(Range { start, end }) = self.uniform(true) {
            let len = (end - start) * PAGE;
            self.memory
                .advise(start * PAGE, len, libc::MADV_DONTNEED)
                .expect("madvise");
        }
    }

    fn unmap(&mut self) {
        // Holes in it do not matter.
        let range = self.range();
        self.memory
            .unmap(range.start * PAGE, (range.end - range.start) * PAGE);
        self.set(range, false);
    }

    fn map(&mut self) {
        let Some(range) = self.uniform(false) else {
            return;
        };
        let (start, len) = (range.start * PAGE, (range.end - range.start) * PAGE);
        let start = self.memory.start() + start;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args = [start, len, RW as u64, flags as u64, u64::MAX, 0];
        // SAFETY: nothing is replaced, and no reference points there.
        let at = unsafe { user::syscall(libc::SYS_mmap, args) };
        assert_eq!(at, Ok(start as i64), "mmap");
        self.say(Word::Mapped(range.clone()));
        self.link.hear();
        self.set(range, true);
    }

    fn remap(&mut self) {
        let Some(range) = self.uniform(true) else {
            return;
        };
        let pages = range.end - range.start;
        let to = self.rng.below(0..PAGES - pages + 1);
        let target = to..to + pages;
        if target.start < range.end && range.start < target.end {
            return;
        }
        let stays = self.rng.below(0..3) == 0;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let flags = flags | if stays { libc::MREMAP_DONTUNMAP } else { 0 };
        let at = |page: u64| self.memory.start() + page * PAGE;
        let len = pages * PAGE;
        let args = [at(range.start), len, len, flags as u64, at(to), 0];
        // SAFETY: both ranges lie in the memory, which no reference points into.
        match unsafe { user::syscall(libc::SYS_mremap, args) } {
            Ok(_) => {
                self.set(target, true);
                self.set(range, stays);
            }
            // What came from two places does not move as one.
            Err(errno) => assert_eq!(errno, Errno::EFAULT, "mremap"),
        }
    }

    fn fork(&mut self, steps: u64) {
        let (theirs, ours) = Link::pair();
        let forking = Word::Forking.encode();
        self.link.send(&forking, Some(theirs.as_fd()));
        drop(theirs);
        let (memory, mapped, rng) = (self.memory, self.mapped, self.rng.fork());
        let child = Child::spawn(|| {
            let children = Vec::new();
            let program = Program {
                memory,
                mapped,
                link: ours,
                rng,
                children,
            };
            program.run(steps);
        });
        self.children.push(child);
    }
}

/// A process as its manager sees it.
struct Process {
    uffd: Uffd,
    link: Link,
    /// Address of the memory.
    start: u64,
    /// What is registered, by page. None where nothing is.
    pages: BTreeMap<u64, Option<Vec<u8>>>,
    /// Sockets of children that are about to be.
    cradle: VecDeque<Link>,
    ended: bool,
}

/// All processes that a program has become.
struct Manager {
    processes: Vec<Process>,
    source: Mapping,
    patterns: u64,
    rng: Rng,
    seen: Seen,
}

/// How often the manager has read or done something.
type Seen = BTreeMap<&'static str, u64>;

impl Manager {
    /// Follows all processes to their end.
    fn run(mut self) -> Seen {
        while !self.processes.is_empty() {
            let each = self.processes.iter();
            let fds = each.flat_map(|process| [process.uffd.as_fd(), process.link.as_fd()]);
            let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            poll(&mut fds, PollTimeout::NONE).unwrap();
            let ready: Vec<_> = fds
                .chunks(2)
                .map(|pair| pair[0].any() == Some(true))
                .collect();
            for (index, told) in ready.into_iter().enumerate() {
                // First what was said, as it was said before anything happened next.
                self.listen(index);
                if told {
                    self.read(index);
                }
                self.fill_something(index);
            }
            self.processes.retain(|process| !process.ended);
        }
        self.seen
    }

    fn listen(&mut self, index: usize) {
        let process = &mut self.processes[index];
        while let Some((bytes, descriptor)) = process.link.try_receive() {
            match Word::decode(&bytes) {
                Word::Wrote(page, offset, value) => {
                    let copy = process.pages.get_mut(&page).and_then(Option::as_mut);
                    copy.expect("a page that was written to")[offset] = value;
                }
                Word::Mapped(Range { start, end }) => {
                    let (address, len) = (process.start + start * PAGE, (end - start) * PAGE);
                    process
                        .uffd
                        .register(address, len, UFFDIO_REGISTER_MODE_MISSING)
                        .expect("UFFDIO_REGISTER");
                    process.pages.extend((start..end).map(|page| (page, None)));
                    process.link.say(0);
                }
                Word::Forking => {
                    let link = descriptor.expect("a socket");
                    process.cradle.push_back(link.into());
                }
                Word::Holds(page, bytes) => {
                    let copy = process.pages.remove(&page).expect("a page that is mapped");
                    let copy = copy.expect("a page that is there");
                    let differs = (0..copy.len()).find(|&at| copy[at] != bytes[at]);
                    assert_eq!(differs, None, "page {page}");
                }
                Word::End => {
                    let left: Vec<_> = process.pages.keys().collect();
                    assert!(left.is_empty(), "the process does not have {left:?}");
                    process.ended = true;
                }
            }
        }
    }

    fn read(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let first = process.start;
        let pages = |start: u64, end: u64| (start - first) / PAGE..(end - first) / PAGE;
        let event = process.uffd.read_event();
        let seen = match event {
            Ok(Event::Pagefault(_)) => "faults",
            Ok(Event::Remove { .. }) => "removes",
            Ok(Event::Unmap { .. }) => "unmaps",
            Ok(Event::Remap { .. }) => "remaps",
            Ok(Event::Fork(_)) => "forks",
            _ => "nothing",
        };
        *self.seen.entry(seen).or_default() += 1;
        match event {
            Ok(Event::Pagefault(fault)) => {
                let page = (fault.address - first) / PAGE;
                let errno = self.fill(index, page).err();
                let process = &mut self.processes[index];
                match errno {
                    None => {}
                    // It came just before the fault, which has been told nevertheless.
                    Some(Errno::EEXIST) => process.uffd.wake(fault.address, PAGE).unwrap(),
                    Some(errno) => panic!("UFFDIO_COPY for page {page}: {errno}"),
                }
            }
            Ok(Event::Remove { start, end }) => {
                let gone = process.pages.range_mut(pages(start, end));
                gone.for_each(|(_, copy)| *copy = None);
            }
            Ok(Event::Unmap { start, end }) => {
                let range = pages(start, end);
                process.pages.retain(|page, _| !range.contains(page));
            }
            Ok(Event::Remap { from, to, len }) => {
                for (old, new) in pages(from, from + len).zip(pages(to, to + len)) {
                    // The old place is unmapped, which is told next, or stays without a page.
                    let copy = process.pages.insert(old, None);
                    process
                        .pages
                        .insert(new, copy.expect("a page that can move"));
                }
            }
            Ok(Event::Fork(fd)) => {
                let link = process.cradle.pop_front().expect("a child with a socket");
                let child = Process {
                    uffd: adopt(fd),
                    link,
                    start: first,
                    pages: process.pages.clone(),
                    cradle: VecDeque::new(),
                    ended: false,
                };
                self.processes.push(child);
            }
            // A fault whose page came meanwhile.
            Err(Errno::EAGAIN) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Fills a page that nobody may have asked for, now and then.
    fn fill_something(&mut self, index: usize) {
        let process = &self.processes[index];
        let empty = process.pages.iter().filter(|(_, copy)| copy.is_none());
        let empty: Vec<_> = empty.map(|(page, _)| *page).collect();
        if empty.is_empty() || self.rng.below(0..3) > 0 {
            return;
        }
        let page = empty[self.rng.below(0..empty.len() as u64) as usize];
        match self.fill(index, page) {
            Ok(()) => *self.seen.entry("early fills").or_default() += 1,
            // Its mappings are changing, have changed, or the page is still to be dropped.
            Err(Errno::EAGAIN | Errno::ENOENT | Errno::EEXIST | Errno::ESRCH) => {}
            Err(errno) => panic!("UFFDIO_COPY for page {page}: {errno}"),
        }
    }

    fn fill(&mut self, index: usize, page: u64) -> Result<(), Errno> {
        self.patterns += 1;
        let pattern = self
            .patterns
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes();
        let bytes: Vec<u8> = pattern
            .iter()
            .copied()
            .cycle()
            .take(PAGE as usize)
            .collect();
        self.source.write_bytes(0, &bytes);
        let process = &mut self.processes[index];
        let address = process.start + page * PAGE;
        process
            .uffd
            .copy(address, self.source.start(), PAGE, 0)
            .map_err(|partial| partial.errno)?;
        process.pages.insert(page, Some(bytes));
        Ok(())
    }
}

/// One program, from its start to the end of the last process it has become.
fn follow(seed: u64) -> Seen {
    let mut rng = Rng::with_seed(seed);
    let memory = Mapping::lone(PAGES);
    let dice = rng.fork();
    let managed = Managed::start(EVENTS, &[&memory], |link| {
        let program = Program {
            memory: &memory,
            mapped: [true; PAGES as usize],
            link,
            rng: dice,
            children: Vec::new(),
        };
        program.run(STEPS);
    });
    let (program, uffd, link) = managed.into_parts();
    let process = Process {
        uffd,
        link,
        start: memory.start(),
        pages: (0..PAGES).map(|page| (page, None)).collect(),
        cradle: VecDeque::new(),
        ended: false,
    };
    let manager = Manager {
        processes: vec![process],
        source: Mapping::anon(1),
        patterns: 0,
        rng,
        seen: Seen::new(),
    };
    let seen = manager.run();
    program.expect_success();
    seen
}

/// Follows programs of a part of the seeds.
fn follow_part(part: u64) {
    // Not every configuration counts contexts.
    let ledger = attribute(CONTEXTS, "objects").map(|_| Ledger::open(&[]));
    let seeds = (0..Rng::runs(RUNS)).filter(|run| run % PARTS == part);
    let (first, mut followed, mut seen) = (Rng::first_seed(), 0, Seen::new());
    for run in seeds {
        followed += 1;
        for (what, count) in follow(first + run) {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{seen:?}");
    for what in [
        "faults",
        "removes",
        "unmaps",
        "remaps",
        "forks",
        "early fills",
    ] {
        let enough = seen.get(what).is_some_and(|&count| count >= followed);
        assert!(enough || followed < RUNS / PARTS, "{what}: {seen:?}");
    }
    if let Some(ledger) = ledger {
        ledger.settle();
    }
}

fn copy_is_exact_first_quarter() {
    follow_part(0);
}

fn copy_is_exact_second_quarter() {
    follow_part(1);
}

fn copy_is_exact_third_quarter() {
    follow_part(2);
}

fn copy_is_exact_last_quarter() {
    follow_part(3);
}
