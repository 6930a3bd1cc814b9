// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's trace: switched on, annotated, and kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

const FOLDER: &str = "/sys/kernel/tracing";
/// Beside userfaultfd's own: who runs where, who is who, who is killed, and what the kernel prints.
const EVENTS: [&str; 9] = [
    "userfaultfd",
    "sched/sched_switch",
    "sched/sched_wakeup",
    "sched/sched_process_exit",
    "task/task_newtask",
    "task/task_rename",
    "signal/signal_generate",
    "signal/signal_deliver",
    "printk/console",
];
/// Room for the lines of each processor, in KiB: the largest scene needs about a tenth.
const ROOM: &str = "16384";
/// So many threads keep their names.
const NAMES: &str = "8192";

/// A trace that is being written.
pub struct Trace(());

/// Starts an empty trace.
pub fn start() -> io::Result<Trace> {
    set("tracing_on", "0")?;
    // It is the same on all processors, and what programs know as CLOCK_MONOTONIC.
    set("trace_clock", "mono")?;
    set("buffer_size_kb", ROOM)?;
    set("saved_cmdlines_size", NAMES)?;
    for event in EVENTS {
        set(&format!("events/{event}/enable"), "1")?;
    }
    set("trace", "")?;
    set("tracing_on", "1")?;
    Ok(Trace(()))
}

impl Trace {
    /// Stops it and copies it to a file.
    pub fn keep(self, path: &Path) -> io::Result<()> {
        set("tracing_on", "0")?;
        for event in EVENTS {
            set(&format!("events/{event}/enable"), "0")?;
        }
        let mut trace = File::open(format!("{FOLDER}/trace"))?;
        io::copy(&mut trace, &mut File::create(path)?).map(drop)
    }
}

/// Writes a line of one's own into the trace, if there is one.
pub fn annotate(text: &str) {
    let marker = OpenOptions::new()
        .write(true)
        .open(format!("{FOLDER}/trace_marker"));
    // Without a trace, nobody is there to read it.
    let _ = marker.and_then(|mut marker| marker.write_all(format!("study: {text}").as_bytes()));
}

fn set(name: &str, value: &str) -> io::Result<()> {
    let path = format!("{FOLDER}/{name}");
    fs::write(&path, value).map_err(|error| io::Error::other(format!("{path}: {error}")))
}
