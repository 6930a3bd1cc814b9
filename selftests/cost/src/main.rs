// SPDX-License-Identifier: GPL-2.0-only

//! Measures what userfaultfd(2) costs.
//!
//! Takes the time of the guest's clock. In an emulator that counts instructions a nanosecond is an
//! instruction, so that the figures are exact; elsewhere they are only what time it took.

mod area;
mod contention;
mod crowd;
mod event;
mod fault;
mod inbox;
mod mappings;
mod measure;
mod memory;
mod request;
mod row;
mod rows;
mod signal;
mod state;
mod threads;
mod throughput;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use nix::sys::utsname::uname;
use serde::Serialize;
use uffd::abi::UFFD_USER_MODE_ONLY;
use uffd::{Errno, Uffd};

use row::{Group, Row};

/// Measure what userfaultfd(2) costs; one JSON object per line.
///
/// The first line names the kernel. The others are samples: the row, the operations done, and per
/// operation the nanoseconds (`cost`) and the voluntary context switches of the whole process. Where
/// `unit` is given, `cost` is in that unit instead; `extra` has what else was counted. A row that the
/// kernel cannot show is marked as `lacking`. Rows of the group throughput need several processors, and
/// are left out unless --group or =NAME asks for them. Several rows are measured in a process each.
///
/// Exit status: 0, 1 if a call failed, 2 for bad options.
#[derive(Parser)]
#[command(name = "uffd-cost", version)]
struct Options {
    /// Only the rows whose names contain TEXT; with = in front, the row of that name (repeatable)
    #[arg(long, value_name = "TEXT")]
    rows: Vec<String>,
    /// Only the rows of this group (repeatable)
    #[arg(long, value_name = "GROUP")]
    group: Vec<Group>,
    /// Samples of each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Print the names of the rows and what they are
    #[arg(long)]
    list: bool,
    /// With --list: one JSON object per row
    #[arg(long, requires = "list")]
    json: bool,
}

impl Options {
    /// The rows that are meant.
    ///
    /// # Errors
    ///
    /// The text that means none.
    fn rows(&self) -> std::result::Result<Vec<Row>, &str> {
        let mut rows = rows::all();
        rows.retain(|row| self.group.is_empty() || self.group.contains(&row.group));
        // Throughput says something on several processors only, so it has to be asked for.
        let asked = self.list || self.group.contains(&Group::Throughput);
        let is_meant = |row: &Row, text: &str| {
            row.is_called(text)
                || row.name.contains(text) && (asked || row.group != Group::Throughput)
        };
        if let Some(text) = self
            .rows
            .iter()
            .find(|text| !rows.iter().any(|row| is_meant(row, text)))
        {
            return Err(text);
        }
        let all = [String::new()];
        let texts = if self.rows.is_empty() {
            &all
        } else {
            &self.rows[..]
        };
        rows.retain(|row| texts.iter().any(|text| is_meant(row, text)));
        Ok(rows)
    }
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
    let rows = match options.rows() {
        Ok(rows) => rows,
        Err(text) => {
            eprintln!(
                "uffd-cost: no row matches '{text}' (--list names them; throughput needs --group)"
            );
            return ExitCode::from(2);
        }
    };
    let done = if options.list {
        list(&rows, options.json)
    } else {
        run(&rows, options.repeats)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uffd-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints something for programs.
fn print(line: impl Serialize) -> Result<()> {
    let text = serde_json::to_string(&line).map_err(|error| format!("JSON: {error}"))?;
    println!("{text}");
    Ok(())
}

fn list(rows: &[Row], json: bool) -> Result<()> {
    rows.iter().try_for_each(|row| {
        if json {
            return print(row.description());
        }
        println!("{:<20}  {}", row.name, row.about);
        Ok(())
    })
}

fn run(rows: &[Row], repeats: u16) -> Result<()> {
    measure::fix_layout()?;
    let kernel = uname().map_err(call("uname"))?;
    print(Kernel {
        kernel: format!(
            "{} {}",
            kernel.sysname().display(),
            kernel.release().display()
        ),
    })?;
    let measure = if rows.len() == 1 {
        measure_here
    } else {
        measure_apart
    };
    rows.iter()
        .try_for_each(|row| measure(row, repeats).map_err(|error| format!("{}: {error}", row.name)))
}

fn measure_here(row: &Row, repeats: u16) -> Result<()> {
    if row.is_lacking(offered()?) {
        return print(row.lacking());
    }
    measure::run_in_turn()?;
    measure::wait_for_clock();
    measure::rest();
    let samples = row.run(repeats.into())?;
    samples
        .iter()
        .try_for_each(|sample| print(row.line(sample)))
}

/// Measures in a process of its own: the rows before may leave a tree of mappings behind in which the
/// same work costs another few percent.
fn measure_apart(row: &Row, repeats: u16) -> Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .args(["--rows", &format!("={}", row.name)])
        .args(["--repeats", &repeats.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start again: {error}"))?;
    // The kernel is known.
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
        .skip(1)
    {
        println!("{}", line.map_err(|error| format!("its output: {error}"))?);
    }
    let status = child.wait().map_err(|error| format!("its end: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

/// The first line.
#[derive(Serialize)]
struct Kernel {
    kernel: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(words: &[&str]) -> std::result::Result<Vec<String>, String> {
        let options = Options::try_parse_from([&["uffd-cost"], words].concat())
            .map_err(|error| error.to_string())?;
        let rows = options.rows()?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    #[test]
    fn names_differ() {
        let all = names(&["--list"]).unwrap();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn throughput_has_to_be_asked_for() {
        let has = |words: &[&str]| {
            names(words).is_ok_and(|names| names.iter().any(|name| name == "throughput-1x1"))
        };
        assert!(!has(&[]));
        assert!(!has(&["--rows", "1"]));
        assert!(has(&["--list"]));
        assert!(has(&["--group", "throughput"]));
        assert!(has(&["--rows", "=throughput-1x1"]));
        assert!(has(&["--rows", "=clock", "--rows", "=throughput-1x1"]));
    }

    #[test]
    fn rows_are_chosen_by_name_and_group() {
        assert_eq!(names(&["--rows", "=copy-1"]).unwrap(), ["copy-1"]);
        assert_eq!(
            names(&["--rows", "copy-"]).unwrap(),
            names(&["--rows", "copy-", "--group", "background"]).unwrap()
        );
        let both = names(&["--group", "memory", "--group", "alternatives"]).unwrap();
        assert!(both.iter().any(|name| name == "clock"));
        assert!(both.iter().any(|name| name == "memory-context"));
        assert!(!both.iter().any(|name| name == "copy-1"));
    }

    #[test]
    fn a_text_that_means_nothing_is_named() {
        for words in [
            &["--rows", "nothing"][..],
            &["--rows", "clock", "--rows", "nothing"],
            &["--rows", "nothing", "--group", "memory"],
        ] {
            assert_eq!(names(words), Err("nothing".into()));
        }
        assert_eq!(
            names(&["--rows", "copy-1", "--group", "memory"]),
            Err("copy-1".into())
        );
        assert!(names(&["--group", "nothing"]).is_err());
    }

    #[test]
    fn a_point_of_a_curve_says_which() {
        let point = rows::all()
            .into_iter()
            .find(|row| row.name == "sleepers-256")
            .unwrap();
        let text = serde_json::to_value(point.description()).unwrap();
        assert_eq!(text["family"], "sleepers");
        assert_eq!(text["n"], 256);
        assert_eq!(text["unit"], "instructions");
        assert_eq!(text["group"], "growth");
    }
}
