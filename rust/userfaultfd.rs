// SPDX-License-Identifier: GPL-2.0-only

//! userfaultfd: page faults handled by user space.
//!
//! Layers, each calling only downwards:
//!
//! - [`seam`] the C names the rest of mm calls,
//! - [`uffd`] the subsystem,
//! - [`abstractions`] safe wrappers of kernel facilities, and [`pure`], decisions on plain values.

mod abstractions;
mod pure;
mod seam;
mod uffd;
