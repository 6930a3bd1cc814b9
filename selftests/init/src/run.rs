// SPDX-License-Identifier: GPL-2.0-only

//! Runs one command and waits for it and for everything it leaves behind.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{kill, killpg, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{pipe2, Pid};

use crate::job::{Command, Job, Terminal};

/// The exit status of a command that ran out of time.
const TIMED_OUT: u8 = 124;

/// Why a command could not be run, and the status that stands for it.
pub struct Error {
    /// For people.
    pub text: String,
    /// The status a shell would give.
    pub code: u8,
}

/// Run `command`. When this returns, no process but the first one is left.
pub fn run(job: &Job, command: &Command, output: &File, tty: Option<&File>) -> Result<u8, Error> {
    let broken = |e: io::Error| Error {
        text: format!("cannot set up the output: {e}"),
        code: 125,
    };
    let mut process = Process::new(&command.args[0]);
    process
        .args(&command.args[1..])
        .current_dir(&job.cwd)
        .env_clear();
    process.envs(job.env.iter().map(|(name, value)| (name, value)));

    let mut relay = None;
    match tty {
        Some(tty) => {
            let stream = || tty.try_clone().map(Stdio::from);
            process.stdin(stream().map_err(broken)?);
            process
                .stdout(stream().map_err(broken)?)
                .stderr(stream().map_err(broken)?);
        }
        None => {
            let target: OwnedFd = if job.relay {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|e| broken(e.into()))?;
                let port = output.try_clone().map_err(broken)?;
                relay = Some(thread::spawn(move || pass_on(File::from(reader), port)));
                writer
            } else {
                output.try_clone().map_err(broken)?.into()
            };
            process.stdin(Stdio::null());
            process
                .stdout(target.try_clone().map_err(broken)?)
                .stderr(target);
        }
    }
    // A shell on a terminal makes its own groups; it starts in the terminal's foreground group.
    if job.terminal == Terminal::None {
        process.process_group(0);
    }

    let child = process.spawn().map_err(|e| {
        let code = if e.kind() == ErrorKind::NotFound {
            127
        } else {
            126
        };
        Error {
            text: format!("cannot run {}: {e}", command.args[0]),
            code,
        }
    });
    // It holds write ends of the pipe, which must not outlive the command.
    drop(process);
    let code = child.map(|child| {
        let pid = Pid::from_raw(child.id().try_into().expect("process ids are positive"));
        wait_with_limit(pid, command)
    });

    // What is still there was left behind by the command. There may be nothing: that is no error.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while reap().is_some() {}
    if let Some(relay) = relay {
        let _ = relay.join();
    }
    code
}

/// Wait for `pid`, killing its group when the time is over.
fn wait_with_limit(pid: Pid, command: &Command) -> u8 {
    let Some(limit) = command.limit else {
        return wait(pid);
    };
    let (done, ended) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        late
    });
    let code = wait(pid);
    drop(done);
    if watchdog.join().unwrap_or(false) {
        TIMED_OUT
    } else {
        code
    }
}

/// Reap until `pid` has ended. Its status, as a shell gives it.
fn wait(pid: Pid) -> u8 {
    while let Some((ended, code)) = reap() {
        if ended == pid {
            return code;
        }
    }
    unreachable!("{pid} is a child of this process until it is reaped here")
}

/// Wait for any child. `None` when there is none.
fn reap() -> Option<(Pid, u8)> {
    loop {
        match waitpid(None, None) {
            // The kernel has one byte for the status already.
            Ok(WaitStatus::Exited(pid, code)) => return Some((pid, (code & 0xff) as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((pid, 128 + signal as i32 as u8))
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Copy until all writers are gone.
fn pass_on(mut from: impl Read, mut to: File) {
    let mut buffer = [0; 16384];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
