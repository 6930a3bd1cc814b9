// SPDX-License-Identifier: GPL-2.0-only

//! A thread that answers faults.

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::EventFd;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};
use uffd::{Event, Uffd};

/// Reads every message of a non-blocking descriptor and hands it to a function, until stopped.
#[derive(Debug)]
pub struct Handler {
    stop: Arc<EventFd>,
    thread: JoinHandle<Vec<Event>>,
}

/// So many events are kept without allocating.
const EVENTS: usize = 4096;

impl Handler {
    /// Starts the thread.
    pub fn spawn(
        uffd: Arc<Uffd>,
        mut answer: impl FnMut(&Uffd, Event) + Send + 'static,
    ) -> Handler {
        let stop = Arc::new(EventFd::new().expect("eventfd"));
        let stopped = Arc::clone(&stop);
        let builder = Builder::new().name("handler".to_owned());
        let ready = Arc::new(Barrier::new(2));
        let is_ready = Arc::clone(&ready);
        let body = move || {
            // A fork of another thread holds the allocator's locks until its event is read.
            let mut seen = Vec::with_capacity(EVENTS);
            is_ready.wait();
            loop {
                let mut fds = [
                    PollFd::new(uffd.as_fd(), PollFlags::POLLIN),
                    PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                ];
                poll(&mut fds, PollTimeout::NONE).expect("poll");
                match uffd.read_event() {
                    Ok(event) => {
                        answer(&uffd, event);
                        seen.push(event);
                    }
                    // Woken by another answer before it was read, or told to stop.
                    Err(Errno::EAGAIN) if fds[1].any() == Some(true) => return seen,
                    Err(Errno::EAGAIN) => {}
                    Err(errno) => panic!("read: {errno}"),
                }
            }
        };
        let thread = builder.spawn(body).expect("thread");
        // Nor may such a fork come before the thread has what it needs.
        ready.wait();
        Handler { stop, thread }
    }

    /// Answers what is there, ends the thread and returns every event it saw.
    pub fn stop(self) -> Vec<Event> {
        self.stop.write(1).expect("eventfd");
        self.thread.join().expect("handler")
    }
}
