// SPDX-License-Identifier: GPL-2.0-only

//! Fills of hugetlbfs.
//!
//! Huge pages have reservations, their own page tables, which processes may share, and their own
//! locks. mm/hugetlb.c does what is to be done under these locks; here are the locks, and what may
//! come out of it.

use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

use kernel::{
    bindings,
    error::to_result,
    ffi::c_ulong,
    prelude::*,
    uaccess::UserPtr, //
};

use super::{
    fill_lock::DstVma,
    folio::Folio, //
};

pub(super) mod locks;

use locks::{
    FaultMutex,
    TablesLock, //
};

/// A locked VMA of hugetlbfs.
///
/// # Invariants
///
/// Hugetlbfs's, and if it is private it has an `anon_vma`. `page_size` is that of its pages.
#[must_use = "dropping it unlocks the VMA"]
pub(crate) struct HugetlbVma<'mm> {
    vma: DstVma<'mm>,
    page_size: usize,
}

impl<'mm> TryFrom<DstVma<'mm>> for HugetlbVma<'mm> {
    type Error = DstVma<'mm>;

    /// Hands back a VMA that is not hugetlbfs's.
    fn try_from(vma: DstVma<'mm>) -> Result<Self, DstVma<'mm>> {
        if vma.is_hugetlb() {
            // SAFETY: The VMA is locked.
            let page_size = unsafe { bindings::uffd_vma_kernel_pagesize(vma.as_ptr()) };
            // INVARIANT: Checked, and asked; the rest is an invariant of `DstVma`.
            Ok(Self { vma, page_size })
        } else {
            Err(vma)
        }
    }
}

impl<'mm> Deref for HugetlbVma<'mm> {
    type Target = DstVma<'mm>;

    fn deref(&self) -> &DstVma<'mm> {
        &self.vma
    }
}

impl HugetlbVma<'_> {
    fn vma(&self) -> NonNull<bindings::vm_area_struct> {
        // CAST: A `VmaRef` is the C type.
        NonNull::from(&*self.vma).cast()
    }

    /// Bytes of one of its pages.
    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Fills the page at `address` with the memory at `src`, in the current process, if that is
    /// resident. May sleep, but takes no fault.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory for a page table;
    /// - `EEXIST`: something is mapped, or the file has a page already, or, as mm/hugetlb.c has it,
    ///   no huge page is free;
    /// - `EFAULT`: the file ends before the page;
    /// - `EIO`: the page is on broken memory.
    pub(crate) fn copy(&self, address: usize, src: UserPtr, write_protect: bool) -> Result<Copied> {
        let entry = HugeEntry::lock(self, address)?.empty_or_marker()?;
        let mode = Mode::new(bindings::mfill_atomic_mode_MFILL_ATOMIC_COPY, write_protect);
        match entry.fill(mode, src.as_const_ptr() as c_ulong, None) {
            (Err(error), Some(folio)) if error == ENOENT => Ok(Copied::Unread(EmptyFolio {
                folio,
                size: self.page_size(),
            })),
            (result, _) => result.map(|()| Copied::Mapped),
        }
    }

    /// Fills the page at `address` with what was staged. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it was staged for pages of another size. Then those of [`copy`](Self::copy).
    pub(crate) fn copy_staged(
        &self,
        address: usize,
        staged: StagedFolio,
        write_protect: bool,
    ) -> Result {
        let EmptyFolio { folio, size } = staged.0;
        if size != self.page_size() {
            return Err(EINVAL);
        }
        let entry = HugeEntry::lock(self, address)?.empty_or_marker()?;
        let mode = Mode::new(bindings::mfill_atomic_mode_MFILL_ATOMIC_COPY, write_protect);
        entry.fill(mode, 0, Some(folio)).0
    }

    /// Maps the page that the file has for `address`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for a page table. `EFAULT`: the file has no such page. `EEXIST`:
    /// something is mapped. `EIO`: the page is on broken memory.
    pub(crate) fn map_cached(&self, address: usize, write_protect: bool) -> Result {
        // What is mapped matters less than what the file does not have.
        let entry = HugeEntry::lock(self, address)?;
        let mode = Mode::new(
            bindings::mfill_atomic_mode_MFILL_ATOMIC_CONTINUE,
            write_protect,
        );
        entry.fill(mode, 0, None).0
    }

    /// Makes every access to the page at `address` fail as if the memory was broken. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no memory for a page table. `EEXIST`: something is there, be it a marker.
    pub(crate) fn poison(&self, address: usize) -> Result {
        let entry = HugeEntry::lock(self, address)?.empty_or_marker()?;
        let mode = Mode::new(bindings::mfill_atomic_mode_MFILL_ATOMIC_POISON, false);
        entry.fill(mode, 0, None).0
    }
}

/// What became of a copy under the locks.
#[must_use]
pub(crate) enum Copied {
    /// It is done.
    Mapped,
    /// The source cannot be read without a fault. This folio is for reading it with faults, after
    /// all locks were dropped.
    Unread(EmptyFolio),
}

/// A huge folio that nobody else knows of, with undefined contents. It never gets mapped: what is
/// staged in it is copied once more, to a folio that counts against the reservation of the file.
///
/// # Invariants
///
/// `size` is its size in bytes.
#[must_use]
pub(crate) struct EmptyFolio {
    folio: Folio,
    size: usize,
}

/// The same, filled.
#[must_use = "dropping it frees what was filled"]
pub(crate) struct StagedFolio(EmptyFolio);

impl EmptyFolio {
    /// Fills it with the memory at `src`, in the current process.
    ///
    /// Takes faults, which may take the mmap lock and sleep until some user space resolves them:
    /// the caller holds no lock at all.
    ///
    /// # Errors
    ///
    /// `EFAULT`: a byte cannot be read.
    pub(crate) fn copy_from_user(self, src: UserPtr) -> Result<StagedFolio> {
        // SAFETY: The folio is ours alone, and as much is copied as it has.
        let missed = unsafe {
            bindings::copy_folio_from_user(self.folio.as_ptr(), src.as_const_ptr(), true)
        };
        if missed != 0 {
            return Err(EFAULT);
        }
        Ok(StagedFolio(self))
    }
}

/// What mm/hugetlb.c shall do (`uffd_flags_t`).
struct Mode(bindings::uffd_flags_t);

impl Mode {
    fn new(mode: bindings::mfill_atomic_mode, write_protect: bool) -> Self {
        Self(if write_protect {
            mode | bindings::UFFD_MFILL_WP
        } else {
            mode
        })
    }
}

/// The entry of a huge page, which stays where it is. Dropping it unlocks, in the order of fields.
///
/// # Invariants
///
/// `pte` is the entry of the page at `address`, which lies in the VMA.
struct HugeEntry<'v> {
    pte: NonNull<bindings::pte_t>,
    address: usize,
    vma: &'v HugetlbVma<'v>,
    _tables: TablesLock,
    _mutex: FaultMutex,
}

impl<'v> HugeEntry<'v> {
    /// Finds the entry for `address`, with all tables above it, allocating what is missing. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the address does not lie in the VMA. `ENOMEM`: no memory for a table.
    fn lock(vma: &'v HugetlbVma<'_>, address: usize) -> Result<Self> {
        if !(vma.start()..vma.end()).contains(&address) {
            return Err(ENOENT);
        }
        let mutex = FaultMutex::lock(vma, address);
        // SAFETY: The VMA is locked, for as long as it is borrowed, and hugetlbfs's.
        let tables = unsafe { TablesLock::lock(vma.vma()) };
        // SAFETY: The VMA is locked in both ways, and the address lies in it.
        let pte = unsafe {
            bindings::huge_pte_alloc(vma.mm().as_raw(), vma.as_ptr(), address, vma.page_size())
        };
        // INVARIANT: Just found.
        Ok(Self {
            pte: NonNull::new(pte).ok_or(ENOMEM)?,
            address,
            vma,
            _tables: tables,
            _mutex: mutex,
        })
    }

    /// The same. `EEXIST`: something is there, other than a marker that userfaultfd left.
    fn empty_or_marker(self) -> Result<Self> {
        // SAFETY: By the type invariants, and the locks keep the table. Then, a value.
        let vacant = unsafe {
            let mm = self.vma.mm().as_raw();
            let now = bindings::uffd_huge_ptep_get(mm, self.address, self.pte.as_ptr());
            bindings::uffd_huge_pte_none(now) || bindings::uffd_pte_is_uffd_marker(now)
        };
        if vacant {
            Ok(self)
        } else {
            Err(EEXIST)
        }
    }

    /// Has mm/hugetlb.c fill the entry (`hugetlb_mfill_atomic_pte`), then unlocks.
    ///
    /// `staged` is what to copy from in the place of the memory at `src`. The second half of the
    /// answer is a folio to read that memory into, if the first is `ENOENT`, or the one that was
    /// not taken.
    fn fill(self, mode: Mode, src: c_ulong, staged: Option<Folio>) -> (Result, Option<Folio>) {
        let mut folio = staged.map_or(ptr::null_mut(), Folio::into_raw);
        // SAFETY: The VMA is locked in both ways, the page's mutex is held, and by the type
        // invariants the entry is the address's. If `folio` is not null its reference is ours to
        // give; it has as many pages as the VMA's, and they are filled.
        let result = unsafe {
            bindings::hugetlb_mfill_atomic_pte(
                self.pte.as_ptr(),
                self.vma.as_ptr(),
                self.address,
                src,
                mode.0,
                &mut folio,
            )
        };
        // SAFETY: A folio that was taken was also taken out of the variable; one that is there is
        // ours.
        let folio = NonNull::new(folio).map(|folio| unsafe { Folio::from_raw(folio) });
        (to_result(result), folio)
    }
}
