// SPDX-License-Identifier: GPL-2.0-only

//! The host's name for the module tree that the kernel crate calls `pure`.
//!
//! The kernel never sees this file: there `mod pure;` takes `mod.rs` directly.

#![cfg_attr(not(test), no_std)]

#[path = "mod.rs"]
mod pure;

pub use pure::*;
