// SPDX-License-Identifier: GPL-2.0-only

//! Output: colours on a terminal only.

use std::io::{stdout, IsTerminal, Write};

const BOLD: &str = "1";
const CYAN: &str = "36";
const GREEN: &str = "32";
const RED: &str = "31";

/// Prints the steps, each of them as one line.
pub struct Show {
    colour: bool,
}

impl Show {
    /// Decide on colours.
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && stdout().is_terminal(),
        }
    }

    /// About the whole run.
    pub fn title(&self, text: &str) {
        line(&self.paint(BOLD, text));
    }

    /// What the handler thread does.
    pub fn handler(&self, text: &str) {
        line(&format!("  {} {text}", self.paint(CYAN, "handler:")));
    }

    /// What the main thread does.
    pub fn main(&self, text: &str) {
        line(&format!("  {}    {text}", self.paint(GREEN, "main:")));
    }

    /// A byte that is not as expected.
    pub fn wrong(&self, text: &str) {
        line(&format!("  {}   {text}", self.paint(RED, "wrong:")));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// Print one line. Without a reader for it there is nothing left to do, in whichever thread.
fn line(text: &str) {
    if writeln!(stdout(), "{text}").is_err() {
        std::process::exit(1);
    }
}
