// SPDX-License-Identifier: GPL-2.0-only

//! The C names of the subsystem: what mm, fs and the syscall table call.
//!
//! Each function adopts what C hands over, calls one method, and turns the answer back into C's
//! terms. `#[export]` proves every signature against the C prototype.

mod events;
mod fault;
mod protect;
mod syscall;
