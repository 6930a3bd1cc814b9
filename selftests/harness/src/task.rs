// SPDX-License-Identifier: GPL-2.0-only

//! Other threads, and waiting for what they do.

use super::mem::Mapping;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::ffi::CStr;
use std::fs;
use std::sync::mpsc;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

/// Pause between two looks at something that another task is about to bring about.
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// A flag of tasks in /proc.
const PF_EXITING: u64 = 4;

/// Waits until the condition holds. A time limit on the process ends it if it never does.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(POLL_PAUSE);
    }
}

/// What /proc knows about a task.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Command name.
    pub comm: String,
    /// State letter: R, S, D, Z...
    pub state: char,
    /// Process group.
    pub pgrp: i32,
    /// Whether it has begun to exit.
    pub exiting: bool,
    /// Kernel function it sleeps in, or "0".
    pub wchan: String,
    /// System call number, -1 if it sleeps in a fault taken in user mode, and none if it runs.
    pub syscall: Option<i64>,
}

/// Looks a task up; the folder is such as `/proc/self/task/17` or `/proc/17`.
pub fn task_info(folder: &str) -> Option<TaskInfo> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    // The name may contain anything, so it ends at the last parenthesis.
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    let pgrp = fields.nth(1)?.parse().ok()?;
    let flags = fields.nth(3)?.parse::<u64>().ok()?;
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
    Some(TaskInfo {
        comm: head.split_once('(')?.1.to_owned(),
        state,
        pgrp,
        exiting: flags & PF_EXITING != 0,
        wchan: read("wchan"),
        syscall: read("syscall")
            .split(' ')
            .next()
            .and_then(|nr| nr.trim().parse().ok()),
    })
}

/// Whether a thread of this process has begun to exit, or is gone.
pub fn exits(tid: i32) -> bool {
    task_info(&format!("/proc/self/task/{tid}")).is_none_or(|info| info.exiting)
}

/// Whether a task sleeps in the kernel for something other than a lock of the address space,
/// which every fault may wait for on its way.
fn asleep(info: &TaskInfo) -> bool {
    matches!(info.state, 'S' | 'D')
        && !info.wchan.contains("rwsem")
        && !info.wchan.contains("vma_start")
}

/// Waits until a thread of this process sleeps in a fault that it took in user mode.
pub fn wait_asleep(tid: i32) {
    wait_for(tid, |info| asleep(info) && info.syscall == Some(-1));
}

/// Waits until a thread of this process sleeps inside this system call.
pub fn wait_asleep_in(tid: i32, syscall: i64) {
    wait_for(tid, |info| asleep(info) && info.syscall == Some(syscall));
}

/// Waits until the first thread of a process sleeps inside this system call.
pub fn wait_process_in(pid: i32, syscall: i64) {
    wait_for_task(&format!("/proc/{pid}"), |info| {
        assert!(info.state != 'Z', "process {pid} has ended");
        asleep(info) && info.syscall == Some(syscall)
    });
}

fn wait_for(tid: i32, condition: impl FnMut(&TaskInfo) -> bool) {
    wait_for_task(&format!("/proc/self/task/{tid}"), condition);
}

fn wait_for_task(folder: &str, mut condition: impl FnMut(&TaskInfo) -> bool) {
    until(|| condition(&task_info(folder).unwrap_or_else(|| panic!("{folder} has ended"))));
}

/// Gives the calling thread a name, of which the kernel keeps 15 bytes.
pub fn set_name(name: &CStr) {
    nix::sys::prctl::set_name(name).expect("prctl");
}

/// A thread that is going to fault.
#[derive(Debug)]
pub struct Faulter<T> {
    tid: i32,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Faulter<T> {
    /// Runs the function in a thread.
    pub fn spawn(body: impl FnOnce() -> T + Send + 'static) -> Faulter<T> {
        Self::build(Builder::new(), body)
    }

    /// The same in a thread of this name, of which the kernel keeps 15 bytes.
    pub fn named(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Faulter<T> {
        Self::build(Builder::new().name(name.to_owned()), body)
    }

    fn build(builder: Builder, body: impl FnOnce() -> T + Send + 'static) -> Faulter<T> {
        let (sender, receiver) = mpsc::channel();
        let body = move || {
            sender
                .send(nix::unistd::gettid().as_raw())
                .expect("the spawner waits");
            body()
        };
        let thread = builder.spawn(body).expect("thread");
        let tid = receiver.recv().expect("the thread says its number");
        Faulter { tid, thread }
    }

    /// The thread's number.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Waits until the thread sleeps in a fault taken in user mode.
    pub fn wait_asleep(&self) {
        wait_asleep(self.tid);
    }

    /// Sends a signal to the thread.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let process = std::process::id() as i32;
        // SAFETY: integers only.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, self.tid, signal as i32) };
        Errno::result(sent).expect("tgkill");
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread and returns its value.
    pub fn join(self) -> T {
        // A panic in a thread ends the process, so there is none to pass on.
        self.thread.join().expect("thread")
    }
}

impl Faulter<u8> {
    /// Reads a byte of the mapping and returns it.
    pub fn read(mapping: &Arc<Mapping>, offset: u64) -> Self {
        let mapping = Arc::clone(mapping);
        Self::spawn(move || mapping.read(offset))
    }

    /// Writes a byte to the mapping, then reads and returns it.
    pub fn write(mapping: &Arc<Mapping>, offset: u64, value: u8) -> Self {
        let mapping = Arc::clone(mapping);
        Self::spawn(move || {
            mapping.write(offset, value);
            mapping.read(offset)
        })
    }
}
