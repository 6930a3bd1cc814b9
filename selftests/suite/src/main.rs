// SPDX-License-Identifier: GPL-2.0-only

//! Behavioural tests of userfaultfd(2). See `harness` for how to add one.

mod harness;
mod tests;

use clap::Parser;
use harness::{accounts, remains, run, skip, Test};
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Exit status for options that make no sense, such as a filter that matches nothing.
const EXIT_USAGE: u8 = 2;

/// Tests the running kernel's userfaultfd(2) and prints KTAP.
///
/// Exit status: 0 if no test failed, 1 if one did, 2 for bad options.
#[derive(Parser)]
#[command(name = "uffd-suite", version)]
struct Options {
    /// Print the names of the tests instead of running them
    #[arg(long)]
    list: bool,
    /// Only the tests whose name contains this; may be given more than once
    #[arg(long, value_name = "SUBSTR")]
    filter: Vec<String>,
    /// Seconds a test may take
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Run the tests up to N times, until one fails; each time is marked in the kernel's log
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    tries: u64,
    /// Print contexts and memory in use instead, to be compared before and after
    #[arg(long, hide = true, conflicts_with_all = ["list", "filter"])]
    accounts: bool,
    /// Print what is left of a freed context instead
    #[arg(long, hide = true, conflicts_with_all = ["list", "filter", "accounts"])]
    remains: bool,
    /// Run one test in this process, as the suite does for each
    #[arg(long, value_name = "NAME", hide = true, conflicts_with_all = ["list", "filter", "accounts", "remains"])]
    run_one: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let all = tests::all();
    if let Some(name) = &options.run_one {
        return run_here(&all, name);
    }
    let idle = |filter: &&String| !all.iter().any(|test| test.name().contains(filter.as_str()));
    if let Some(filter) = options.filter.iter().find(idle) {
        eprintln!("uffd-suite: no test matches the filter '{filter}'");
        return ExitCode::from(EXIT_USAGE);
    }
    let selected: Vec<Test> = all
        .iter()
        .filter(|test| {
            options.filter.is_empty()
                || options
                    .filter
                    .iter()
                    .any(|filter| test.name().contains(filter))
        })
        .copied()
        .collect();
    match print(&options, &selected) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("uffd-suite: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(options: &Options, selected: &[Test]) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if options.accounts {
        accounts::print(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.remains {
        remains::print(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.list {
        for test in selected {
            writeln!(out, "{}", test.name())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for number in 1..=options.tries {
        if options.tries > 1 {
            // So that what the kernel says can be told by try. Not everybody may.
            let _ = fs::write("/dev/kmsg", format!("uffd-suite: try {number}"));
        }
        let totals = run::run_all(selected, Duration::from_secs(options.timeout), &mut out)?;
        if totals.failed > 0 {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a test in this process.
fn run_here(all: &[Test], name: &str) -> ExitCode {
    let Some(test) = all.iter().find(|test| test.name() == name) else {
        eprintln!("uffd-suite: there is no test '{name}'");
        return ExitCode::from(EXIT_USAGE);
    };
    if let Some(reason) = test.needs.iter().find_map(harness::Need::missing) {
        skip(&reason);
    }
    harness::isolated::end_by_panic();
    (test.run)();
    ExitCode::SUCCESS
}
