// SPDX-License-Identifier: GPL-2.0-only

//! Measures what userfaultfd(2) costs.
//!
//! Takes the time of the guest's clock. In an emulator that counts instructions a nanosecond is an
//! instruction, so that the figures are exact; elsewhere they are only what time it took.

mod area;
mod fault;
mod measure;
mod request;
mod rows;
mod state;

use std::process::ExitCode;

use clap::Parser;
use nix::sys::utsname::uname;
use uffd::abi::UFFD_USER_MODE_ONLY;
use uffd::{Errno, Uffd};

use rows::Row;

/// Measure what userfaultfd(2) costs; one JSON object per line.
///
/// The first line names the kernel. The others are samples: the row, the operations done, and per
/// operation the nanoseconds (`cost`) and the voluntary context switches of the whole process. Of what
/// the kernel does not offer there is only the row's name (`lacking`).
///
/// Exit status: 0, 1 if a call failed, 2 for bad options.
#[derive(Parser)]
#[command(name = "uffd-cost", version)]
struct Options {
    /// Only the rows whose names contain TEXT; with = in front, the row of that name (repeatable)
    #[arg(long, value_name = "TEXT")]
    rows: Vec<String>,
    /// Samples of each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Print the names of the rows and what they are
    #[arg(long)]
    list: bool,
}

/// What can go wrong, ready to be printed.
type Result<T> = std::result::Result<T, String>;

/// For `map_err`: say which call failed.
fn call(name: &str) -> impl Fn(Errno) -> String + '_ {
    move |errno| format!("{name}: {errno}")
}

/// A descriptor that is ready for use.
fn open(flags: i32) -> Result<Uffd> {
    open_with(flags, 0)
}

/// The same with features that are not on by themselves.
fn open_with(flags: i32, features: u64) -> Result<Uffd> {
    // Faults in user mode are all we need, and everybody may have them.
    let uffd = Uffd::from_syscall(libc::O_CLOEXEC | UFFD_USER_MODE_ONLY as i32 | flags)
        .map_err(call("userfaultfd"))?;
    uffd.api(features).map_err(call("UFFDIO_API"))?;
    Ok(uffd)
}

/// The features of the kernel.
fn offered() -> Result<u64> {
    let uffd = Uffd::from_syscall(libc::O_CLOEXEC | UFFD_USER_MODE_ONLY as i32)
        .map_err(call("userfaultfd"))?;
    let api = uffd.api(0).map_err(call("UFFDIO_API"))?;
    Ok(api.features)
}

fn main() -> ExitCode {
    let options = Options::parse();
    let rows: Vec<Row> = rows::all()
        .into_iter()
        .filter(|row| options.rows.is_empty() || options.rows.iter().any(|text| row.matches(text)))
        .collect();
    if let Some(text) = options
        .rows
        .iter()
        .find(|text| !rows.iter().any(|row| row.matches(text)))
    {
        eprintln!("uffd-cost: no row matches '{text}'");
        return ExitCode::from(2);
    }
    if options.list {
        rows.iter()
            .for_each(|row| println!("{:<20}  {}", row.name, row.about));
        return ExitCode::SUCCESS;
    }
    match run(&rows, options.repeats.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uffd-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rows: &[Row], repeats: usize) -> Result<()> {
    let kernel = uname().map_err(call("uname"))?;
    println!(
        "{{\"kernel\": \"{} {}\"}}",
        kernel.sysname().display(),
        kernel.release().display()
    );
    let offered = offered()?;
    measure::run_in_turn()?;
    for row in rows {
        if row.needs & !offered != 0 {
            println!("{{\"lacking\": \"{}\"}}", row.name);
            continue;
        }
        measure::settle()?;
        let samples = row
            .run(repeats)
            .map_err(|error| format!("{}: {error}", row.name))?;
        for sample in samples {
            println!("{}", sample.json(&row.name));
        }
    }
    Ok(())
}
