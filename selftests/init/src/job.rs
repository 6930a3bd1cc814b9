// SPDX-License-Identifier: GPL-2.0-only

//! The job file: one `key=value` per line.
//!
//! | key | value |
//! |---|---|
//! | `arg` | one argument of the next command, the first is the program |
//! | `run` | ends a command; its time limit in seconds, 0 for none |
//! | `env` | `NAME=VALUE` for all commands |
//! | `cwd` | working folder of all commands |
//! | `hugepages` | huge pages to reserve |
//! | `swap` | bytes of swap in compressed memory |
//! | `host-root` | `yes`: the root becomes the host's, read-only over 9p |
//! | `host-out` | `yes`: the host's output folder is mounted at /mnt/out |
//! | `relay` | `yes`: output goes through a pipe, so that programs may open /dev/stdout again |
//! | `markers` | `yes`: a line before and after each command on the output port |
//! | `terminal` | `console`: commands talk to the console instead of the output port |
//!
//! In a value `\n` stands for a line feed and `\\` for a backslash.

use std::time::Duration;

/// Where a command's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Input is empty, output goes to the output port.
    None,
    /// All three are the console, which is the controlling terminal.
    Console,
}

/// One program to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, never empty.
    pub args: Vec<String>,
    /// It is killed after this time.
    pub limit: Option<Duration>,
}

/// What the host wants this guest to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Job {
    /// The programs, in order.
    pub commands: Vec<Command>,
    /// Their whole environment.
    pub env: Vec<(String, String)>,
    /// Their working folder.
    pub cwd: String,
    /// Huge pages to reserve.
    pub hugepages: Option<u64>,
    /// Bytes of swap.
    pub swap: Option<u64>,
    /// Switch to the host's root.
    pub host_root: bool,
    /// Mount the output folder.
    pub host_out: bool,
    /// Pass output through a pipe.
    pub relay: bool,
    /// Mark where each command's output starts and ends.
    pub markers: bool,
    /// The commands' standard streams.
    pub terminal: Terminal,
}

impl Job {
    /// Read a job file. Anything unknown or unfinished is an error: a job is never half understood.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "/job is not UTF-8".to_string())?;
        let mut job = Self {
            commands: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_string(),
            hugepages: None,
            swap: None,
            host_root: false,
            host_out: false,
            relay: false,
            markers: false,
            terminal: Terminal::None,
        };
        let mut args = Vec::new();
        for line in text.lines() {
            let bad = || format!("/job: cannot understand {line:?}");
            let (key, value) = line.split_once('=').ok_or_else(bad)?;
            let value = unescape(value).ok_or_else(bad)?;
            let number = || value.parse::<u64>().map_err(|_| bad());
            match key {
                "arg" => args.push(value),
                "run" => {
                    if args.is_empty() {
                        return Err("/job: a command without a program".to_string());
                    }
                    let limit = Some(number()?).filter(|&n| n != 0).map(Duration::from_secs);
                    job.commands.push(Command {
                        args: std::mem::take(&mut args),
                        limit,
                    });
                }
                "env" => {
                    let (name, value) = value.split_once('=').ok_or_else(bad)?;
                    job.env.push((name.to_string(), value.to_string()));
                }
                "cwd" => job.cwd = value,
                "hugepages" => job.hugepages = Some(number()?),
                "swap" => job.swap = Some(number()?),
                "host-root" => job.host_root = yes(&value).ok_or_else(bad)?,
                "host-out" => job.host_out = yes(&value).ok_or_else(bad)?,
                "relay" => job.relay = yes(&value).ok_or_else(bad)?,
                "markers" => job.markers = yes(&value).ok_or_else(bad)?,
                "terminal" if value == "console" => job.terminal = Terminal::Console,
                _ => return Err(bad()),
            }
        }
        if !args.is_empty() {
            return Err("/job: the last command is not finished".to_string());
        }
        if job.commands.is_empty() {
            return Err("/job: no command".to_string());
        }
        Ok(job)
    }
}

fn yes(value: &str) -> Option<bool> {
    (value == "yes").then_some(true)
}

fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys() {
        let job = Job::parse(
            b"env=A=b=c\ncwd=/tmp\nhugepages=12\nswap=4096\nhost-root=yes\nhost-out=yes\nrelay=yes\n\
              markers=yes\nterminal=console\narg=/bin/a\narg=x y\narg=\nrun=0\narg=/bin/b\nrun=7\n",
        )
        .unwrap();
        assert_eq!(
            job,
            Job {
                commands: vec![
                    Command {
                        args: vec!["/bin/a".into(), "x y".into(), "".into()],
                        limit: None
                    },
                    Command {
                        args: vec!["/bin/b".into()],
                        limit: Some(Duration::from_secs(7))
                    },
                ],
                env: vec![("A".into(), "b=c".into())],
                cwd: "/tmp".into(),
                hugepages: Some(12),
                swap: Some(4096),
                host_root: true,
                host_out: true,
                relay: true,
                markers: true,
                terminal: Terminal::Console,
            }
        );
    }

    #[test]
    fn escapes() {
        let job = Job::parse(
            br"arg=a\nb\\n
run=0
",
        )
        .unwrap();
        assert_eq!(job.commands[0].args, ["a\nb\\n"]);
    }

    #[test]
    fn nothing_is_half_understood() {
        for text in [
            "",
            "arg=a\n",
            "run=0\n",
            "arg=a\nrun=\n",
            "arg=a\nrun=-1\n",
            "what=1\narg=a\nrun=0\n",
            "arg\nrun=0\n",
            "arg=\\x\nrun=0\n",
            "arg=\\\nrun=0\n",
            "relay=no\narg=a\nrun=0\n",
            "env=A\narg=a\nrun=0\n",
            "terminal=tty\narg=a\nrun=0\n",
            "swap=1G\narg=a\nrun=0\n",
        ] {
            assert!(Job::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Job::parse(b"arg=\xff\nrun=0\n").is_err());
    }
}
