// SPDX-License-Identifier: GPL-2.0-only

//! Fills of ordinary pages, whoever shares them.

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    Content,
    Destination,
    Memory,
    Unread, //
};
use crate::abstractions::{
    folio::NewFolio,
    memory::{
        Kind,
        Pages, //
    },
    pgtable::entry::Pmd, //
};
use crate::pure::fill::Stop;

impl<'mm, V> Memory<'mm> for V
where
    V: Pages + TryFrom<Kind<'mm>>,
{
    type Folio = NewFolio;

    #[inline(always)]
    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn admit(&self, _dst: &Destination<'mm>, content: Content) -> Result {
        if matches!(content, Content::Cached) && !self.vma().has_page_cache() {
            return Err(EINVAL);
        }
        Ok(())
    }

    #[inline(always)]
    fn fill(
        &self,
        dst: &Destination<'mm>,
        address: usize,
        content: Content,
    ) -> Result<Option<Unread<NewFolio>>> {
        let write_protect = dst.mode.write_protect;
        let pmd = Pmd::establish(self, address)?;
        match content {
            Content::Copied(src) => {
                match self.alloc(address)?.copy_from_user_nofault(src) {
                    Ok(folio) => pmd.adopt(folio)?.map(write_protect)?,
                    Err(folio) => return Ok(Some(Unread { folio, src })),
                };
            }
            Content::Zero if self.maps_zero_page() => pmd.lock()?.empty()?.install_zero_page(),
            Content::Zero => {
                let folio = self.alloc(address)?.zero(address);
                pmd.adopt(folio)?.map(write_protect)?;
            }
            Content::Cached => pmd.find()?.map(write_protect)?,
            Content::Poison => pmd.lock()?.empty()?.install_poison(),
        }
        Ok(None)
    }

    /// Fills the folio while the destination is not locked, then maps it
    /// (`mfill_copy_folio_retry`).
    ///
    /// In between, other threads may unmap, replace or reregister the VMA, or fill the page. The
    /// first is `ENOENT`, the next two are `EAGAIN`, the last one is found at the entry.
    #[cold]
    fn fill_unlocked(
        self,
        dst: &Destination<'mm>,
        address: usize,
        unread: Unread<NewFolio>,
    ) -> Result<Self, Stop> {
        let before = self.vma().snapshot();
        drop(self);
        let folio = unread.folio.copy_from_user(unread.src)?;
        let memory = Self::try_from(dst.relock()?).map_err(|_| EAGAIN)?;
        if before.differs(memory.vma()) {
            return Err(EAGAIN.into());
        }
        Pmd::establish(&memory, address)?
            .adopt(folio)?
            .map(dst.mode.write_protect)?;
        Ok(memory)
    }
}
