// SPDX-License-Identifier: GPL-2.0-only

//! Running tests, each in its own process, and printing KTAP.

use super::task::task_info;
use super::{env, need, Test, EXIT_SKIP, SKIP_MARK};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a killed test may take to end before it counts as stuck in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a failed test's output that are shown.
const OUTPUT_SHOWN: usize = 64 << 10;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// With the reason.
    Skipped(String),
    /// With what is known about it.
    Failed(Vec<String>),
}

/// Numbers of tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

/// Runs the tests one after the other.
pub fn run_all(tests: &[Test], timeout: Duration, out: &mut impl Write) -> io::Result<Totals> {
    let mut totals = Totals::default();
    writeln!(out, "KTAP version 1")?;
    let (release, who) = (env::kernel_release(), env::implementation());
    writeln!(out, "# Linux {release}, userfaultfd in {who}")?;
    let offered = need::offered_features().map_or("nothing".to_owned(), need::feature_names);
    writeln!(out, "# offered: {offered}")?;
    writeln!(out, "1..{}", tests.len())?;
    for (number, test) in (1..).zip(tests) {
        let name = test.name();
        match run_one(name, timeout)? {
            Outcome::Passed => {
                totals.passed += 1;
                writeln!(out, "ok {number} {name}")?;
            }
            Outcome::Skipped(reason) => {
                totals.skipped += 1;
                writeln!(out, "ok {number} {name} # SKIP {reason}")?;
            }
            Outcome::Failed(lines) => {
                totals.failed += 1;
                for line in lines {
                    writeln!(out, "# {line}")?;
                }
                writeln!(out, "not ok {number} {name}")?;
            }
        }
        out.flush()?;
    }
    let Totals {
        passed,
        failed,
        skipped,
    } = totals;
    writeln!(
        out,
        "# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0"
    )?;
    Ok(totals)
}

/// Runs one test in a new process.
fn run_one(name: &str, timeout: Duration) -> io::Result<Outcome> {
    // A file, not a pipe: a process that left the group cannot keep us waiting for its end.
    let mut output = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC)?);
    let mut child = Command::new("/proc/self/exe")
        .args(["--run-one", name])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
    let ended = watch(pid);

    let mut lines = Vec::new();
    if ended.recv_timeout(timeout).is_err() {
        lines.push(format!("timed out after {} s", timeout.as_secs()));
        lines.extend(describe_group(pid));
    }
    // The leader is not reaped before `wait`, so the number still means this group.
    let _ = killpg(pid, Signal::SIGKILL);
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(KILL_PATIENCE) {
        lines.push("does not die of SIGKILL".to_owned());
        lines.extend(describe_group(pid));
        return Ok(Outcome::Failed(lines));
    }
    let status = child.wait()?;

    let text = read_output(&mut output)?;
    if lines.is_empty() {
        match status.code() {
            Some(0) => return Ok(Outcome::Passed),
            Some(EXIT_SKIP) => return Ok(Outcome::Skipped(skip_reason(&text))),
            _ => {}
        }
    }
    lines.push(status.to_string());
    lines.extend(text.lines().map(str::to_owned));
    Ok(Outcome::Failed(lines))
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
    let shown = &bytes[bytes.len().saturating_sub(OUTPUT_SHOWN)..];
    Ok(String::from_utf8_lossy(shown).into_owned())
}

fn skip_reason(text: &str) -> String {
    let reason = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(SKIP_MARK));
    reason.unwrap_or("no reason given").to_owned()
}
