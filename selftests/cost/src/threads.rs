// SPDX-License-Identifier: GPL-2.0-only

//! Threads that sleep in faults, or wait for them.

use std::fs;
use std::sync::mpsc;
use std::thread::{self, Scope};
use std::time::Duration;

use nix::unistd::gettid;

use crate::Result;

/// More than a thread of ours needs, and little enough for thousands of them.
const STACK: usize = 32 << 10;
/// Pause between two looks at a thread that is about to sleep.
pub const PAUSE: Duration = Duration::from_millis(1);

/// Ends the process: without one of its threads it would sleep for ever.
pub fn die(error: &str) -> ! {
    eprintln!("uffd-cost: {error}");
    std::process::exit(1)
}

/// Starts a thread with a small stack and returns its number.
pub fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    body: impl FnOnce() + Send + 'scope,
) -> Result<i32> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .stack_size(STACK)
        .spawn_scoped(scope, move || {
            // The receiver waits in this function.
            let _ = sender.send(gettid().as_raw());
            drop(sender);
            body();
        })
        .unwrap_or_else(|error| die(&format!("cannot start a thread: {error}")));
    receiver
        .recv()
        .map_err(|error| format!("a new thread: {error}"))
}

/// Waits until all these threads sleep.
pub fn wait_asleep(threads: &[i32]) {
    for thread in threads {
        while !is_asleep(*thread) {
            thread::sleep(PAUSE);
        }
    }
}

fn is_asleep(thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"))
        .unwrap_or_else(|error| die(&format!("thread {thread} has ended: {error}")));
    // The name may contain anything, so it ends at the last parenthesis.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['S', 'D']))
}
