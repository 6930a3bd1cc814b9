// SPDX-License-Identifier: GPL-2.0-only

//! Decisions of userfaultfd on plain values.
//!
//! Nothing here sleeps, locks, allocates or touches memory it was not given, so each rule runs on
//! the host under `cargo test` exactly as it runs in the kernel. Callers gather facts, ask, and act
//! on the answer.
//!
//! | module | decides |
//! |---|---|
//! | [`abi`] | the numbers user space sees, as types |
//! | [`errno`] | the error a caller gets |
//! | [`flags`] | who may create a userfaultfd, and with which flags |
//! | [`features`] | what `UFFDIO_API` answers |
//! | [`protect`] | what a change of protection may touch |
//! | [`range`] | which address ranges are acceptable |
//! | [`register`] | which VMAs may be registered and unregistered |
//! | [`fault`] | whether a faulting thread sleeps |
//! | [`message`] | the 32 bytes a reader gets |
//! | [`fill`] | what a fill reports and whom it wakes |
//! | [`moving`] | between which VMAs pages move, and how far a move has come |
//! | [`observe`] | what happens, as those who watch are told |
//! | [`wait`] | the states of a sleeping fault, and the protocol around them |
//! | [`events`] | the states of an event that waits to be read, and the protocol around them |

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "the same files are the root of a host library, whose tests need `pub`"
)]

pub mod abi;
pub mod errno;
pub mod events;
pub mod fault;
pub mod features;
pub mod fill;
pub mod flags;
pub mod message;
pub mod moving;
pub mod observe;
pub mod protect;
pub mod range;
pub mod register;
pub mod wait;
