// SPDX-License-Identifier: GPL-2.0-only

//! Running tests, each in its own process, and printing KTAP.

use super::{env, isolated, need, Test, EXIT_SKIP, SKIP_MARK};
use std::io::{self, Write};
use std::time::Duration;

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
    let ended = isolated::run(&["--run-one", name], timeout)?;
    let mut lines = ended.trouble;
    if let Some(status) = ended.status {
        if lines.is_empty() {
            match status.code() {
                Some(0) => return Ok(Outcome::Passed),
                Some(EXIT_SKIP) => return Ok(Outcome::Skipped(skip_reason(&ended.output))),
                _ => {}
            }
        }
        lines.push(status.to_string());
        lines.extend(ended.output.lines().map(str::to_owned));
    }
    Ok(Outcome::Failed(lines))
}

fn skip_reason(text: &str) -> String {
    let reason = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(SKIP_MARK));
    reason.unwrap_or("no reason given").to_owned()
}
