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
//! Each test runs in a process of its own, freshly executed, in a process group of its own. Output
//! on stdout and stderr is shown when the test fails. After the timeout the whole group is killed
//! and the test has failed; so it may block for ever when the kernel misbehaves, and must never
//! sleep to let something happen. To wait for another thread there are [`task::Faulter`],
//! [`sleepers`], [`task::wait_asleep`], [`task::until`] and [`env::wait_queued`].
//!
//! Memory that faults are played with comes from [`mem::Mapping`] and is only touched through its
//! volatile accessors.

pub mod aio;
pub mod compat;
pub mod env;
pub mod handler;
pub mod inject;
pub mod kind;
pub mod managed;
pub mod mem;
pub mod need;
pub mod pagemap;
pub mod pool;
pub mod process;
pub mod protect;
pub mod protectable;
pub mod raw;
pub mod rng;
pub mod run;
pub mod scan;
pub mod setting;
pub mod sigbus;
pub mod slab;
pub mod swap;
pub mod task;
pub mod uring;
pub mod user;

pub use need::Need;

use mem::Mapping;
use nix::errno::Errno;
use std::fmt::Debug;
use std::sync::Arc;
use task::Faulter;
use uffd::abi::UFFDIO_REGISTER_MODE_MISSING;
use uffd::Uffd;

/// Exit status of a test process that was skipped, as the kernel's own suites use it.
pub const EXIT_SKIP: i32 = 4;
/// Exit status of a test process in which a thread panicked.
pub const EXIT_PANIC: i32 = 101;
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

/// Fails unless the result is this error.
#[track_caller]
pub fn expect_errno<T: Debug, E: Into<Errno>>(result: Result<T, E>, want: Errno) {
    match result {
        Ok(value) => panic!("expected {want:?}, but the call succeeded with {value:?}"),
        Err(error) => assert_eq!(error.into(), want),
    }
}

/// A descriptor after a handshake that asked for these features, non-blocking.
#[track_caller]
pub fn uffd_with(features: u64) -> Uffd {
    let uffd = uffd_raw(libc::O_NONBLOCK);
    uffd.api(features).expect("UFFDIO_API");
    uffd
}

/// The same, but blocking.
#[track_caller]
pub fn blocking_uffd_with(features: u64) -> Uffd {
    let uffd = uffd_raw(0);
    uffd.api(features).expect("UFFDIO_API");
    uffd
}

/// A descriptor with these flags (and `O_CLOEXEC`) before any handshake.
#[track_caller]
pub fn uffd_raw(flags: i32) -> Uffd {
    Uffd::from_syscall(libc::O_CLOEXEC | flags).expect("userfaultfd")
}

/// Registers a mapping for missing faults, and shares it with the threads to come.
#[track_caller]
pub fn registered(mapping: Mapping, uffd: &Uffd) -> Arc<Mapping> {
    let mode = UFFDIO_REGISTER_MODE_MISSING;
    uffd.register(mapping.start(), mapping.len(), mode)
        .expect("UFFDIO_REGISTER");
    Arc::new(mapping)
}

/// Threads that sleep in reads of the given pages, queued in that order.
pub fn sleepers(
    uffd: &Uffd,
    target: &Arc<Mapping>,
    pages: impl IntoIterator<Item = u64>,
) -> Vec<Faulter<u8>> {
    let before = env::fdinfo(uffd).total;
    (before + 1..)
        .zip(pages)
        .map(|(count, page)| {
            let faulter = Faulter::read(target, page * mem::PAGE);
            env::wait_queued(uffd, count);
            faulter.wait_asleep();
            faulter
        })
        .collect()
}

/// Gives the range back, which wakes everybody, and waits for them; nothing had been filled.
#[track_caller]
pub fn release(uffd: &Uffd, target: &Mapping, sleepers: Vec<Faulter<u8>>) {
    uffd.unregister(target.start(), target.len())
        .expect("UFFDIO_UNREGISTER");
    assert!(sleepers
        .into_iter()
        .map(Faulter::join)
        .all(|value| value == 0));
}
