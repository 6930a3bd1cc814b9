// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of memory that a fill tells apart.
//!
//! [`Kind::of`] looks at a locked VMA once; from then on its type says what it is.
//!
//! | kind | a filled page is | an absent one reads as |
//! |---|---|---|
//! | [`PrivateVma`], anonymous or of a file | anonymous | the page of zeros |
//! | [`SharedVma`] | the file's | a page of the file |
//! | `HugetlbVma` | as above, but huge | cannot be said |

use core::ops::Deref;

use kernel::{
    bindings,
    mm::MmWithUser,
    prelude::*,
    warn_on, //
};

#[cfg(CONFIG_HUGETLB_PAGE)]
use super::hugetlb::HugetlbVma;
use super::{
    fill_lock::DstVma,
    folio::{
        MapFolio,
        NewFolio,
        UptodateFolio, //
    },
    page_cache::{
        AddedFolio,
        FileOps, //
    },
};

/// A locked VMA, as one of the kinds that can be filled.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) enum Kind<'mm> {
    /// Private memory.
    Private(PrivateVma<'mm>),
    /// Shared memory.
    Shared(SharedVma<'mm>),
    /// Huge pages of hugetlbfs, private or shared.
    #[cfg(CONFIG_HUGETLB_PAGE)]
    Hugetlb(HugetlbVma<'mm>),
}

impl<'mm> Kind<'mm> {
    /// Finds out which kind `vma` is (`vma_uffd_ops`). `None` unlocks: it cannot be filled.
    ///
    /// Memory of files that know nothing of userfaultfd can be registered for asynchronous write
    /// protection, and is not filled.
    #[inline(always)]
    pub(crate) fn of(vma: DstVma<'mm>) -> Option<Self> {
        #[cfg(CONFIG_HUGETLB_PAGE)]
        let vma = match HugetlbVma::try_from(vma) {
            Ok(vma) => return Some(Self::Hugetlb(vma)),
            Err(vma) => vma,
        };
        let ops = if vma.is_anonymous() {
            None
        } else {
            Some(FileOps::of(&vma)?)
        };
        let shared = vma.is_shared();
        // INVARIANT: Huge pages of hugetlbfs were sorted out above, or do not exist, and the
        // operations are the VMA's.
        let vma = PageVma { vma, ops };
        if !shared {
            // INVARIANT: Checked.
            return Some(Self::Private(PrivateVma(vma)));
        }
        let Some(ops) = ops else {
            // Shared memory without a file is a shmem file that nobody sees.
            kernel::do_once_lite! { warn_on!(true); }
            return None;
        };
        // INVARIANT: Checked.
        Some(Self::Shared(SharedVma { vma, ops }))
    }
}

/// A locked VMA whose memory comes in ordinary pages, whoever shares them.
///
/// # Invariants
///
/// Not hugetlbfs's. `ops` are those of the file that is mapped, or `None` for anonymous memory.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) struct PageVma<'mm> {
    vma: DstVma<'mm>,
    ops: Option<FileOps>,
}

impl PageVma<'_> {
    /// What its file can do for userfaultfd, if it maps one.
    pub(super) fn ops(&self) -> Option<FileOps> {
        self.ops
    }

    /// Whether pages that its file has already can be mapped.
    pub(crate) fn has_page_cache(&self) -> bool {
        self.ops.is_some_and(|ops| ops.can_find(self))
    }
}

impl<'mm> Deref for PageVma<'mm> {
    type Target = DstVma<'mm>;

    fn deref(&self) -> &DstVma<'mm> {
        &self.vma
    }
}

/// Memory in ordinary pages, by where a new page comes from and where it belongs.
///
/// # Safety
///
/// What `adopt` returns may be mapped at that address of that VMA.
pub(crate) unsafe trait Pages {
    /// What a filled folio becomes before it is mapped.
    type Folio<'v>: MapFolio
    where
        Self: 'v;

    /// The VMA.
    fn vma(&self) -> &PageVma<'_>;

    /// Allocates a folio for the page at `address`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory, the memory cgroup is full, or the file ends before the page.
    fn alloc(&self, address: usize) -> Result<NewFolio>;

    /// Makes `folio` the memory's page at `address`. May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST`: there is one already; `ENOMEM`: no memory, or no room in the file system.
    fn adopt(&self, address: usize, folio: UptodateFolio) -> Result<Self::Folio<'_>>;

    /// Whether the page of zeros may stand for a page that is only read.
    fn maps_zero_page(&self) -> bool;
}

/// A locked VMA of private memory, anonymous or of a file.
///
/// What is filled is anonymous either way: it takes the place of the file's page, as after a
/// write, and does not fill a hole in the file. Only what the page table has counts as present.
///
/// # Invariants
///
/// Not shared.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) struct PrivateVma<'mm>(PageVma<'mm>);

// SAFETY: Private memory maps any folio that nobody else knows of.
unsafe impl Pages for PrivateVma<'_> {
    type Folio<'v>
        = UptodateFolio
    where
        Self: 'v;

    #[inline(always)]
    fn vma(&self) -> &PageVma<'_> {
        &self.0
    }

    #[inline(always)]
    fn alloc(&self, address: usize) -> Result<NewFolio> {
        NewFolio::alloc_anon(&self.0, address)
    }

    #[inline(always)]
    fn adopt(&self, _address: usize, folio: UptodateFolio) -> Result<UptodateFolio> {
        Ok(folio)
    }

    #[inline(always)]
    fn maps_zero_page(&self) -> bool {
        !forbids_zero_page(self.0.mm())
    }
}

impl<'mm> TryFrom<Kind<'mm>> for PrivateVma<'mm> {
    type Error = ();

    fn try_from(kind: Kind<'mm>) -> Result<Self, ()> {
        match kind {
            Kind::Private(vma) => Ok(vma),
            _ => Err(()),
        }
    }
}

/// A locked VMA of shared memory, which is a file's.
///
/// # Invariants
///
/// Shared, and `ops` are the operations of its file.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) struct SharedVma<'mm> {
    vma: PageVma<'mm>,
    ops: FileOps,
}

// SAFETY: The file has the folio at the offset that the VMA maps at the address.
unsafe impl Pages for SharedVma<'_> {
    type Folio<'v>
        = AddedFolio<'v>
    where
        Self: 'v;

    #[inline(always)]
    fn vma(&self) -> &PageVma<'_> {
        &self.vma
    }

    fn alloc(&self, address: usize) -> Result<NewFolio> {
        self.ops.alloc(&self.vma, address)
    }

    fn adopt(&self, address: usize, folio: UptodateFolio) -> Result<AddedFolio<'_>> {
        self.ops.add(&self.vma, address, folio)
    }

    #[inline(always)]
    fn maps_zero_page(&self) -> bool {
        false
    }
}

impl<'mm> TryFrom<Kind<'mm>> for SharedVma<'mm> {
    type Error = ();

    fn try_from(kind: Kind<'mm>) -> Result<Self, ()> {
        match kind {
            Kind::Shared(vma) => Ok(vma),
            _ => Err(()),
        }
    }
}

/// Whether this address space must not map the shared page of zeros (`mm_forbids_zeropage`).
fn forbids_zero_page(mm: &MmWithUser) -> bool {
    // SAFETY: `mm` is a reference.
    unsafe { bindings::uffd_mm_forbids_zeropage(mm.as_raw()) }
}
