// SPDX-License-Identifier: GPL-2.0-only

//! Registration of a range that consists of many mappings.

use nix::sys::mman::ProtFlags;

use crate::area::Area;
use crate::measure::Sample;
use crate::request::{register_area, CALLS};
use crate::Result;

/// UFFDIO_REGISTER and UFFDIO_UNREGISTER of `mappings` mappings of a page that cannot merge.
pub fn register(repeats: usize, mappings: u64) -> Result<Vec<Sample>> {
    let area = Area::new(mappings)?;
    (0..mappings)
        .step_by(2)
        .try_for_each(|page| area.protect(page, 1, ProtFlags::PROT_READ))?;
    register_area(repeats, (2 * CALLS / mappings).max(2), &area)
}
