// SPDX-License-Identifier: GPL-2.0-only

//! Safe wrappers of kernel facilities that the `kernel` crate lacks.
//!
//! `unsafe` lives here and in the seam only. A lock, a reference, a mapping of a page table is a
//! value here: taking it returns it, dropping it gives it back.

pub(crate) mod abi;
mod beside;
pub(crate) mod device;
mod error;
pub(crate) mod event_queue;
pub(crate) mod fault;
mod fifo;
pub(crate) mod file;
pub(crate) mod fill_lock;
pub(crate) mod folio;
pub(crate) mod foreign_list;
#[cfg(CONFIG_HUGETLB_PAGE)]
pub(crate) mod hugetlb;
pub(crate) mod mappings;
pub(crate) mod memory;
pub(crate) mod mm;
pub(crate) mod mmap;
pub(crate) mod move_lock;
pub(crate) mod moving;
pub(crate) mod observer;
mod page_cache;
pub(crate) mod pgtable;
mod protect;
pub(crate) mod pt_lock;
pub(crate) mod rwsem;
pub(crate) mod slab;
pub(crate) mod sleepers;
#[cfg_attr(not(CONFIG_DEBUG_FS), path = "statistics/absent.rs")]
pub(crate) mod statistics;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod uaccess;
pub(crate) mod vma;
pub(crate) mod wait;
