// SPDX-License-Identifier: GPL-2.0-only

//! The scenes.
//!
//! # Adding one
//!
//! Write a function in a module of this folder and name it in [`ALL`]. It runs in a process of its
//! own, whose first thread is called `manager`. It names its other threads, says with
//! [`step`](crate::stage::step) what comes next, and fails by panicking if it did not come so. It
//! never sleeps to let something happen: what the others do is waited for.

mod changes;
mod crowd;
mod ends;
mod faults;
mod moving;
mod protect;

/// A scene.
pub struct Scenario {
    /// What it is called for.
    pub name: &'static str,
    /// What there is to be seen.
    pub about: &'static str,
    /// The scene itself.
    pub run: fn(),
}

/// The scenes, the simplest first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "single-fault",
        about: "a thread touches a missing page, the manager reads the message and copies",
        run: faults::single_fault,
    },
    Scenario {
        name: "unread",
        about: "a fault is answered before anybody has read its message",
        run: faults::unread,
    },
    Scenario {
        name: "two-readers",
        about: "two threads wait in read(2), each fault wakes one of them",
        run: faults::two_readers,
    },
    Scenario {
        name: "signal",
        about: "a signal takes a thread out of its fault, and it comes back to it",
        run: ends::signal,
    },
    Scenario {
        name: "killed-sleeper",
        about: "a process is killed while it sleeps in a fault that was read",
        run: ends::killed_sleeper,
    },
    Scenario {
        name: "close-sleepers",
        about: "the descriptor is closed while threads sleep: their faults are ordinary then",
        run: ends::close_sleepers,
    },
    Scenario {
        name: "exit-close",
        about: "a thread ends while another one closes the descriptor",
        run: ends::exit_close,
    },
    Scenario {
        name: "fork-event",
        about: "a program forks, and its child gets a context of its own",
        run: changes::fork_event,
    },
    Scenario {
        name: "mremap-copy",
        about: "COPY is refused while memory moves and until its event is read",
        run: changes::mremap_copy,
    },
    Scenario {
        name: "wp-loop",
        about: "a page is protected again after each write, which is how one tracks writes",
        run: protect::wp_loop,
    },
    Scenario {
        name: "minor-continue",
        about: "a page is in the page cache but not mapped: CONTINUE maps it",
        run: faults::minor_continue,
    },
    Scenario {
        name: "move-swap",
        about: "MOVE takes pages that are in swap to where threads wait for them",
        run: moving::move_swap,
    },
    Scenario {
        name: "thousand-sleepers",
        about: "1,000 threads sleep in faults, and one request wakes them all",
        run: crowd::thousand_sleepers,
    },
    Scenario {
        name: "post-copy",
        about: "a program runs while its memory follows: on demand and pushed",
        run: crowd::post_copy,
    },
];
