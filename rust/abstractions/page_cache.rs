// SPDX-License-Identifier: GPL-2.0-only

//! Pages that belong to a file: what `struct vm_uffd_ops` offers to fills, and the page cache.
//!
//! A folio in the page cache can be found by anyone, truncated and written back. While a fill holds
//! its lock it stays where it is. Two types own such a locked folio: [`AddedFolio`] is new, and
//! nobody will miss it, so its drop takes it out of the cache again; [`FoundFolio`] was there before,
//! and its drop leaves it there.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use super::{
    fill_lock::DstVma,
    folio::{
        Folio,
        LockedFolio,
        MapFolio,
        NewFolio,
        UptodateFolio, //
    },
    memory::PageVma,
};

/// What a file can do for userfaultfd (`struct vm_uffd_ops`).
///
/// # Invariants
///
/// Points to the operations of a VMA. They stay for as long as a VMA that has them does.
#[derive(Clone, Copy)]
pub(super) struct FileOps(NonNull<bindings::vm_uffd_ops>);

impl FileOps {
    /// The operations of the file that `vma` maps. `None`: it has none.
    pub(super) fn of(vma: &DstVma<'_>) -> Option<Self> {
        // SAFETY: The VMA is locked, which keeps its operations too.
        let ops = unsafe { (*vma.as_ptr()).vm_ops.as_ref() }?;
        // INVARIANT: The VMA's.
        NonNull::new(ops.uffd_ops.cast_mut()).map(Self)
    }

    /// The operations, while `vma`, whose they are, is locked.
    fn get<'v>(self, _vma: &'v PageVma<'_>) -> &'v bindings::vm_uffd_ops {
        // SAFETY: By the type invariants, and nobody ever writes to them.
        unsafe { self.0.as_ref() }
    }

    /// Allocates a folio for the page at `address` in `vma`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the file does not allow it. `ENOMEM`: no memory, the memory cgroup is full, or the
    /// file ends before the page.
    pub(super) fn alloc(self, vma: &PageVma<'_>, address: usize) -> Result<NewFolio> {
        let alloc = self.get(vma).alloc_folio.ok_or(EINVAL)?;
        // SAFETY: The VMA has these operations and is locked, which keeps its file.
        let folio = NonNull::new(unsafe { alloc(vma.as_ptr(), address) }).ok_or(ENOMEM)?;
        // SAFETY: One new page, charged, with one reference, which is ours.
        Ok(unsafe { NewFolio::from_raw(folio) })
    }

    /// Puts `folio` into the page cache of the file that `vma` maps at `address`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the file does not allow it. `EEXIST`: it has a page there already. `ENOMEM`: no
    /// memory, or no room in the file system.
    pub(super) fn add<'v>(
        self,
        vma: &'v PageVma<'_>,
        address: usize,
        folio: UptodateFolio,
    ) -> Result<AddedFolio<'v>> {
        let ops = self.get(vma);
        let add = ops.filemap_add.ok_or(EINVAL)?;
        let remove = ops.filemap_remove.ok_or(EINVAL)?;
        let folio = folio.into_folio();
        // SAFETY: The VMA has these operations and is locked. The folio is new, uptodate and ours.
        to_result(unsafe { add(folio.as_ptr(), vma.as_ptr(), address) })?;
        // INVARIANT: Added, which has locked it.
        Ok(AddedFolio { folio, vma, remove })
    }

    /// Whether the file can be asked for pages that it has.
    pub(super) fn can_find(self, vma: &PageVma<'_>) -> bool {
        self.get(vma).get_folio_noalloc.is_some()
    }

    /// Finds the page that `vma` maps at `address` in its file, without making one. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the file does not allow it. `EFAULT`: it has no such page. `EIO`: the page is on
    /// broken memory.
    pub(super) fn find(self, vma: &PageVma<'_>, address: usize) -> Result<FoundFolio> {
        let find = self.get(vma).get_folio_noalloc.ok_or(EINVAL)?;
        // SAFETY: The VMA is locked and maps a file, because it has operations, and it holds a
        // reference to the file.
        let (folio, index) = unsafe {
            let index = bindings::uffd_linear_page_index(vma.as_ptr(), address);
            (find((*(*vma.as_ptr()).vm_file).f_inode, index), index)
        };
        // Why there is none does not matter: the caller said that there is one.
        let folio = from_err_ptr(folio).map_err(|_| EFAULT)?;
        let folio = NonNull::new(folio).ok_or(EFAULT)?;
        // SAFETY: Found with a reference for us.
        let folio = unsafe { Folio::from_raw(folio) };
        // SAFETY: Found locked.
        let folio = unsafe { LockedFolio::from_locked(folio) };
        // SAFETY: The folio covers the index, because that is where it was found, and it is locked,
        // so that nobody splits it.
        let page = unsafe { bindings::uffd_folio_file_page(folio.as_ptr(), index) };
        // INVARIANT: Found there.
        let found = FoundFolio { folio, page };
        // SAFETY: The page is one of the folio's.
        if unsafe { bindings::uffd_page_is_poisoned(page) } {
            return Err(EIO);
        }
        Ok(found)
    }
}

/// A folio that was put into the page cache for a fill, still locked. Dropping it takes it out of
/// the cache, unlocks and frees it.
///
/// # Invariants
///
/// The folio has one page and is in the page cache at the place where `vma` maps it. It is locked by
/// us as long as the value lives. `remove` undoes all that.
#[must_use = "dropping it takes the page out of the file again"]
pub(crate) struct AddedFolio<'v> {
    folio: Folio,
    vma: &'v PageVma<'v>,
    remove: unsafe extern "C" fn(*mut bindings::folio, *mut bindings::vm_area_struct),
}

impl Drop for AddedFolio<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the VMA is locked.
        unsafe { (self.remove)(self.folio.as_ptr(), self.vma.as_ptr()) };
    }
}

// SAFETY: The file has the folio, which was filled before, and its lock keeps it there. The VMA is
// shared, so it may write to its file. It is entered as a page of the file.
unsafe impl MapFolio for AddedFolio<'_> {
    fn folio(&self) -> *mut bindings::folio {
        self.folio.as_ptr()
    }

    fn page(&self) -> *mut bindings::page {
        self.folio.first_page()
    }

    fn is_writable_in(&self, _vma: &PageVma<'_>) -> bool {
        true
    }

    unsafe fn enter_rmap(&self, vma: &PageVma<'_>, _address: usize) {
        // SAFETY: The page is the folio's, and the lock of its page table is held by the safety
        // requirements.
        unsafe {
            bindings::folio_add_file_rmap_ptes(self.folio(), self.page(), 1, vma.as_ptr());
        }
    }

    fn into_mapped(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: Locked by the type invariants; the reference is the page table's now.
        unsafe { bindings::folio_unlock(this.folio.as_ptr()) };
    }
}

/// A folio that was found in the page cache, locked. Dropping it unlocks it and gives the reference
/// back; the file keeps it.
///
/// # Invariants
///
/// The folio is in the page cache. `page` is one of its pages.
#[must_use = "dropping it leaves the page unmapped"]
pub(crate) struct FoundFolio {
    folio: LockedFolio,
    page: *mut bindings::page,
}

// SAFETY: The file has the folio, uptodate, and its lock keeps it there. A private VMA must not write
// to its file, so there it is mapped read-only, and the first write copies it. It is entered as a
// page of the file.
unsafe impl MapFolio for FoundFolio {
    fn folio(&self) -> *mut bindings::folio {
        self.folio.as_ptr()
    }

    fn page(&self) -> *mut bindings::page {
        self.page
    }

    fn is_writable_in(&self, vma: &PageVma<'_>) -> bool {
        vma.is_shared()
    }

    unsafe fn enter_rmap(&self, vma: &PageVma<'_>, _address: usize) {
        // SAFETY: As for `AddedFolio`.
        unsafe {
            bindings::folio_add_file_rmap_ptes(self.folio(), self.page(), 1, vma.as_ptr());
        }
    }

    fn into_mapped(self) {
        let _page_tables = self.folio.into_unlocked().into_raw();
    }
}
