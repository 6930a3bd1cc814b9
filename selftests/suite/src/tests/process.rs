// SPDX-License-Identifier: GPL-2.0-only

//! What becomes of faults when processes start, stop, get signals and end.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::{descriptor_of, Child};
use crate::harness::task::{until, wait_asleep_in, Faulter};
use crate::harness::{
    env, expect_errno, registered, release, sigbus, sleepers, smaps, tests, uffd_with, user,
};
use nix::sys::pthread::{pthread_kill, pthread_self, Pthread};
use nix::sys::ptrace;
use nix::sys::signal::{kill, sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{pipe, Pid};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    child_is_not_registered;
    fork_while_faults_wait;
    vfork_shares_the_registration;
    clone_of_the_address_space_is_served;
    exec_ends_the_registration;
    exec_while_faults_wait;
    exit_with_sleepers;
    killed_in_a_fault;
    killed_in_a_call;
    killed_after_its_fault_was_read;
    signal_runs_its_handler_and_the_fault_is_taken_again;
    signal_does_not_interrupt_a_call;
    stopped_and_continued;
    debugger_cannot_wait_for_a_page;
    core_dump_does_not_ask;
    thread_may_end_while_others_sleep;
}

/// A process that runs a function with a descriptor that the parent has, too.
///
/// The registration is the child's, so the parent is its manager.
struct Managed {
    child: Child,
    uffd: Uffd,
}

impl Managed {
    /// Starts the child, which registers memory at the place of this mapping and runs the body.
    fn start(target: &Mapping, body: impl FnOnce()) -> Managed {
        let ((reader, writer), (go_reader, go_writer)) = (pipe().unwrap(), pipe().unwrap());
        let child = Child::spawn(|| {
            let uffd = uffd_with(0);
            let mode = UFFDIO_REGISTER_MODE_MISSING;
            uffd.register(target.start(), target.len(), mode).unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&uffd);
            nix::unistd::write(&writer, &number.to_le_bytes()).unwrap();
            nix::unistd::read(&go_reader, &mut [0]).unwrap();
            body();
        });
        let mut number = [0; 4];
        nix::unistd::read(&reader, &mut number).unwrap();
        let uffd = descriptor_of(child.pid(), i32::from_le_bytes(number));
        nix::unistd::write(&go_writer, &[0]).unwrap();
        Managed { child, uffd }
    }

    /// Waits until a fault is there, and returns its address.
    fn fault(&self) -> u64 {
        env::wait_queued(&self.uffd, 1);
        self.uffd.read_event().unwrap().pagefault().unwrap().address
    }
}

fn child_is_not_registered() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    target.write(0, 5);
    Child::spawn(|| {
        // What was there is there, what was not is zero: nobody is asked.
        assert_eq!((target.read(0), target.read(PAGE)), (5, 0));
        target.write(PAGE, 1);
        assert!(!smaps::vmas(target.start(), target.end())
            .iter()
            .any(|vma| vma.has("um")));
    })
    .expect_success();
    expect_errno(uffd.read(), Errno::EAGAIN);
    // The parent is served as ever, also where the child's memory was its own.
    let sleepers = sleepers(&uffd, &target, [1]);
    assert!(smaps::vmas(target.start(), target.end())[0].has("um"));
    release(&uffd, &target, sleepers);
}

fn fork_while_faults_wait() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let asleep = sleepers(&uffd, &target, 0..3);
    uffd.read().unwrap();
    let child = Child::spawn(|| {
        assert_eq!((target.read(0), target.read(PAGE)), (0, 0));
    });
    child.expect_success();
    assert_eq!(
        (env::fdinfo(&uffd).pending, env::fdinfo(&uffd).total),
        (2, 3)
    );
    release(&uffd, &target, asleep);
}

extern "C" fn read_byte(address: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the address is that of a mapping which lives until this child has ended.
    unsafe { address.cast::<u8>().read_volatile() }.into()
}

/// A process in this address space that reads a byte of the mapping and ends with it as its status.
pub(super) fn sharing_child(flags: i32, target: &Mapping) -> (Pid, Vec<u8>) {
    let mut stack = vec![0; 64 << 10];
    let top = stack.as_mut_ptr_range().end;
    let flags = flags | libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the caller keeps the stack until the child has ended; it is aligned as every large
    // allocation is, and the child does nothing that two processes must not do at once.
    let pid = unsafe { libc::clone(read_byte, top.cast(), flags, user::pointer(target.start())) };
    (Pid::from_raw(Errno::result(pid).unwrap()), stack)
}

fn vfork_shares_the_registration() {
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    // The parent waits until the child is done, so the handler must be another thread.
    let (start, manager) = (target.start(), Arc::clone(&uffd));
    let handler = Faulter::spawn(move || {
        env::wait_queued(&manager, 1);
        manager.read().unwrap();
        manager.zeropage(start, PAGE, 0).unwrap();
    });
    let (child, stack) = sharing_child(libc::CLONE_VFORK, &target);
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    drop(stack);
    handler.join();
}

fn clone_of_the_address_space_is_served() {
    let uffd = uffd_with(UFFD_FEATURE_THREAD_ID);
    let target = registered(Mapping::anon(1), &uffd);
    let (child, stack) = sharing_child(0, &target);
    env::wait_queued(&uffd, 1);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(
        (fault.address, fault.ptid),
        (target.start(), child.as_raw() as u32)
    );
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 7);
    uffd.copy(target.start(), source.start(), PAGE, 0).unwrap();
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7)));
    drop(stack);
}

/// Replaces the program by one that fails at once.
pub(super) fn execute() -> ! {
    let path = c"/proc/self/exe";
    let error = nix::unistd::execv(path, &[path, c"--run-one", c"no such test"]).unwrap_err();
    panic!("execv: {error}");
}

/// Status of a program that does not know its arguments.
pub(super) const USAGE: i32 = 2;

fn exec_ends_the_registration() {
    let target = Mapping::anon(1);
    let (reader, writer) = pipe().unwrap();
    let managed = Managed::start(&target, || {
        nix::unistd::read(&reader, &mut [0]).unwrap();
        execute();
    });
    nix::unistd::write(&writer, &[0]).unwrap();
    let pid = managed.child.pid();
    assert_eq!(managed.child.wait(), WaitStatus::Exited(pid, USAGE));
    let uffd = managed.uffd;
    expect_errno(uffd.read(), Errno::EAGAIN);
    assert_dead(&uffd, &target);
}

fn exec_while_faults_wait() {
    let target = Arc::new(Mapping::anon(2));
    let twin = Arc::clone(&target);
    let managed = Managed::start(&target, || {
        let faulters = [0, PAGE].map(|offset| Faulter::read(&twin, offset));
        for faulter in &faulters {
            faulter.wait_asleep();
        }
        execute();
    });
    let pid = managed.child.pid();
    // Exec kills the other threads, wherever they sleep.
    assert_eq!(managed.child.wait(), WaitStatus::Exited(pid, USAGE));
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    assert_eq!(env::fdinfo(&managed.uffd).total, 0);
    assert_dead(&managed.uffd, &target);
}

/// What a manager is told about memory of a process that is gone.
fn assert_dead(uffd: &Uffd, target: &Mapping) {
    let (start, source) = (target.start(), Mapping::anon(1));
    source.fill(0, PAGE, 1);
    let gone = |result: Result<u64, uffd::Partial>| {
        assert_eq!(result.map_err(|partial| partial.errno), Err(Errno::ESRCH));
    };
    gone(uffd.copy(start, source.start(), PAGE, 0));
    gone(uffd.zeropage(start, PAGE, 0));
    let mode = UFFDIO_REGISTER_MODE_MISSING;
    expect_errno(uffd.register(start, PAGE, mode), Errno::ENOMEM);
    expect_errno(uffd.unregister(start, PAGE), Errno::ENOMEM);
    uffd.wake(start, PAGE).unwrap();
}

fn exit_with_sleepers() {
    let target = Arc::new(Mapping::anon(2));
    let twin = Arc::clone(&target);
    let managed = Managed::start(&target, || {
        for offset in [0, PAGE] {
            Faulter::read(&twin, offset).wait_asleep();
        }
    });
    let pid = managed.child.pid();
    assert_eq!(managed.child.wait(), WaitStatus::Exited(pid, 0));
    assert_eq!(env::fdinfo(&managed.uffd).total, 0);
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    assert_dead(&managed.uffd, &target);
}

fn killed(body: impl FnOnce(), target: &Mapping, read: bool) {
    let managed = Managed::start(target, body);
    env::wait_queued(&managed.uffd, 1);
    if read {
        assert_eq!(managed.fault(), target.start());
    }
    let pid = managed.child.pid();
    managed.child.signal(Signal::SIGKILL);
    let status = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
    assert_eq!(managed.child.wait(), status);
    let info = env::fdinfo(&managed.uffd);
    assert_eq!((info.pending, info.total), (0, 0));
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    managed.uffd.wake(target.start(), PAGE).unwrap();
}

fn killed_in_a_fault() {
    let target = Mapping::anon(1);
    let body = || {
        target.read(0);
    };
    killed(body, &target, false);
}

fn killed_after_its_fault_was_read() {
    let target = Mapping::anon(1);
    let body = || {
        target.read(0);
    };
    killed(body, &target, true);
}

fn killed_in_a_call() {
    let (_reader, writer) = pipe().unwrap();
    let target = Mapping::anon(1);
    let calls: [&dyn Fn(); 3] = [
        &|| assert!(user::write(writer.as_fd(), target.start(), 1).is_err()),
        &|| assert!(user::mlock(target.start(), PAGE).is_err()),
        &|| assert!(user::futex(target.start(), libc::FUTEX_WAIT, 1).is_err()),
    ];
    for call in calls {
        for read in [false, true] {
            killed(call, &target, read);
        }
    }
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

fn count_signals() {
    let handler = SigHandler::Handler(count_signal);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only counts.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
}

/// A thread that runs a function and can be sent signals.
fn signalled<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> (Faulter<T>, Pthread) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let faulter = Faulter::spawn(move || {
        sender.send(pthread_self()).unwrap();
        body()
    });
    (faulter, receiver.recv().unwrap())
}

fn signal_runs_its_handler_and_the_fault_is_taken_again() {
    count_signals();
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let memory = Arc::clone(&target);
    let (faulter, thread) = signalled(move || memory.read(0));
    for round in 1..=3 {
        env::wait_queued(&uffd, 1);
        until(|| env::fdinfo(&uffd).pending == 1);
        faulter.wait_asleep();
        if round < 3 {
            uffd.read().unwrap();
        }
        pthread_kill(thread, Signal::SIGUSR1).unwrap();
        until(|| SIGNALS.load(Ordering::SeqCst) == round);
    }
    // Unread as it was, the third message went away with its fault, and the fourth came.
    env::wait_queued(&uffd, 1);
    faulter.wait_asleep();
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(fault.address, target.start());
    expect_errno(uffd.read(), Errno::EAGAIN);
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    assert_eq!(faulter.join(), 0);
}

fn signal_does_not_interrupt_a_call() {
    count_signals();
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let (start, (_reader, writer)) = (target.start(), pipe().unwrap());
    let (caller, thread) = signalled(move || user::write(writer.as_fd(), start, 1));
    wait_asleep_in(caller.tid(), libc::SYS_write);
    uffd.read().unwrap();
    pthread_kill(thread, Signal::SIGUSR1).unwrap();
    // The call cannot end before it has the page, and the handler runs when the call is over.
    // Meanwhile the fault is taken again and again, as a sleep with a signal pending ends at once.
    until(|| env::fdinfo(&uffd).pending == 1);
    assert_eq!(SIGNALS.load(Ordering::SeqCst), 0);
    uffd.zeropage(start, PAGE, 0).unwrap();
    assert_eq!(caller.join(), Ok(1));
    assert_eq!(SIGNALS.load(Ordering::SeqCst), 1);
}

fn stopped_and_continued() {
    let target = Mapping::anon(1);
    let managed = Managed::start(&target, || assert_eq!(target.read(0), 0));
    assert_eq!(managed.fault(), target.start());
    let pid = managed.child.pid();
    for _ in 0..2 {
        managed.child.signal(Signal::SIGSTOP);
        let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(pid, Signal::SIGSTOP));
        // Stopped, it does not sleep in its fault; it takes the fault again later.
        assert_eq!(env::fdinfo(&managed.uffd).total, 0);
        managed.child.signal(Signal::SIGCONT);
        assert_eq!(managed.fault(), target.start());
    }
    managed.uffd.zeropage(target.start(), PAGE, 0).unwrap();
    managed.child.expect_success();
}

fn debugger_cannot_wait_for_a_page() {
    let target = Mapping::anon(2);
    let managed = Managed::start(&target, || {
        ptrace::traceme().unwrap();
        kill(Pid::this(), Signal::SIGSTOP).unwrap();
        assert_eq!(target.read(PAGE), 0);
    });
    let pid = managed.child.pid();
    let stopped = WaitStatus::Stopped(pid, Signal::SIGSTOP);
    assert_eq!(waitpid(pid, None), Ok(stopped));
    let peek = |page| ptrace::read(pid, user::pointer(target.page(page)));
    expect_errno(peek(0), Errno::EIO);
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    managed.uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    assert_eq!(peek(0), Ok(0));
    ptrace::cont(pid, None).unwrap();
    assert_eq!(managed.fault(), target.page(1));
    managed.uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    managed.child.expect_success();
}

fn core_dump_does_not_ask() {
    // The dump is thrown away, but every page of the process is looked at first.
    let folder = std::env::temp_dir();
    let target = Mapping::anon(3);
    let managed = Managed::start(&target, || {
        std::env::set_current_dir(&folder).unwrap();
        let limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the structure is valid.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
        assert_eq!(target.read(PAGE), 0);
        // SAFETY: sends a signal to this process.
        unsafe { libc::abort() };
    });
    assert_eq!(managed.fault(), target.page(1));
    managed.uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    let pid = managed.child.pid();
    let status = managed.child.wait();
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGABRT, _)),
        "{status:?}"
    );
    expect_errno(managed.uffd.read(), Errno::EAGAIN);
    assert_eq!(env::fdinfo(&managed.uffd).total, 0);
    for name in ["core".to_owned(), format!("core.{pid}")] {
        // Where dumps go is the machine's choice.
        let _ = std::fs::remove_file(folder.join(name));
    }
}

fn thread_may_end_while_others_sleep() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let asleep = sleepers(&uffd, &target, [0]);
    sigbus::catch();
    // The thread that registered, or read, is not needed any more for the rest to work.
    let uffd = Faulter::spawn(move || {
        uffd.read().unwrap();
        uffd
    })
    .join();
    assert_eq!(env::fdinfo(&uffd).total, 1);
    release(&uffd, &target, asleep);
    assert_eq!(sigbus::caught().count, 0);
}
