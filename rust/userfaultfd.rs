// SPDX-License-Identifier: GPL-2.0-only

//! userfaultfd: page faults handled by user space.
//!
//! Layers, each calling only downwards:
//!
//! - [`seam`] the C names the rest of mm calls,
//! - [`uffd`] the subsystem,
//! - [`abstractions`] safe wrappers of kernel facilities, and [`pure`], decisions on plain values.

use kernel::prelude::*;

#[macro_use]
mod defect;

mod abstractions;
#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
mod lab;
mod pure;
mod seam;
mod uffd;

module! {
    type: Userfaultfd,
    name: "userfaultfd",
    authors: ["The userfaultfd in Rust developers"],
    description: "Page faults handled by user space",
    license: "GPL v2",
}

/// Sets the subsystem up at boot. There is no way to take it down.
struct Userfaultfd;

impl kernel::Module for Userfaultfd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        #[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
        lab::init();
        uffd::init()?;
        Ok(Self)
    }
}
