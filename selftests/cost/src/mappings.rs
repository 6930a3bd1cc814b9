// SPDX-License-Identifier: GPL-2.0-only

//! Registration of a range that consists of many mappings.

use nix::sys::mman::ProtFlags;
use uffd::abi::UFFDIO_REGISTER_MODE_MISSING;

use crate::area::Area;
use crate::measure::Sample;
use crate::request::{repeat_after, CALLS};
use crate::{call, open, Result};

/// UFFDIO_REGISTER and UFFDIO_UNREGISTER of `mappings` mappings of a page that cannot merge.
pub fn register(repeats: usize, mappings: u64) -> Result<Vec<Sample>> {
    let uffd = open(0)?;
    let area = Area::new(mappings)?;
    (0..mappings)
        .step_by(2)
        .try_for_each(|page| area.protect(page, 1, ProtFlags::PROT_READ))?;
    let calls = (CALLS / mappings).max(2);
    repeat_after(
        repeats,
        calls,
        || Ok(()),
        || {
            (0..calls).try_for_each(|_| {
                uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
                    .map_err(call("UFFDIO_REGISTER"))?;
                uffd.unregister(area.page(0), area.len())
                    .map_err(call("UFFDIO_UNREGISTER"))
            })
        },
    )
}
