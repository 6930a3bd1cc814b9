// SPDX-License-Identifier: GPL-2.0-only

//! Settings of the machine that a test changes for itself.

use std::fs;

/// A setting that gets its value back when this goes away.
#[derive(Debug)]
pub struct Setting {
    path: String,
    before: String,
}

impl Setting {
    /// Writes to a file of /proc or /sys.
    #[track_caller]
    pub fn set(path: impl Into<String>, value: &str) -> Setting {
        let path = path.into();
        let before = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        // Where there is a choice, what is chosen stands in brackets.
        let chosen = before
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        let before = chosen
            .map_or(before.trim(), |(chosen, _)| chosen)
            .to_owned();
        Setting { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Nothing is to be done about a failure, and a panic is reported already.
        let _ = fs::write(&self.path, &self.before);
    }
}
