// SPDX-License-Identifier: GPL-2.0-only

//! Calls in which an allocation of the kernel fails: each in its turn, all that there are.
//!
//! A call that fails so says ENOMEM, leaves things as they were and works when repeated; what it
//! allocated before is freed. These tests are part of the suite where the kernel can fail
//! allocations.

use super::fill::{byte, pattern};
use super::register::{shape, MISSING};
use crate::harness::handler::Handler;
use crate::harness::inject::{sweep, Shot};
use crate::harness::mem::{Mapping, PAGE, RW};
use crate::harness::process::Child;
use crate::harness::slab::Ledger;
use crate::harness::{registered, tests, uffd_with, Need, EXIT_PANIC};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Partial, Uffd};

tests! {
    creation_by_system_call;
    creation_by_device [Need::Path("/dev/userfaultfd")];
    register_that_splits;
    register_that_merges;
    register_of_several_mappings;
    unregister_that_splits;
    unregister_that_merges;
    unmapping_that_splits;
    closing_gives_the_memory_up;
    copy_fails_without_a_trace;
    zeropage_fails_without_a_trace;
    failed_copies_lose_no_page;
    fault_is_taken_again;
    fork_drops_the_registration;
    fork_with_an_event [Need::Feature(UFFD_FEATURE_EVENT_FORK)];
}

/// What mappings are made of.
pub(super) const MAPPINGS: &[&str] = &["vm_area_struct", "anon_vma", "anon_vma_chain"];
/// A size for which there is a table of the second level, and one to spare on each side.
const HUGE: u64 = 3 << 30;
const GIB: u64 = 1 << 30;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("fd").count()
}

/// Populated memory with its neighbours, each page with a value of its own.
fn populated(pages: u64) -> Mapping {
    let memory = Mapping::anon(pages);
    (0..pages).for_each(|page| memory.write(page * PAGE, page as u8 + 1));
    memory
}

#[track_caller]
fn expect_contents(memory: &Mapping, pages: u64) {
    for page in 0..pages {
        assert_eq!(memory.read(page * PAGE), page as u8 + 1, "page {page}");
    }
}

/// The modes of each page.
fn modes(memory: &Mapping) -> Vec<u64> {
    let shape = shape(memory);
    let pages = shape
        .iter()
        .flat_map(|&(start, end, mode)| (start..end).map(move |_| mode));
    pages.collect()
}

fn creation(create: fn() -> Result<Uffd, Errno>) {
    let ledger = Ledger::open(&[]);
    let mut failed = 0;
    sweep(|shot| {
        let fds = descriptors();
        let result = shot.fire(create);
        match shot.value(result) {
            Some(uffd) => assert!(uffd.api(0).is_ok()),
            None => failed += 1,
        }
        assert_eq!(descriptors(), fds);
    });
    assert!(failed >= 2, "a context and a file, at least");
    ledger.settle();
}

fn creation_by_system_call() {
    creation(|| Uffd::from_syscall(libc::O_CLOEXEC | libc::O_NONBLOCK));
}

fn creation_by_device() {
    creation(|| Uffd::from_device(libc::O_CLOEXEC | libc::O_NONBLOCK));
}

/// Fails a call that changes the modes of the pages of populated memory: all change or none.
/// Returns how often it failed.
fn change(
    prepare: impl Fn(&Uffd, &Mapping),
    call: impl Fn(&Uffd, &Mapping) -> Result<(), Errno>,
    before: &[u64],
    after: &[u64],
) -> u32 {
    let pages = before.len() as u64;
    let ledger = Ledger::open(MAPPINGS);
    let mut failed = 0;
    sweep(|shot| {
        let (uffd, memory) = (uffd_with(0), populated(pages));
        prepare(&uffd, &memory);
        assert_eq!(modes(&memory), before);
        let result = shot.fire(|| call(&uffd, &memory));
        if shot.value(result).is_none() {
            failed += 1;
            assert_eq!(modes(&memory), before, "after a call that failed");
            call(&uffd, &memory).expect("the same call again");
        }
        assert_eq!(modes(&memory), after);
        expect_contents(&memory, pages);
    });
    ledger.settle();
    failed
}

fn register(uffd: &Uffd, memory: &Mapping, page: u64, pages: u64) -> Result<(), Errno> {
    let answer = uffd.register(memory.page(page), pages * PAGE, MISSING);
    answer.map(drop)
}

fn register_that_splits() {
    let failed = change(
        |_, _| {},
        |uffd, memory| register(uffd, memory, 2, 2),
        &[0; 6],
        &[0, 0, MISSING, MISSING, 0, 0],
    );
    assert!(failed > 0, "no failure was seen");
}

fn register_that_merges() {
    let failed = change(
        |uffd, memory| {
            register(uffd, memory, 0, 2).unwrap();
            register(uffd, memory, 4, 2).unwrap();
        },
        |uffd, memory| register(uffd, memory, 2, 2),
        &[MISSING, MISSING, 0, 0, MISSING, MISSING],
        &[MISSING; 6],
    );
    assert!(failed > 0, "no failure was seen");
}

/// Mappings are registered one after the other, so those before the failure stay registered.
fn register_of_several_mappings() {
    let ledger = Ledger::open(MAPPINGS);
    let mut halfway = 0;
    sweep(|shot| {
        let (uffd, memory) = (uffd_with(0), populated(6));
        memory.protect(2 * PAGE, 2 * PAGE, libc::PROT_READ).unwrap();
        let result = shot.fire(|| register(&uffd, &memory, 1, 4));
        if shot.value(result).is_none() {
            let found = modes(&memory);
            let count = found.iter().filter(|&&mode| mode == MISSING).count();
            let want: Vec<u64> = (0..6)
                .map(|page| {
                    if (1..1 + count).contains(&page) {
                        MISSING
                    } else {
                        0
                    }
                })
                .collect();
            assert_eq!(found, want);
            assert!([0, 1, 3].contains(&count), "{count} pages are registered");
            halfway += usize::from(count > 0);
            register(&uffd, &memory, 1, 4).expect("the same call again");
        }
        assert_eq!(modes(&memory), [0, MISSING, MISSING, MISSING, MISSING, 0]);
        uffd.unregister(memory.start(), memory.len()).unwrap();
        assert_eq!(modes(&memory), [0; 6]);
        expect_contents(&memory, 6);
    });
    assert!(halfway > 0, "no failure halfway was seen");
    ledger.settle();
}

fn unregister_that_splits() {
    let failed = change(
        |uffd, memory| register(uffd, memory, 0, 6).unwrap(),
        |uffd, memory| uffd.unregister(memory.page(2), 2 * PAGE),
        &[MISSING; 6],
        &[MISSING, MISSING, 0, 0, MISSING, MISSING],
    );
    assert!(failed > 0, "no failure was seen");
}

/// Mappings that cannot be merged for lack of memory stay apart.
fn unregister_that_merges() {
    change(
        |uffd, memory| register(uffd, memory, 2, 2).unwrap(),
        |uffd, memory| uffd.unregister(memory.page(2), 2 * PAGE),
        &[0, 0, MISSING, MISSING, 0, 0],
        &[0; 6],
    );
}

fn unmapping_that_splits() {
    let ledger = Ledger::open(MAPPINGS);
    sweep(|shot| {
        let (uffd, memory) = (uffd_with(0), populated(6));
        register(&uffd, &memory, 0, 6).unwrap();
        let result = shot.fire(|| memory.try_unmap(2 * PAGE, 2 * PAGE));
        let want = match shot.value(result) {
            Some(()) => vec![(0, 2, MISSING), (4, 6, MISSING)],
            None => {
                assert_eq!(modes(&memory), [MISSING; 6]);
                memory.unmap(2 * PAGE, 2 * PAGE);
                vec![(0, 2, MISSING), (4, 6, MISSING)]
            }
        };
        assert_eq!(shape(&memory), want);
    });
    ledger.settle();
}

/// Closing cannot fail: it frees the memory from the descriptor, merged or not.
fn closing_gives_the_memory_up() {
    let ledger = Ledger::open(MAPPINGS);
    let failed = sweep(|shot| {
        let (uffd, memory) = (uffd_with(0), populated(6));
        for page in [0, 2, 4] {
            register(&uffd, &memory, page, 1).unwrap();
        }
        shot.fire(|| drop(uffd));
        assert_eq!(modes(&memory), [0; 6]);
        expect_contents(&memory, 6);
        let other = uffd_with(0);
        register(&other, &memory, 0, 6).expect("free for another descriptor");
    });
    assert!(failed > 0, "merging allocates");
    ledger.settle();
}

/// Registered memory in which no page table and no reverse map is there yet, and the offset of a
/// page whose tables are nobody else's.
pub(super) fn untouched(uffd: &Uffd) -> (Mapping, u64) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let memory = Mapping::new(HUGE, RW, flags, None, 0).expect("mmap");
    let _ = memory.advise(0, memory.len(), libc::MADV_NOHUGEPAGE);
    uffd.register(memory.start(), memory.len(), MISSING)
        .expect("UFFDIO_REGISTER");
    let middle = (memory.start() + GIB).next_multiple_of(GIB) + (4 << 20);
    let offset = middle - memory.start();
    (memory, offset)
}

/// Fails a call that fills three pages: what it says is done is done, the rest is as before.
/// Returns how often it did nothing, and how often a part.
fn fills(
    call: impl Fn(&Uffd, u64, u64) -> Result<u64, Partial>,
    want: impl Fn(u64) -> u8,
) -> (u32, u32) {
    const PAGES: u64 = 3;
    let ledger = Ledger::open(MAPPINGS);
    let (mut nothing, mut partly) = (0, 0);
    sweep(|shot| {
        let uffd = uffd_with(0);
        let (memory, offset) = untouched(&uffd);
        let start = memory.start() + offset;
        let done = match shot.fire(|| call(&uffd, start, PAGES * PAGE)) {
            Ok(done) => done,
            Err(partial) => {
                assert!(shot.hit(), "{partial} without a cause");
                match partial.errno {
                    Errno::ENOMEM => {
                        assert_eq!(partial.result, -(Errno::ENOMEM as i64));
                        nothing += 1;
                        0
                    }
                    Errno::EAGAIN => {
                        assert!([PAGE as i64, 2 * PAGE as i64].contains(&partial.result));
                        partly += 1;
                        partial.result as u64
                    }
                    errno => panic!("{errno}"),
                }
            }
        };
        // EEXIST would tell of a page that was filled in silence.
        if done < PAGES * PAGE {
            let rest = PAGES * PAGE - done;
            assert_eq!(call(&uffd, start + done, rest), Ok(rest));
        }
        for at in (0..PAGES * PAGE).step_by(509) {
            // A fill that fails halfway starts over with the source's first byte.
            let from = if at < done { at } else { at - done };
            assert_eq!(memory.read(offset + at), want(from), "byte {at}");
        }
    });
    ledger.settle();
    (nothing, partly)
}

fn copy_fails_without_a_trace() {
    let source = pattern(3);
    let (nothing, partly) = fills(
        |uffd, start, len| uffd.copy(start, source.start(), len, 0),
        byte,
    );
    assert!(nothing > 0 && partly > 0, "{nothing} and {partly} failures");
}

fn zeropage_fails_without_a_trace() {
    let (nothing, _) = fills(|uffd, start, len| uffd.zeropage(start, len, 0), |_| 0);
    assert!(nothing > 0, "no failure was seen");
}

fn free_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("MemFree") << 10
}

/// A page lost with each failure would sum up to more than anything else moves.
fn failed_copies_lose_no_page() {
    const ROUNDS: u64 = 2000;
    let uffd = uffd_with(0);
    let (source, memory) = (pattern(1), registered(Mapping::anon(2), &uffd));
    let fill = |page: u64| uffd.copy(memory.page(page), source.start(), PAGE, 0);
    // With the tables there, all that is left to allocate is for the page.
    fill(0).expect("UFFDIO_COPY");
    let mut per_failure = 0;
    sweep(|shot| {
        let before = free_memory();
        for _ in 0..ROUNDS {
            if shot.fire(|| fill(1)).is_ok() {
                memory.advise(PAGE, PAGE, libc::MADV_DONTNEED).unwrap();
            }
            if !shot.hit() {
                return;
            }
        }
        per_failure = per_failure.max(before.saturating_sub(free_memory()) / ROUNDS);
    });
    assert!(
        per_failure < PAGE / 2,
        "{per_failure} bytes lost per failure"
    );
}

fn answering(source: Arc<Mapping>) -> impl FnMut(&Uffd, Event) {
    move |uffd, event| match event {
        Event::Pagefault(fault) => {
            let page = fault.address & !(PAGE - 1);
            assert_eq!(uffd.copy(page, source.start(), PAGE, 0), Ok(PAGE));
        }
        other => panic!("{other:?}"),
    }
}

/// A fault for which there is no memory is taken again, until it can be reported.
fn fault_is_taken_again() {
    let ledger = Ledger::open(&[]);
    let source = Arc::new(pattern(1));
    sweep(|shot| {
        let uffd = Arc::new(uffd_with(0));
        let (memory, offset) = untouched(&uffd);
        let handler = Handler::spawn(Arc::clone(&uffd), answering(Arc::clone(&source)));
        let value = shot.fire(|| memory.read(offset + 100));
        assert_eq!(value, byte(100));
        let seen = handler.stop();
        assert_eq!(seen.len(), 1, "{seen:?}");
    });
    ledger.settle();
}

/// Starts the test again in a process without rseq. Its area lies in a page that a fork shares with
/// the child; when the kernel finds no memory for a page of its own to write there, it kills.
fn without_rseq(name: &str) {
    const VARIABLE: &str = "GLIBC_TUNABLES";
    if std::env::var_os(VARIABLE).is_none() {
        let status = Command::new("/proc/self/exe")
            .args(["--run-one", &format!("injection::{name}")])
            .env(VARIABLE, "glibc.pthread.rseq=0")
            .status();
        let code = status.expect("this program").code();
        std::process::exit(code.unwrap_or(EXIT_PANIC));
    }
}

/// Forks in a round. The child ends at once.
fn fork_in(shot: &mut Shot) -> Option<()> {
    match shot.fire(|| Child::try_spawn(|| {})) {
        // No process number for lack of memory is EAGAIN.
        Err(Errno::ENOMEM | Errno::EAGAIN) if shot.hit() => None,
        Err(errno) => panic!("fork: {errno}"),
        Ok(child) => {
            child.expect_success();
            Some(())
        }
    }
}

fn fork_drops_the_registration() {
    without_rseq("fork_drops_the_registration");
    let ledger = Ledger::open(&["mm_struct"]);
    let (uffd, memory) = (uffd_with(0), populated(6));
    register(&uffd, &memory, 1, 1).unwrap();
    register(&uffd, &memory, 3, 2).unwrap();
    let before = modes(&memory);
    let mut failed = 0;
    sweep(|shot| {
        failed += u32::from(fork_in(shot).is_none());
        assert_eq!(modes(&memory), before);
    });
    assert!(failed > 0, "no failure was seen");
    expect_contents(&memory, 6);
    drop(uffd);
    assert_eq!(modes(&memory), [0; 6]);
    ledger.settle();
}

/// The same where the child gets a descriptor. A fork can fail after it was announced.
fn fork_with_an_event() {
    without_rseq("fork_with_an_event");
    let ledger = Ledger::open(&["mm_struct"]);
    let uffd = Arc::new(uffd_with(UFFD_FEATURE_EVENT_FORK));
    let memory = populated(6);
    register(&uffd, &memory, 1, 1).unwrap();
    register(&uffd, &memory, 3, 2).unwrap();
    let handler = Handler::spawn(Arc::clone(&uffd), |_, event| match event {
        Event::Fork(_) => {}
        other => panic!("{other:?}"),
    });
    let mut children = 0;
    let failures = sweep(|shot| {
        children += usize::from(fork_in(shot).is_some());
    });
    let seen = handler.stop();
    let announced = children..=children + failures as usize;
    assert!(announced.contains(&seen.len()), "{} events", seen.len());
    for event in seen {
        if let Event::Fork(fd) = event {
            nix::unistd::close(fd).expect("close");
        }
    }
    drop(uffd);
    assert_eq!(modes(&memory), [0; 6]);
    ledger.settle();
}
