// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's tracepoints of userfaultfd tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where tracefs lists the tracepoints, in a kernel that has them.
pub const EVENTS: &str = "/sys/kernel/tracing/events/userfaultfd";
const INSTANCES: &str = "/sys/kernel/tracing/instances";

/// A trace buffer of our own. Others may trace at the same time.
#[derive(Debug)]
pub struct Tracing {
    folder: PathBuf,
}

/// An event, as the file `trace` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Thread that it happened in.
    pub thread: i32,
    /// Name of the tracepoint.
    pub name: String,
    /// `key=value`, separated by single spaces.
    pub fields: String,
}

impl Line {
    /// The value of a field.
    #[track_caller]
    pub fn field(&self, key: &str) -> &str {
        let mut pairs = self
            .fields
            .split(' ')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find_map(|(name, value)| (name == key).then_some(value))
            .unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// `NAME: FIELDS`.
    pub fn text(&self) -> String {
        format!("{}: {}", self.name, self.fields)
    }

    fn parse(line: &str) -> Option<Line> {
        let (head, event) = line.split_once(": uffd_")?;
        let (name, fields) = event.split_once(": ")?;
        // The name of the thread may contain anything, but this comes last.
        let (task, _) = head.rsplit_once(" [")?;
        Some(Line {
            thread: task.rsplit_once('-')?.1.trim().parse().ok()?,
            name: format!("uffd_{name}"),
            fields: fields.to_owned(),
        })
    }
}

impl Tracing {
    /// A buffer with all tracepoints of userfaultfd off.
    #[track_caller]
    pub fn off() -> Tracing {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("uffd-{}-{number}", process::id());
        let tracing = Tracing {
            folder: Path::new(INSTANCES).join(name),
        };
        fs::create_dir(&tracing.folder).expect("instance of tracefs");
        // Time that is the same on all processors: the order of lines is that of events.
        tracing.write("trace_clock", "counter");
        tracing
    }

    /// A buffer with all of them on.
    #[track_caller]
    pub fn on() -> Tracing {
        let tracing = Tracing::off();
        tracing.switch(true);
        tracing
    }

    /// Switches all of them.
    #[track_caller]
    pub fn switch(&self, on: bool) {
        self.write("events/userfaultfd/enable", if on { "1" } else { "0" });
    }

    #[track_caller]
    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).expect(file);
    }

    /// What has happened so far, in this order.
    #[track_caller]
    pub fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.folder.join("trace")).expect("trace");
        text.lines().filter_map(Line::parse).collect()
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let switched = fs::write(self.folder.join("events/userfaultfd/enable"), "0");
        let removed = fs::remove_dir(&self.folder);
        // Two panics at once would hide the first.
        assert!(std::thread::panicking() || (switched.is_ok() && removed.is_ok()));
    }
}
