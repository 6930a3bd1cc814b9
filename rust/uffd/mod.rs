// SPDX-License-Identifier: GPL-2.0-only

//! The subsystem: contexts, faults, registration, fills, protection.

pub(crate) mod context;
mod device;
pub(crate) mod events;
pub(crate) mod fault;
mod fill;
mod ioctl;
mod moving;
#[cfg(CONFIG_DEBUG_FS)]
mod observe;
pub(crate) mod protect;
mod read;
mod register;

use kernel::prelude::*;

/// What is set up once, at boot.
pub(crate) fn init() -> Result {
    #[cfg(CONFIG_DEBUG_FS)]
    {
        crate::abstractions::statistics::init();
        if observe::create_files().is_err() {
            pr_warn!("no files in debugfs\n");
        }
    }
    context::create_cache()?;
    device::register()
}
