// SPDX-License-Identifier: GPL-2.0-only

//! Safe wrappers of kernel facilities that the `kernel` crate lacks.
//!
//! `unsafe` lives here and in the seam only. A lock, a reference, a mapping of a page table is a
//! value here: taking it returns it, dropping it gives it back.

pub(crate) mod mmap;
pub(crate) mod vma;
