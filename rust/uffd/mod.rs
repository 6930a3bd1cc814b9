// SPDX-License-Identifier: GPL-2.0-only

//! The subsystem: contexts, faults, registration, fills, protection.

pub(crate) mod context;
mod device;
pub(crate) mod events;
pub(crate) mod fault;
mod fill;
mod ioctl;
mod moving;
pub(crate) mod protect;
mod read;
mod register;

use kernel::prelude::*;

/// What is set up once, at boot.
pub(crate) fn init() -> Result {
    context::create_cache()?;
    device::register()
}
