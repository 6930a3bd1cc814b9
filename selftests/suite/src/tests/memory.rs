// SPDX-License-Identifier: GPL-2.0-only

//! Huge pages where single ones are filled, and memory that is not to be had.

use crate::harness::kind::Kind;
use crate::harness::mem::{Mapping, HUGE_PAGE, PAGE, RW};
use crate::harness::process::Target;
use crate::harness::scan::is_huge;
use crate::harness::task::Faulter;
use crate::harness::{env, expect_errno, skip, tests, uffd_with, Need};
use nix::mount::{mount, MsFlags};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use uffd::abi::*;
use uffd::Errno;

const MISSING: u64 = UFFDIO_REGISTER_MODE_MISSING;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

tests! {
    filling_onto_a_huge_page;
    fault_in_memory_for_huge_pages;
    collapse_of_filled_pages;
    memory_limit [Need::Root, Need::Path("/sys/fs/cgroup")];
}

/// Two huge pages' worth of memory that wants huge pages, and the offset of a whole one.
fn for_huge_pages() -> (Mapping, u64) {
    let target = Mapping::new(2 * HUGE_PAGE, RW, ANON, None, 0).unwrap();
    if target.advise(0, target.len(), libc::MADV_HUGEPAGE).is_err() {
        skip("the kernel has no transparent huge pages");
    }
    let offset = target.start().next_multiple_of(HUGE_PAGE) - target.start();
    (target, offset)
}

fn filling_onto_a_huge_page() {
    let (target, offset) = for_huge_pages();
    target.write(offset, 1);
    if !is_huge(&target, offset) {
        skip("the kernel gave no huge page");
    }
    let (uffd, source) = (uffd_with(0), Mapping::anon(1));
    let start = target.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    assert!(is_huge(&target, offset), "registering splits nothing");
    for page in [0, 1, 511] {
        let at = start + page * PAGE;
        let copied = uffd.copy(at, source.start(), PAGE, 0);
        assert_eq!(copied.unwrap_err().errno, Errno::EEXIST);
        let zeroed = uffd.zeropage(at, PAGE, 0);
        assert_eq!(zeroed.unwrap_err().errno, Errno::EEXIST);
    }
    // Where a page was cut out of it, one can be filled in.
    target
        .advise(offset + 7 * PAGE, PAGE, libc::MADV_DONTNEED)
        .unwrap();
    source.fill(0, PAGE, 5);
    let copied = uffd.copy(start + 7 * PAGE, source.start(), PAGE, 0);
    assert_eq!(copied, Ok(PAGE));
    assert_eq!(target.read(offset + 7 * PAGE), 5);
    assert_eq!((target.read(offset), target.read(offset + PAGE)), (1, 0));
}

fn fault_in_memory_for_huge_pages() {
    let (target, offset) = for_huge_pages();
    let target = Arc::new(target);
    let (uffd, source) = (uffd_with(0), Mapping::anon(1));
    source.fill(0, PAGE, 2);
    let start = target.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    for (page, write) in [(3, false), (4, true)] {
        let at = offset + page * PAGE + 9;
        let memory = Arc::clone(&target);
        let faulter = Faulter::spawn(move || {
            if write {
                memory.write(at, 2);
            }
            memory.read(at)
        });
        env::wait_queued(&uffd, 1);
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        // The page, not the huge page that could have been.
        assert_eq!(fault.address, start + page * PAGE);
        assert_eq!(fault.flags != 0, write);
        uffd.copy(fault.address, source.start(), PAGE, 0).unwrap();
        assert_eq!(faulter.join(), 2);
    }
    assert!(!is_huge(&target, offset));
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn collapse_of_filled_pages() {
    let (target, offset) = for_huge_pages();
    let (uffd, source) = (uffd_with(0), Mapping::anon(512));
    source.fill(0, HUGE_PAGE, 7);
    let start = target.start() + offset;
    uffd.register(start, HUGE_PAGE, MISSING).unwrap();
    // Collapsing with a page missing would fill it behind the manager's back.
    let all_but_one = HUGE_PAGE - PAGE;
    let copied = uffd.copy(start, source.start(), all_but_one, 0);
    assert_eq!(copied, Ok(all_but_one));
    let collapse = || target.advise(offset, HUGE_PAGE, libc::MADV_COLLAPSE);
    assert!(collapse().is_err());
    let last = start + all_but_one;
    assert_eq!(uffd.copy(last, source.start(), PAGE, 0), Ok(PAGE));
    match collapse() {
        Ok(()) => assert!(is_huge(&target, offset)),
        // The memory for it may be in pieces.
        Err(errno) => assert!(matches!(errno, Errno::EAGAIN | Errno::ENOMEM), "{errno}"),
    }
    assert_eq!(
        (target.read(offset), target.read(offset + HUGE_PAGE - 1)),
        (7, 7)
    );
    let again = uffd.copy(start, source.start(), PAGE, 0);
    assert_eq!(again.unwrap_err().errno, Errno::EEXIST);
}

/// A group of processes with a memory limit, which goes away with the value.
pub(super) struct Limited(pub(super) PathBuf);

impl Limited {
    pub(super) fn new(bytes: u64) -> Limited {
        let root = std::env::temp_dir().join(format!("cgroup-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let flags = MsFlags::empty();
        mount(Some("none"), &root, Some("cgroup2"), flags, None::<&str>).unwrap();
        let group = root.join(format!("uffd-{}", std::process::id()));
        let set = fs::write(root.join("cgroup.subtree_control"), "+memory");
        if set.is_err() {
            let _ = nix::mount::umount(&root);
            skip("the kernel cannot limit memory");
        }
        fs::create_dir(&group).unwrap();
        fs::write(group.join("memory.max"), bytes.to_string()).unwrap();
        // Without swap, in case there is some.
        let _ = fs::write(group.join("memory.swap.max"), "0");
        Limited(group)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let root = self.0.parent().expect("a root");
        // Nothing is to be done about a failure.
        let _ = fs::remove_dir(&self.0);
        let _ = nix::mount::umount(root);
        let _ = fs::remove_dir(root);
    }
}

fn memory_limit() {
    const PAGES: u64 = 4096;
    let group = Limited::new(PAGES / 2 * PAGE);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 1);
    let target = Target::spawn(|| {
        fs::write(group.0.join("cgroup.procs"), "0").unwrap();
        let (uffd, memory) = (uffd_with(0), Kind::Anon.map(PAGES));
        memory.register(&uffd, MISSING);
        (uffd, memory)
    });
    // Pages are charged to whose memory they become, so the limit hits the manager's requests;
    // the manager itself is not in the group and must live.
    let mut filled = 0;
    let failed = loop {
        let at = target.start + filled * PAGE;
        match target.uffd.copy(at, source.start(), PAGE, 0) {
            Ok(bytes) => filled += bytes / PAGE,
            Err(partial) => break partial.errno,
        }
    };
    assert!((PAGES / 4..PAGES).contains(&filled), "{filled} pages");
    // No memory, or no more process, if it was the one to be killed for it.
    assert!(matches!(failed, Errno::ENOMEM | Errno::ESRCH), "{failed}");
    target.end();
}
