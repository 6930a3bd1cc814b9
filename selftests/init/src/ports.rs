// SPDX-License-Identifier: GPL-2.0-only

//! The virtio ports, and the lines written to the status port:
//!
//! | line | meaning |
//! |---|---|
//! | `ready` | the first process runs |
//! | `begin N` | command N starts |
//! | `end N STATUS MILLISECONDS` | command N has ended |
//! | `error TEXT` | why a status below comes from the guest's set-up and not from a program |
//! | `exit STATUS` | the result of the whole job, the last line |
//!
//! In the other direction the host may send `tasks`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Ports appear some time after the driver has found their device.
const PATIENCE: Duration = Duration::from_secs(20);

/// Open the port of this name. A port can be open only once at a time.
pub fn open(name: &str) -> Result<File, String> {
    let start = Instant::now();
    loop {
        if let Some(path) = find(name) {
            return OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(|e| format!("cannot open {} ({name}): {e}", path.display()));
        }
        if start.elapsed() > PATIENCE {
            return Err(format!(
                "no virtio port {name}: is CONFIG_VIRTIO_CONSOLE there?"
            ));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim_end() == name)
        {
            let device = PathBuf::from("/dev").join(entry.file_name());
            return device.exists().then_some(device);
        }
    }
    None
}

/// The guest's side of the status port.
pub struct Status {
    port: File,
}

impl Status {
    /// Open the port.
    pub fn open() -> Result<Self, String> {
        Ok(Self {
            port: open("uffd.status")?,
        })
    }

    /// The guest is up.
    pub fn ready(&mut self) {
        self.line("ready");
    }

    /// Command `number` starts.
    pub fn begin(&mut self, number: u32) {
        self.line(&format!("begin {number}"));
    }

    /// Command `number` has ended.
    pub fn end(&mut self, number: u32, code: u8, took: Duration) {
        self.line(&format!("end {number} {code} {}", took.as_millis()));
    }

    /// Explain a failure of the guest itself.
    pub fn error(&mut self, text: &str) {
        self.line(&format!("error {}", text.replace('\n', " ")));
    }

    /// The job's result.
    pub fn exit(&mut self, code: u8) {
        self.line(&format!("exit {code}"));
    }

    /// The lines that the host sends.
    pub fn requests(&self) -> Result<impl Iterator<Item = String>, String> {
        let port = self
            .port
            .try_clone()
            .map_err(|e| format!("cannot share the status port: {e}"))?;
        Ok(BufReader::new(port).lines().map_while(Result::ok))
    }

    fn line(&mut self, text: &str) {
        if let Err(error) = self.port.write_all(format!("{text}\n").as_bytes()) {
            // The host takes a missing status for a failure; the console says why it is missing.
            eprintln!("uffd-init: cannot report {text:?}: {error}");
        }
    }
}
