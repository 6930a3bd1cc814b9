// SPDX-License-Identifier: GPL-2.0-only

//! The guest's first process.
//!
//! It mounts what programs expect, runs the commands of `/job` with their output on a virtio port,
//! reaps every orphan, writes the exit status to another port and restarts the machine, which ends
//! QEMU because it is started with `-no-reboot`. See [`job`] for the job file, [`ports`] for the
//! ports and what is said on them.

mod job;
mod ports;
mod run;
mod swap;
mod system;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::thread;
use std::time::Instant;

use job::{Job, Terminal};
use ports::Status;

/// The exit status when the guest itself could not be set up.
const SETUP_FAILED: u8 = 125;

fn main() {
    if std::process::id() != 1 {
        eprintln!("uffd-init: only works as the first process of a guest (see qemu/run)");
        std::process::exit(2);
    }
    if let Err(error) = guest() {
        // Without a status port the console is the only way out; no status is a failure to the host.
        eprintln!("uffd-init: {error}");
    }
    system::restart();
}

/// Everything between the start of the guest and its end.
fn guest() -> Result<(), String> {
    let job = fs::read("/job").map_err(|e| format!("cannot read /job: {e}"))?;
    system::mount_basics("")?;
    let mut status = Status::open()?;
    status.ready();
    match perform(&job, &mut status) {
        Ok(code) => status.exit(code),
        Err(error) => {
            status.error(&error);
            status.exit(SETUP_FAILED);
        }
    }
    Ok(())
}

/// Set up what the job asks for and run its commands. The result is the first status that is not 0.
fn perform(job: &[u8], status: &mut Status) -> Result<u8, String> {
    let job = Job::parse(job)?;
    let output = ports::open("uffd.output")?;
    system::set_host_name();
    system::loopback_up();
    if let Some(count) = job.hugepages {
        system::reserve_hugepages(count)?;
    }
    if let Some(bytes) = job.swap {
        swap::enable(bytes)?;
    }
    if job.host_root {
        system::switch_to_host_root()?;
    }
    if job.host_out {
        system::mount_output_folder()?;
    }
    let terminal = match job.terminal {
        Terminal::Console => Some(system::controlling_console()?),
        Terminal::None => None,
    };
    dump_tasks_on_request(status.requests()?);

    let mut first_failure = 0;
    for (number, command) in (1..).zip(&job.commands) {
        if job.markers {
            mark(
                &output,
                &format!("# begin {number} {}", command.args.join(" ")),
            )?;
        }
        status.begin(number);
        let started = Instant::now();
        let code = match run::run(&job, command, &output, terminal.as_ref()) {
            Ok(code) => code,
            Err(error) => {
                status.error(&error.text);
                error.code
            }
        };
        let took = started.elapsed();
        status.end(number, code, took);
        if job.markers {
            mark(
                &output,
                &format!("# end {number} status {code} {:.3} s", took.as_secs_f64()),
            )?;
        }
        if first_failure == 0 {
            first_failure = code;
        }
    }
    Ok(first_failure)
}

/// Separate the output of several commands on the one output port.
fn mark(mut output: &File, line: &str) -> Result<(), String> {
    output
        .write_all(format!("{line}\n").as_bytes())
        .map_err(|e| format!("cannot write to the output port: {e}"))
}

/// The host may ask for the stacks of all tasks before it gives up on a silent guest.
fn dump_tasks_on_request(requests: impl Iterator<Item = String> + Send + 'static) {
    thread::spawn(move || {
        for request in requests {
            if request == "tasks" {
                // Without CONFIG_MAGIC_SYSRQ there is nothing to be done.
                if let Ok(mut trigger) = OpenOptions::new().write(true).open("/proc/sysrq-trigger")
                {
                    let _ = trigger.write_all(b"t");
                }
            }
        }
    });
}
