// SPDX-License-Identifier: GPL-2.0-only

//! Managers that close, die or never read, and programs that end: nobody waits for ever, and nothing
//! is left behind.

use super::*;
use crate::harness::env;
use crate::harness::managed::{adopt, next_event, wait_input};
use crate::harness::rng::Rng;
use crate::harness::slab::Ledger;
use crate::harness::task::wait_process_in;
use crate::harness::tests;
use crate::tests::process::{execute, USAGE};
use nix::sys::ptrace;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::Pid;
use uffd::Event;

tests! {
    closing_lets_every_change_go_on [ALL, CONTEXTS];
    manager_that_dies_lets_every_change_go_on [ALL, CONTEXTS];
    nobody_reads_and_the_program_is_killed [ALL, CONTEXTS];
    exit_tells_nobody [ALL, CONTEXTS];
    exit_while_a_thread_waits [ALL, CONTEXTS];
    exec_while_a_thread_waits [ALL, CONTEXTS];
    criu_357_closing_against_changes [ALL, CONTEXTS];
    killing_against_changes [ALL, CONTEXTS];
    access_from_outside_while_changing [ALL];
    debugger_looks_at_a_program_that_waits [ALL];
    core_dump_of_a_program_that_waits [ALL, CONTEXTS];
}

const FEATURES: u64 = EVENTS | UFFD_FEATURE_EVENT_FORK;
const ALL: Need = Need::Feature(FEATURES);

/// What a program does to memory of four pages, and the call it waits in.
struct Change {
    call: i64,
    make: fn(&Mapping),
}

/// Every kind of change. Some are told twice.
const CHANGES: [Change; 7] = [
    Change {
        call: libc::SYS_madvise,
        make: |memory| memory.advise(0, 2 * PAGE, libc::MADV_DONTNEED).unwrap(),
    },
    Change {
        call: libc::SYS_madvise,
        make: |memory| memory.advise(0, PAGE, libc::MADV_FREE).unwrap(),
    },
    Change {
        call: libc::SYS_munmap,
        make: |memory| memory.unmap(2 * PAGE, 2 * PAGE),
    },
    Change {
        call: libc::SYS_mmap,
        make: |memory| memory.map_over(1),
    },
    Change {
        call: libc::SYS_mremap,
        make: |memory| {
            let (from, to) = (memory.page(0), memory.page(2));
            remap(from, PAGE, to, PAGE, 0).unwrap();
        },
    },
    Change {
        call: libc::SYS_mremap,
        make: |memory| {
            let (from, to) = (memory.page(0), memory.page(2));
            remap(from, PAGE, to, PAGE, libc::MREMAP_DONTUNMAP).unwrap();
        },
    },
    Change {
        call: libc::SYS_clone,
        make: |memory| fork(|| assert_eq!(memory.read(PAGE), 0)),
    },
];

fn closing_lets_every_change_go_on() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(4);
    for Change { call, make } in CHANGES {
        let managed = Managed::start(FEATURES, &[&target], |_| make(&target));
        wait_input(&managed.uffd);
        managed.wait_in(call);
        let (program, uffd, _link) = managed.into_parts();
        drop(uffd);
        program.expect_success();
    }
    ledger.settle();
}

fn manager_that_dies_lets_every_change_go_on() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(4);
    for Change { make, .. } in CHANGES {
        let managed = Managed::start(FEATURES, &[&target], |link| {
            link.hear();
            make(&target);
        });
        let (program, uffd, link) = managed.into_parts();
        // It has read a message, and may own the descriptor that came with it.
        let manager = Child::spawn(|| {
            wait_input(&uffd);
            uffd.read().unwrap();
            nix::unistd::pause();
        });
        drop(uffd);
        link.say(0);
        wait_process_in(manager.pid().as_raw(), libc::SYS_pause);
        manager.signal(Signal::SIGKILL);
        manager.wait();
        program.expect_success();
    }
    ledger.settle();
}

fn nobody_reads_and_the_program_is_killed() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(4);
    for Change { call, make } in CHANGES {
        let managed = Managed::start(FEATURES, &[&target], |_| make(&target));
        wait_input(&managed.uffd);
        managed.wait_in(call);
        let uffd = managed.kill();
        expect_silence(&uffd);
        expect_gone(&uffd, &target);
    }
    ledger.settle();
}

fn exit_tells_nobody() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(4);
    let managed = Managed::start(FEATURES, &[&target], |_| {});
    let uffd = managed.end();
    expect_silence(&uffd);
    expect_gone(&uffd, &target);
    drop(uffd);
    ledger.settle();
}

/// A program that does something while a thread of it waits for its event to be read.
fn with_waiting_thread(target: &Mapping, body: impl FnOnce()) -> Managed {
    Managed::start(FEATURES, &[target], |link| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                link.say(nix::unistd::gettid().as_raw() as u64);
                target.advise(0, PAGE, libc::MADV_DONTNEED)
            });
            link.hear();
            assert!(!waiting.is_finished());
            body();
        });
    })
}

/// Lets that program go on when its thread waits.
fn go_on(managed: &Managed) {
    let thread = managed.link.hear();
    wait_process_in(thread as i32, libc::SYS_madvise);
    wait_input(&managed.uffd);
    managed.link.say(0);
}

fn exit_while_a_thread_waits() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(1);
    // SAFETY: _exit takes an integer and does not return.
    let managed = with_waiting_thread(&target, || unsafe { libc::_exit(0) });
    go_on(&managed);
    expect_silence(&managed.end());
    ledger.settle();
}

fn exec_while_a_thread_waits() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(1);
    let managed = with_waiting_thread(&target, || execute());
    go_on(&managed);
    let (program, uffd, _link) = managed.into_parts();
    let pid = program.pid();
    let status = WaitStatus::Exited(pid, USAGE);
    assert_eq!(program.wait(), status);
    expect_silence(&uffd);
    expect_gone(&uffd, &target);
    drop(uffd);
    ledger.settle();
}

/// Starts programs that make a change again and again, reads what there is for a while, and then
/// ends each in some way.
fn against_changes(end: impl Fn(Child, Uffd)) {
    const ROUNDS: usize = 4;
    let (ledger, mut rng) = (Ledger::open(&[]), Rng::new());
    let targets: Vec<_> = (0..20).map(|_| Mapping::lone(4)).collect();
    let all: Vec<_> = targets.iter().collect();
    for Change { make, .. } in CHANGES.iter().cycle().take(ROUNDS * CHANGES.len()) {
        let managed = Managed::start(FEATURES, &all, |_| targets.iter().for_each(make));
        let (program, uffd, _link) = managed.into_parts();
        for _ in 0..rng.below(0..60) {
            match uffd.read_event() {
                Ok(Event::Fork(fd)) => drop(adopt(fd)),
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => panic!("read: {errno}"),
            }
        }
        (0..rng.below(0..5000)).for_each(|_| std::hint::spin_loop());
        end(program, uffd);
    }
    ledger.settle();
}

fn criu_357_closing_against_changes() {
    against_changes(|program, uffd| {
        drop(uffd);
        program.expect_success();
    });
}

fn killing_against_changes() {
    against_changes(|program, uffd| {
        program.signal(Signal::SIGKILL);
        program.wait();
        expect_silence(&uffd);
    });
}

fn access_from_outside_while_changing() {
    let target = Mapping::lone(4);
    let managed = Managed::start(FEATURES, &[&target], |link| {
        target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
        link.hear();
        assert_eq!((target.read(PAGE), target.read(2 * PAGE)), (1, 8));
    });
    managed.wait_in(libc::SYS_madvise);
    wait_input(&managed.uffd);
    let (pid, start) = (managed.pid().as_raw(), target.start());
    let local = Mapping::anon(2);
    local.write(PAGE, 8);
    let (into, from) = (local.page(0), local.page(1));
    let reader = changing(libc::SYS_process_vm_readv, move || {
        user::read_process(pid, start + PAGE, 1, into)
    });
    let writer = changing(libc::SYS_process_vm_writev, move || {
        user::write_process(pid, start + 2 * PAGE, 1, from)
    });
    // Their faults come first, but cannot be resolved before the change was read.
    let mut faults = [next_fault(&managed.uffd), next_fault(&managed.uffd)];
    faults.sort();
    assert_eq!(faults, [target.page(1), target.page(2)]);
    assert_eq!(fill_error(&managed.uffd, faults[0]), Some(Errno::EAGAIN));
    let (start, end) = (target.page(0), target.page(1));
    assert_eq!(next_event(&managed.uffd), Event::Remove { start, end });
    managed.wait_in(libc::SYS_read);
    for fault in faults {
        fill(&managed.uffd, fault, 1);
    }
    assert_eq!((reader.join(), writer.join()), (Ok(1), Ok(1)));
    assert_eq!(local.read(0), 1);
    managed.link.say(0);
    managed.end();
}

fn debugger_looks_at_a_program_that_waits() {
    let target = Mapping::lone(3);
    let managed = Managed::start(FEATURES, &[&target], |_| {
        assert_eq!(target.read(PAGE), 1);
        ptrace::traceme().unwrap();
        kill(Pid::this(), Signal::SIGSTOP).unwrap();
        target.advise(0, PAGE, libc::MADV_DONTNEED).unwrap();
    });
    let pid = managed.pid();
    assert_eq!(next_fault(&managed.uffd), target.page(1));
    fill(&managed.uffd, target.page(1), 1);
    let stopped = Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP));
    assert_eq!(waitpid(pid, None), stopped);
    ptrace::cont(pid, None).unwrap();
    managed.wait_in(libc::SYS_madvise);
    // It cannot be stopped there, but looked at: by way of /proc, as it is not stopped.
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let peek = |page: u64| {
        let mut byte = [0];
        let at = std::os::unix::fs::FileExt::read_at(&memory, &mut byte, target.page(page));
        at.map(|len| (len, byte[0])).ok()
    };
    assert_eq!(peek(1), Some((1, 1)));
    assert_eq!(peek(2), None);
    expect(
        &managed.uffd,
        UFFD_EVENT_REMOVE,
        [target.page(0), target.page(1), 0],
    );
    managed.end();
}

fn core_dump_of_a_program_that_waits() {
    let ledger = Ledger::open(&[]);
    let target = Mapping::lone(3);
    let folder = std::env::temp_dir();
    let managed = with_waiting_thread(&target, || {
        std::env::set_current_dir(&folder).unwrap();
        let limit = nix::sys::resource::RLIM_INFINITY;
        setrlimit(Resource::RLIMIT_CORE, limit, limit).unwrap();
        // SAFETY: sends a signal to this process.
        unsafe { libc::abort() }
    });
    go_on(&managed);
    let (program, uffd, _link) = managed.into_parts();
    let pid = program.pid();
    let status = program.wait();
    let aborted = matches!(status, WaitStatus::Signaled(_, Signal::SIGABRT, _));
    assert!(aborted, "{status:?}");
    expect_silence(&uffd);
    assert_eq!(env::fdinfo(&uffd).total, 0);
    for name in ["core".to_owned(), format!("core.{pid}")] {
        // Where dumps go is the machine's choice.
        let _ = std::fs::remove_file(folder.join(name));
    }
    drop(uffd);
    ledger.settle();
}
