// SPDX-License-Identifier: GPL-2.0-only

//! Short scenes with page faults, to be watched through the tracepoints of userfaultfd.
//!
//! Each runs in a process of its own. This one switches the tracepoints on around it and keeps what
//! they told. See [`scenarios`] for how to add one.

mod scenarios;
mod stage;
mod trace;

use clap::Parser;
use scenarios::{Scenario, ALL};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use uffd_harness::task::set_name;
use uffd_harness::{env, isolated};

/// Exit status for options that make no sense, such as a scenario that there is not.
const EXIT_USAGE: u8 = 2;
/// The file with the trace, in the scenario's folder.
const TRACE: &str = "trace.txt";

/// Play scenes with page faults and keep what the tracepoints of userfaultfd told; prints KTAP.
///
/// Exit status: 0 if every scenario went as it should, 1 if one did not, 2 for bad options.
#[derive(Parser)]
#[command(name = "uffd-study", version)]
struct Options {
    /// Print the scenarios and what they show
    #[arg(long)]
    list: bool,
    /// Folder for NAME/trace.txt; without it nothing is traced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seconds that a scenario may take
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Play one scenario in this process, as is done for each
    #[arg(long, value_name = "NAME", hide = true, conflicts_with_all = ["list", "names", "out"])]
    run_one: Option<String>,
    /// The scenarios
    #[arg(value_name = "SCENARIO")]
    names: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for scenario in ALL {
            println!("{:<20}  {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    let asked = options.run_one.iter().chain(&options.names);
    let mut chosen = Vec::new();
    for name in asked {
        let Some(scenario) = ALL.iter().find(|scenario| scenario.name == name) else {
            let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
            eprintln!(
                "uffd-study: there is no scenario '{name}', only: {}",
                names.join(" ")
            );
            return ExitCode::from(EXIT_USAGE);
        };
        chosen.push(scenario);
    }
    if options.run_one.is_some() {
        isolated::end_by_panic();
        set_name(c"manager");
        (chosen[0].run)();
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("uffd-study: which scenario? --list tells what there is");
        return ExitCode::from(EXIT_USAGE);
    }
    match play_all(&options, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("uffd-study: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays one after the other. Returns whether all went as they should.
fn play_all(options: &Options, chosen: &[&Scenario]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let (release, who) = (env::kernel_release(), env::implementation());
    writeln!(out, "KTAP version 1")?;
    writeln!(out, "# Linux {release}, userfaultfd in {who}")?;
    writeln!(out, "1..{}", chosen.len())?;
    let mut good = true;
    for (number, scenario) in (1..).zip(chosen) {
        let trouble = play(options, scenario)?;
        for line in &trouble {
            writeln!(out, "# {line}")?;
        }
        let result = if trouble.is_empty() { "ok" } else { "not ok" };
        writeln!(out, "{result} {number} {}", scenario.name)?;
        out.flush()?;
        good &= trouble.is_empty();
    }
    Ok(good)
}

/// Plays one in a new process. Returns what went wrong.
fn play(options: &Options, scenario: &Scenario) -> io::Result<Vec<String>> {
    let run = || {
        let arguments = ["--run-one", scenario.name];
        isolated::run(&arguments, Duration::from_secs(options.timeout))
    };
    let ended = match &options.out {
        None => run()?,
        Some(folder) => traced(&folder.join(scenario.name), run)?,
    };
    let mut trouble = ended.trouble;
    if let Some(status) = ended.status.filter(|status| !status.success()) {
        trouble.push(status.to_string());
        trouble.extend(ended.output.lines().map(str::to_owned));
    }
    Ok(trouble)
}

/// Runs something with the tracepoints on, and keeps what they told in a folder.
fn traced<T>(folder: &Path, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    fs::create_dir_all(folder)?;
    let trace = trace::start()?;
    let result = run();
    trace.keep(&folder.join(TRACE))?;
    result
}
