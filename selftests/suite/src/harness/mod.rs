// SPDX-License-Identifier: GPL-2.0-only

//! What every test builds on.
//!
//! # Adding a test
//!
//! A test is a function without arguments in a module under `tests/`. It fails by panicking
//! (`assert_eq!`, `unwrap`, [`expect_errno`]) in whatever thread, and passes by returning. The
//! module lists its tests once:
//!
//! ```ignore
//! tests! {
//!     copy_fills_a_page;
//!     fork_event_needs_privilege [Need::Root];
//! }
//! ```
//!
//! Listing a function makes the test `module::function`. In brackets stands what it needs; where
//! that is missing the test is skipped with a reason. A test that finds out later calls [`skip`].
//! A new module is added to the list in `tests/mod.rs`.
//!
//! # What a test may rely on
//!
//! Each test runs in a process of its own ([`isolated`]), freshly executed, in a process group of
//! its own. Output on stdout and stderr is shown when the test fails. After the timeout the whole
//! group is killed and the test has failed; so it may block for ever when the kernel misbehaves,
//! and must never sleep to let something happen. To wait for another thread there are
//! [`task::Faulter`], [`sleepers`], [`task::wait_asleep`], [`task::until`] and [`env::wait_queued`].
//!
//! Memory that faults are played with comes from [`mem::Mapping`] and is only touched through its
//! volatile accessors.

pub mod accounts;
pub mod aio;
pub mod compat;
pub mod inject;
pub mod kind;
pub mod need;
pub mod nodes;
pub mod pool;
pub mod process;
pub mod protect;
pub mod raw;
pub mod remains;
pub mod rng;
pub mod run;
pub mod scan;
pub mod setting;
pub mod sigbus;
pub mod slab;
pub mod uring;

pub use need::Need;
pub use uffd_harness::{
    all_read, blocking_uffd_with, env, expect_errno, handler, isolated, managed, mem, pagemap,
    registered, release, remover, sleepers, smaps, swap, task, tracing, uffd_raw, uffd_with, user,
    EXIT_PANIC,
};

/// Exit status of a test process that was skipped, as the kernel's own suites use it.
pub const EXIT_SKIP: i32 = 4;
/// Starts the line with the reason for skipping.
pub const SKIP_MARK: &str = "SKIP: ";

/// A test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Path of the function, crate included.
    pub path: &'static str,
    /// What it needs.
    pub needs: &'static [Need],
    /// The test itself.
    pub run: fn(),
}

impl Test {
    /// The name people use: module and function.
    pub fn name(&self) -> &'static str {
        self.path
            .split_once("::tests::")
            .map_or(self.path, |(_, name)| name)
    }
}

/// Lists the tests of a module; see the module documentation.
macro_rules! tests {
    ($( $name:ident $([ $($need:expr),+ $(,)? ])?; )+) => {
        /// The tests of this module.
        pub const TESTS: &[$crate::harness::Test] = &[
            $( $crate::harness::Test {
                path: concat!(module_path!(), "::", stringify!($name)),
                needs: &[ $($($need),+)? ],
                run: $name,
            }, )+
        ];
    };
}
pub(crate) use tests;

/// Ends the test process; the test counts as skipped.
pub fn skip(reason: &str) -> ! {
    println!("{SKIP_MARK}{reason}");
    std::process::exit(EXIT_SKIP)
}
