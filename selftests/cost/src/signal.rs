// SPDX-License-Identifier: GPL-2.0-only

//! Faults that a signal tells of, resolved by the faulting thread itself.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::sys::mman::ProtFlags;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use uffd::abi::{UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_SIGBUS};

use crate::area::{Area, PAGE};
use crate::measure::Sample;
use crate::request::{repeat, repeat_after, CALLS};
use crate::threads::die;
use crate::{call, open_with, Result};

/// A missing page with `UFFD_FEATURE_SIGBUS`, copied by the handler of the signal.
pub fn sigbus(repeats: usize) -> Result<Vec<Sample>> {
    let (area, source) = (Area::new(CALLS)?, Area::filled(1)?);
    let uffd = open_with(0, UFFD_FEATURE_SIGBUS)?;
    uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
        .map_err(call("UFFDIO_REGISTER"))?;
    let resolve = |address| {
        uffd.copy(address, source.page(0), PAGE, 0)
            .map(drop)
            .map_err(|partial| format!("UFFDIO_COPY: {partial}"))
    };
    resolving(Signal::SIGBUS, &resolve, || {
        let work = || {
            area.visit();
            Ok(())
        };
        repeat(repeats, CALLS, &area, work)
    })
}

/// The same without userfaultfd: memory without access, which the handler of SIGSEGV permits and
/// fills.
pub fn mprotect(repeats: usize) -> Result<Vec<Sample>> {
    let (area, source) = (Area::new(CALLS)?, Area::filled(1)?);
    let resolve = |address| {
        let page = area.page_of(address).ok_or("a fault elsewhere")?;
        area.protect(page, 1, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        area.copy_page(page, &source);
        Ok(())
    };
    let before = || {
        area.protect(0, CALLS, ProtFlags::PROT_NONE)?;
        area.discard(0)
    };
    resolving(Signal::SIGSEGV, &resolve, || {
        repeat_after(repeats, CALLS, before, || {
            area.visit();
            Ok(())
        })
    })
}

/// Resolves the fault at an address.
type Resolve<'a> = &'a dyn Fn(u64) -> Result<()>;

/// Points to the [`Resolve`] of the signal that is caught, null while none is.
static RESOLVE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Does the work while faults that raise `signal` in this thread are resolved.
fn resolving<T>(
    signal: Signal,
    resolve: Resolve<'_>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let set = |handler| {
        let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: `handler` below says why it may run at any time.
        unsafe { sigaction(signal, &action) }
            .map(drop)
            .map_err(call("sigaction"))
    };
    RESOLVE.store((&raw const resolve).cast_mut().cast(), Ordering::Relaxed);
    set(SigHandler::SigAction(handler))?;
    let done = work();
    set(SigHandler::SigDfl)?;
    RESOLVE.store(ptr::null_mut(), Ordering::Relaxed);
    done
}

/// Runs in place of the access that has faulted, so it interrupts nothing else.
extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure, and that of a fault has an address.
    let address = unsafe { (*info).si_addr() }.expose_provenance() as u64;
    // SAFETY: null, or `resolving`, which is on this thread's stack, has put it there.
    let resolve = unsafe { RESOLVE.load(Ordering::Relaxed).cast::<Resolve>().as_ref() };
    match resolve.map(|resolve| resolve(address & !(PAGE - 1))) {
        Some(Ok(())) => {}
        // Returning would raise the signal for ever.
        Some(Err(error)) => die(&format!("in the handler of a signal: {error}")),
        None => die("a signal nobody asked for"),
    }
}
