// SPDX-License-Identifier: GPL-2.0-only

//! This program once more, in a process group of its own and against a time limit.

use super::task::task_info;
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a killed process may take to end before it counts as stuck in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of the output that are kept.
const OUTPUT_KEPT: usize = 64 << 10;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// None if it does not die.
    pub status: Option<ExitStatus>,
    /// What happened to it beyond its own doing, and where its threads were: empty when it ended
    /// by itself.
    pub trouble: Vec<String>,
    /// The end of its output.
    pub output: String,
}

/// Runs this program with these arguments. When it is late, the whole group is killed.
pub fn run(args: &[&str], timeout: Duration) -> io::Result<Ended> {
    // A file, not a pipe: a process that left the group cannot keep us waiting for its end.
    let mut output = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC)?);
    let mut child = Command::new("/proc/self/exe")
        .args(args)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
    let ended = watch(pid);

    let mut trouble = Vec::new();
    if ended.recv_timeout(timeout).is_err() {
        trouble.push(format!("timed out after {} s", timeout.as_secs()));
        trouble.extend(describe_group(pid));
        // What the processors are at goes to the kernel's console, if there is one to look at.
        let _ = fs::write("/proc/sysrq-trigger", "l");
    }
    // The leader is not reaped before `wait`, so the number still means this group.
    let _ = killpg(pid, Signal::SIGKILL);
    let status = if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(KILL_PATIENCE) {
        trouble.push("does not die of SIGKILL".to_owned());
        trouble.extend(describe_group(pid));
        None
    } else {
        Some(child.wait()?)
    };
    Ok(Ended {
        status,
        trouble,
        output: read_output(&mut output)?,
    })
}

/// From now on a panic in any thread ends the process: other threads may sleep in faults that
/// nobody answers any more.
pub fn end_by_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        // SAFETY: _exit takes an integer and does not return.
        unsafe { libc::_exit(super::EXIT_PANIC) }
    }));
}

/// Tells when the process has ended, without reaping it: once with a value, then by hanging up.
fn watch(pid: Pid) -> Receiver<WaitStatus> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        // The receiver may have given up on a process that does not die.
        let _ = sender.send(waitid(Id::Pid(pid), flags).expect("waitid"));
    });
    receiver
}

/// A line for each thread of each process in the group.
fn describe_group(group: Pid) -> Vec<String> {
    let mut lines = Vec::new();
    for process in numbered_folders("/proc") {
        if task_info(&process).is_none_or(|info| info.pgrp != group.as_raw()) {
            continue;
        }
        for task in numbered_folders(&format!("{process}/task")) {
            if let Some(info) = task_info(&task) {
                let syscall = info.syscall.map_or("none".to_owned(), |nr| nr.to_string());
                lines.push(format!(
                    "{task} {} state {} wchan {} syscall {syscall}",
                    info.comm, info.state, info.wchan
                ));
            }
        }
    }
    lines
}

fn numbered_folders(parent: &str) -> Vec<String> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|name| format!("{parent}/{name}"))
        .collect()
}

fn read_output(output: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    let kept = &bytes[bytes.len().saturating_sub(OUTPUT_KEPT)..];
    Ok(String::from_utf8_lossy(kept).into_owned())
}
