// SPDX-License-Identifier: GPL-2.0-only

//! The tests, a module per area.

use crate::harness::Test;

mod api;
mod argument;
mod changing;
mod errno;
mod features;
mod fill;
mod missing;
mod read;
mod register;

/// The tests of every module, in alphabetical order.
pub const MODULES: &[&[Test]] = &[
    api::TESTS,
    argument::TESTS,
    changing::TESTS,
    errno::TESTS,
    features::TESTS,
    fill::TESTS,
    missing::TESTS,
    read::TESTS,
    register::TESTS,
];
