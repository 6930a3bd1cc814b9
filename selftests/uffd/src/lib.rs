// SPDX-License-Identifier: GPL-2.0-only

//! Thin bindings for userfaultfd(2) as of Linux 7.3.
//!
//! [`abi`] holds the numbers and layouts the kernel shares with programs, [`Uffd`] owns a
//! descriptor and wraps each call on it, and [`Event`] is a decoded message.
//!
//! # Memory
//!
//! Addresses are plain numbers (`u64`). The calls change what is mapped at them behind the
//! compiler's back, so they are to be used on memory that no Rust reference points into:
//! an anonymous mapping that is only touched through volatile accesses, for instance.

pub mod abi;
mod error;
mod event;
mod fd;
mod layout;

pub use error::{Partial, Result};
pub use event::{Event, Pagefault};
pub use fd::Uffd;
pub use layout::{Constant, Field, Layout};
pub use nix::errno::Errno;
