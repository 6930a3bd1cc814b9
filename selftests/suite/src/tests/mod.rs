// SPDX-License-Identifier: GPL-2.0-only

//! The tests, a module per area.

use crate::harness::Test;

mod api;
mod argument;
mod changing;
mod eligible;
mod errno;
mod features;
mod fill;
mod gup;
mod missing;
mod poll;
mod read;
mod register;
mod wake;

/// The tests of every module, in alphabetical order.
pub const MODULES: &[&[Test]] = &[
    api::TESTS,
    argument::TESTS,
    changing::TESTS,
    eligible::TESTS,
    errno::fill::TESTS,
    errno::range::TESTS,
    features::TESTS,
    fill::TESTS,
    gup::TESTS,
    missing::TESTS,
    poll::TESTS,
    read::TESTS,
    register::TESTS,
    wake::TESTS,
];
