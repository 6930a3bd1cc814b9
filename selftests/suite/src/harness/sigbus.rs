// SPDX-License-Identifier: GPL-2.0-only

//! Surviving SIGBUS.

use super::mem::{PAGE, RW};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);

/// Where and why SIGBUS was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sigbus {
    /// How often since [`catch`].
    pub count: usize,
    /// Address of the last one.
    pub address: u64,
    /// `si_code` of the last one: `BUS_ADRERR`, `BUS_MCEERR_AR`.
    pub code: i32,
}

/// From now on SIGBUS replaces the page at the address by fresh memory of zeroes, so that the
/// access that raised it succeeds when it is repeated.
pub fn catch() {
    let action = SigAction::new(
        SigHandler::SigAction(handler),
        SaFlags::SA_SIGINFO,
        SigSet::empty(),
    );
    COUNT.store(0, Ordering::SeqCst);
    // SAFETY: the handler only calls mmap and _exit and touches atomics.
    unsafe { sigaction(Signal::SIGBUS, &action) }.expect("sigaction");
}

/// What has happened since [`catch`].
pub fn caught() -> Sigbus {
    Sigbus {
        count: COUNT.load(Ordering::SeqCst),
        address: ADDRESS.load(Ordering::SeqCst),
        code: CODE.load(Ordering::SeqCst),
    }
}

extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure, and for SIGBUS it has an address.
    let (address, code) = unsafe { ((*info).si_addr().expose_provenance(), (*info).si_code) };
    let page = address & !(PAGE as usize - 1);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page is the one that tests play with, which no reference points into.
    let mapped = unsafe {
        libc::mmap(
            ptr::with_exposed_provenance_mut(page),
            PAGE as usize,
            RW,
            flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        // SAFETY: _exit takes an integer. Returning would raise the signal for ever.
        unsafe { libc::_exit(super::EXIT_PANIC) };
    }
    ADDRESS.store(address as u64, Ordering::SeqCst);
    CODE.store(code, Ordering::SeqCst);
    COUNT.fetch_add(1, Ordering::SeqCst);
}
