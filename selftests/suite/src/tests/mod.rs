// SPDX-License-Identifier: GPL-2.0-only

//! The tests, a module per area.

use crate::harness::Test;

mod api;
mod fill;
mod missing;

/// The tests of every module, in alphabetical order.
pub const MODULES: &[&[Test]] = &[api::TESTS, fill::TESTS, missing::TESTS];
