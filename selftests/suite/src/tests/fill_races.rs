// SPDX-License-Identifier: GPL-2.0-only

//! Fills while something else is done to the same memory.
//!
//! Each test lets both sides go at once, for a number of rounds, and then looks at what is left:
//! every page holds what was filled in or nothing, and no page is left over. A debug kernel sees
//! more in them than this program does.

use super::shmem::blocks;
use crate::harness::kind::{stamp, stamped, Kind, Memory};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::nodes::{addresses, try_send, NODES};
use crate::harness::pool::Pool;
use crate::harness::process::Target;
use crate::harness::setting::Setting;
use crate::harness::swap::SwapArea;
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, tests, uffd_with, user, Need};
use nix::fcntl::{fallocate, FallocateFlags};
use nix::unistd::ftruncate;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use uffd::abi::*;
use uffd::{Errno, Partial, Uffd};

tests! {
    copy_against_truncation [SHMEM];
    copy_against_truncation_of_huge_pages [HUGETLB, Need::Hugetlb(4)];
    copy_against_punching [SHMEM];
    zeropage_against_truncation [SHMEM];
    continue_against_truncation [SHMEM, MINOR];
    continue_against_punching [SHMEM, MINOR];
    fills_against_dropping [SHMEM];
    fills_against_replacing [SHMEM];
    fills_against_protecting [SHMEM];
    copy_against_registering [SHMEM];
    fills_against_the_end_of_the_process [SHMEM, MINOR];
    huge_fills_against_the_end_of_the_process [HUGETLB, Need::Hugetlb(4)];
    fills_against_compaction [SHMEM, Need::Root, Need::Path(COMPACT)];
    fills_against_nodes [SHMEM, NODES];
    huge_fills_against_nodes [HUGETLB, NODES, Need::Hugetlb(4)];
    fills_against_swapping [SHMEM, MINOR, Need::Root, Need::Swap];
    fills_against_swapping_from_outside [SHMEM, Need::Root, Need::Swap];
    fills_against_merging [Need::Root, Need::Path(KSM)];
}

const SHMEM: Need = Need::Feature(UFFD_FEATURE_MISSING_SHMEM);
const MINOR: Need = Need::Feature(UFFD_FEATURE_MINOR_SHMEM);
const HUGETLB: Need = Need::Feature(UFFD_FEATURE_MISSING_HUGETLBFS);
const COMPACT: &str = "/proc/sys/vm/compact_memory";
const KSM: &str = "/sys/kernel/mm/ksm/run";
const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const MINOR_MODE: u64 = UFFDIO_REGISTER_MODE_MINOR;
const PAGES: u64 = 16;
const ROUNDS: u64 = 60;

/// What a fill may answer when the memory changes under it.
const KNOWN: &[Errno] = &[
    Errno::EEXIST,
    Errno::ENOENT,
    Errno::EAGAIN,
    Errno::EFAULT,
    Errno::ENOMEM,
];

/// A fill of the page with this number.
type Fill = fn(&Uffd, &Memory, &Mapping, u64) -> Result<u64, Partial>;

fn copy(uffd: &Uffd, memory: &Memory, source: &Mapping, index: u64) -> Result<u64, Partial> {
    let unit = memory.unit();
    uffd.copy(memory.at(index), source.start(), unit, 0)
}

fn zero(uffd: &Uffd, memory: &Memory, _: &Mapping, index: u64) -> Result<u64, Partial> {
    uffd.zeropage(memory.at(index), memory.unit(), 0)
}

/// Puts the page into the file if it is not there, then maps it.
fn put(uffd: &Uffd, memory: &Memory, _: &Mapping, index: u64) -> Result<u64, Partial> {
    let (unit, file) = (memory.unit(), memory.file());
    let _ = nix::sys::uio::pwrite(file, &[VALUE], (index * unit) as i64);
    uffd.continue_pages(memory.at(index), unit, 0)
}

/// What filled pages begin with.
const VALUE: u8 = 0x5a;

/// Fills every page again and again while the function is run as often in another thread. At the
/// end every page that is there begins with what was filled in.
#[track_caller]
fn against(
    memory: &Arc<Memory>,
    mode: u64,
    fill: Fill,
    change: impl Fn(&Memory, u64) + Send + 'static,
) {
    let uffd = Arc::new(uffd_with(0));
    memory.register(&uffd, mode);
    let unit = memory.unit();
    let units = memory.len() / unit;
    let source = stamped(unit, VALUE);
    let start = Arc::new(Barrier::new(2));
    let (go, changed) = (Arc::clone(&start), Arc::clone(memory));
    let changer = Faulter::spawn(move || {
        go.wait();
        (0..ROUNDS).for_each(|round| change(&changed, round));
    });
    start.wait();
    let (mut done, mut rounds) = (0, 0);
    while rounds < ROUNDS || !changer.is_finished() {
        for index in 0..units {
            match fill(&uffd, memory, &source, index) {
                Ok(bytes) => {
                    assert_eq!(bytes, unit);
                    done += 1;
                }
                Err(error) => assert!(KNOWN.contains(&error.errno), "{error}"),
            }
        }
        rounds += 1;
    }
    changer.join();
    assert!(done > 0, "nothing was filled");
    println!("{done} fills in {rounds} rounds");
    // Given back, missing pages read as zeroes. Pages may be registered by somebody else by now.
    uffd.unregister(memory.start(), memory.len()).unwrap();
    for index in 0..units {
        let found = memory.read(index * unit);
        assert!([0, VALUE].contains(&found), "page {index}: {found:#x}");
    }
}

/// Cuts the file to nothing and makes it long again.
fn truncate(memory: &Memory, _: u64) {
    ftruncate(memory.file(), 0).unwrap();
    ftruncate(memory.file(), memory.len() as i64).unwrap();
}

/// Punches each second page out.
fn punch(memory: &Memory, round: u64) {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for index in (round % 2..PAGES).step_by(2) {
        let (from, len) = (index * memory.unit(), memory.unit());
        fallocate(memory.file(), flags, from as i64, len as i64).unwrap();
    }
}

/// Fails unless the file is empty once it is cut to nothing.
#[track_caller]
fn expect_no_page_left(memory: &Memory) {
    ftruncate(memory.file(), 0).unwrap();
    assert_eq!(blocks(memory.file()), 0);
}

fn copy_against_truncation() {
    for kind in [Kind::Memfd, Kind::Tmpfs, Kind::PrivateFile] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, copy, truncate);
        expect_no_page_left(&memory);
    }
}

fn copy_against_truncation_of_huge_pages() {
    let before = Pool::now();
    let memory = Arc::new(Kind::HugeMemfd.map(2));
    against(&memory, MISSING, copy, truncate);
    expect_no_page_left(&memory);
    drop(memory);
    assert_eq!(Pool::now(), before);
}

fn copy_against_punching() {
    let memory = Arc::new(Kind::Memfd.map(PAGES));
    against(&memory, MISSING, copy, punch);
    expect_no_page_left(&memory);
}

fn zeropage_against_truncation() {
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, zero, truncate);
        expect_no_page_left(&memory);
    }
}

fn continue_against_truncation() {
    for kind in [Kind::Memfd, Kind::PrivateFile] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MINOR_MODE, put, truncate);
        expect_no_page_left(&memory);
    }
}

fn continue_against_punching() {
    let memory = Arc::new(Kind::Memfd.map(PAGES));
    against(&memory, MINOR_MODE, put, punch);
    expect_no_page_left(&memory);
}

fn fills_against_dropping() {
    for kind in [Kind::Anon, Kind::PrivateFile, Kind::SharedAnon, Kind::Memfd] {
        for fill in [copy, zero] {
            let memory = Arc::new(kind.map(PAGES));
            against(&memory, MISSING, fill, |memory, _| {
                let len = memory.len();
                memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
            });
        }
    }
}

fn fills_against_replacing() {
    for kind in [Kind::Anon, Kind::Memfd] {
        for fill in [copy, zero] {
            let memory = Arc::new(kind.map(PAGES));
            // What is mapped anew is not registered, until the pages are used up.
            against(&memory, MISSING, fill, |memory, round| {
                if round % 4 == 0 && round / 4 + 1 < PAGES {
                    memory.map_over(round / 4 + 1);
                }
            });
        }
    }
}

fn fills_against_protecting() {
    // Mappings are split and merged under the fills.
    for kind in [Kind::Anon, Kind::Memfd] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, copy, |memory, round| {
            let (from, len) = (round % (PAGES - 3) * PAGE, 3 * PAGE);
            memory.protect(from, len, libc::PROT_READ).unwrap();
            let len = memory.len();
            memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
            memory.protect(0, len, crate::harness::mem::RW).unwrap();
        });
    }
}

fn copy_against_registering() {
    for kind in [Kind::Anon, Kind::Memfd] {
        let memory = Arc::new(kind.map(PAGES));
        let other = uffd_with(0);
        // Whoever owns the memory: any descriptor of the process may fill it.
        against(&memory, MISSING, copy, move |memory, round| {
            if round == 0 {
                return;
            }
            let (at, len) = (memory.at(round % PAGES), PAGE);
            let _ = other.register(at, len, MISSING);
            let len_all = memory.len();
            memory.advise(0, len_all, libc::MADV_DONTNEED).unwrap();
        });
    }
}

/// Fills the memory of a child until there is no child any more.
fn fill_to_the_end(kind: Kind, rounds: u64) {
    let (unit, units) = (kind.unit(), if kind.is_huge() { 4 } else { 256 });
    let source = stamped(units * unit, VALUE);
    for round in 0..rounds {
        let minor = round % 3 == 2 && !kind.is_huge() && kind.is_shared();
        let target = Target::spawn(|| {
            let (uffd, memory) = (uffd_with(0), kind.map(units));
            let mode = if minor {
                stamp(memory.twin(), 0, memory.len(), VALUE);
                MINOR_MODE
            } else {
                MISSING
            };
            memory.register(&uffd, mode);
            (uffd, memory)
        });
        let fill = |index: u64| {
            let (uffd, at) = (&target.uffd, target.start + index * unit);
            if minor {
                uffd.continue_pages(at, unit, 0)
            } else if round % 3 == 1 && !kind.is_huge() {
                uffd.zeropage(at, unit, 0)
            } else {
                uffd.copy(at, source.start(), unit, 0)
            }
        };
        // Its end begins somewhere in the middle.
        let middle = round * units / rounds;
        let mut index = 0;
        let last = loop {
            if index == middle {
                target.kill();
            }
            match fill(index % units) {
                Ok(_) => {}
                Err(error) if error.errno == Errno::ESRCH => break error,
                Err(error) => assert!(KNOWN.contains(&error.errno), "{error}"),
            }
            index += 1;
        };
        assert_eq!(last.errno, Errno::ESRCH);
        let start = target.start;
        let uffd = target.end();
        let again = uffd.copy(start, source.start(), unit, 0);
        assert_eq!(again.unwrap_err().errno, Errno::ESRCH);
    }
}

fn fills_against_the_end_of_the_process() {
    for kind in [Kind::Anon, Kind::Memfd] {
        fill_to_the_end(kind, 12);
    }
}

fn huge_fills_against_the_end_of_the_process() {
    let before = Pool::now();
    for kind in [Kind::HugePrivate, Kind::HugeMemfd] {
        fill_to_the_end(kind, 6);
    }
    assert_eq!(Pool::now(), before);
}

fn fills_against_compaction() {
    for kind in [Kind::Anon, Kind::Memfd] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, copy, |memory, round| {
            if round % 10 == 0 {
                fs::write(COMPACT, "1").unwrap();
            }
            let len = memory.len();
            memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
        });
    }
}

/// Moves what is there to the other node, then drops it.
fn send_and_drop(memory: &Memory, round: u64) {
    try_send(&addresses(memory, memory.unit()), (round % 2) as i32);
    if round % 4 == 3 {
        let len = memory.len();
        memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
    }
}

fn fills_against_nodes() {
    for kind in [Kind::Anon, Kind::PrivateFile, Kind::Memfd] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, copy, send_and_drop);
    }
}

fn huge_fills_against_nodes() {
    let before = Pool::now();
    for kind in [Kind::HugePrivate, Kind::HugeMemfd] {
        let memory = Arc::new(kind.map(2));
        against(&memory, MISSING, copy, send_and_drop);
    }
    assert_eq!(Pool::now(), before);
}

fn fills_against_swapping() {
    let _swap = SwapArea::new();
    let page_out = |memory: &Memory, _: u64| {
        let len = memory.len();
        memory.advise(0, len, libc::MADV_PAGEOUT).unwrap();
    };
    for kind in [Kind::Anon, Kind::PrivateFile, Kind::Memfd] {
        let memory = Arc::new(kind.map(PAGES));
        against(&memory, MISSING, copy, page_out);
        for index in 0..PAGES {
            assert_eq!(memory.read(index * PAGE), VALUE, "{kind:?}");
        }
    }
    let memory = Arc::new(Kind::Memfd.map(PAGES));
    against(&memory, MINOR_MODE, put, page_out);
    for index in 0..PAGES {
        assert_eq!(memory.read(index * PAGE), VALUE);
    }
}

/// process_madvise(2) of memory of another process.
fn advise_process(pidfd: &OwnedFd, start: u64, len: u64, advice: i32) -> Result<i64, Errno> {
    let range = user::iovec(start, len);
    let at = user::address_of(&raw const range);
    let args = [pidfd.as_raw_fd() as u64, at, 1, advice as u64, 0, 0];
    // SAFETY: the kernel reads the vector, and the range is the other process's.
    unsafe { user::syscall(libc::SYS_process_madvise, args) }
}

fn fills_against_swapping_from_outside() {
    let _swap = SwapArea::new();
    for kind in [Kind::Anon, Kind::Memfd] {
        let target = Target::spawn(|| {
            let (uffd, memory) = (uffd_with(0), kind.map(PAGES));
            memory.register(&uffd, MISSING);
            (uffd, memory)
        });
        let pid = target.pid().as_raw() as u64;
        // SAFETY: integers only.
        let fd = unsafe { user::syscall(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]) };
        // SAFETY: the call has just made it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd.unwrap() as i32) };
        let stop = Arc::new(AtomicBool::new(false));
        let (start, stopped) = (target.start, Arc::clone(&stop));
        let pager = Faulter::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Ordering::SeqCst) {
                let advice = [libc::MADV_PAGEOUT, libc::MADV_COLD][rounds % 2];
                advise_process(&pidfd, start, PAGES * PAGE, advice).unwrap();
                rounds += 1;
            }
        });
        let source = stamped(PAGE, VALUE);
        for round in 0..ROUNDS {
            for index in 0..PAGES {
                let at = target.start + index * PAGE;
                match target.uffd.copy(at, source.start(), PAGE, 0) {
                    Ok(_) => assert_eq!(round, 0),
                    Err(error) => assert_eq!(error.errno, Errno::EEXIST, "{kind:?}"),
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
        pager.join();
        // What was swapped out is still what was filled in.
        let (byte, pid) = (Mapping::anon(1), target.pid().as_raw());
        for index in 0..PAGES {
            let at = target.start + index * PAGE;
            assert_eq!(user::read_process(pid, at, 1, byte.start()), Ok(1));
            assert_eq!(byte.read(0), VALUE, "{kind:?}");
        }
        target.end();
    }
}

fn fills_against_merging() {
    let set = |name: &str, value| Setting::set(format!("/sys/kernel/mm/ksm/{name}"), value);
    let _daemon = [
        set("run", "1"),
        set("pages_to_scan", "1000"),
        set("sleep_millisecs", "0"),
    ];
    let memory = Arc::new(Kind::Anon.map(PAGES));
    let len = memory.len();
    memory.advise(0, len, libc::MADV_MERGEABLE).unwrap();
    // All pages are alike, so that they are merged while they are filled and dropped.
    against(&memory, MISSING, copy, move |memory, round| {
        if round % 3 == 0 {
            memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
        }
        std::thread::yield_now();
    });
    memory.advise(0, len, libc::MADV_DONTNEED).unwrap();
    let uffd = uffd_with(0);
    memory.register(&uffd, MISSING);
    let source = stamped(PAGE, VALUE);
    for index in 0..PAGES {
        assert_eq!(copy(&uffd, &memory, &source, index), Ok(PAGE));
    }
    // Merged or not, each page is one's own to write.
    for index in 0..PAGES {
        memory.write(index * PAGE, index as u8);
        assert_eq!(memory.read(index * PAGE + PAGE - 1), VALUE);
    }
    assert!((0..PAGES).all(|index| memory.read(index * PAGE) == index as u8));
    expect_errno(uffd.read(), Errno::EAGAIN);
}
