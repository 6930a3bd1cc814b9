// SPDX-License-Identifier: GPL-2.0-only

//! Fills of huge pages (`mfill_atomic_hugetlb`).

use kernel::prelude::*;

use super::{
    Content,
    Destination,
    Memory,
    Unread, //
};
use crate::abstractions::hugetlb::{
    Copied,
    EmptyFolio,
    HugetlbVma, //
};
use crate::pure::fill::Stop;

impl<'mm> Memory<'mm> for HugetlbVma<'mm> {
    type Folio = EmptyFolio;

    fn page_size(&self) -> usize {
        HugetlbVma::page_size(self)
    }

    fn admit(&self, dst: &Destination<'mm>, content: Content) -> Result {
        let mask = HugetlbVma::page_size(self) - 1;
        let range = dst.range;
        // Not every size of huge pages has a page of zeros.
        if matches!(content, Content::Zero) || (range.start() | range.end()) & mask != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn fill(
        &self,
        dst: &Destination<'mm>,
        address: usize,
        content: Content,
    ) -> Result<Option<Unread<EmptyFolio>>> {
        let write_protect = dst.mode.write_protect;
        match content {
            Content::Copied(src) => match self.copy(address, src, write_protect)? {
                Copied::Mapped => {}
                Copied::Unread(folio) => return Ok(Some(Unread { folio, src })),
            },
            Content::Zero => return Err(EINVAL),
            Content::Cached => self.map_cached(address, write_protect)?,
            Content::Poison => self.poison(address)?,
        }
        Ok(None)
    }

    /// Fills the folio while the destination is not locked, then the destination.
    ///
    /// In between, other threads may do what they like with the VMA. What is there afterwards is
    /// filled, if it has pages of the same size.
    #[cold]
    fn fill_unlocked(
        self,
        dst: &Destination<'mm>,
        address: usize,
        unread: Unread<EmptyFolio>,
    ) -> Result<Self, Stop> {
        drop(self);
        let staged = unread.folio.copy_from_user(unread.src)?;
        let memory = Self::try_from(dst.lock()?).map_err(|_| ENOENT)?;
        dst.check_protection(&memory)?;
        memory.copy_staged(address, staged, dst.mode.write_protect)?;
        Ok(memory)
    }
}
