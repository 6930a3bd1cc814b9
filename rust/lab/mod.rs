// SPDX-License-Identifier: GPL-2.0-only

//! The laboratory: bugs of this code, made on purpose, to see what catches them.
//!
//! `userfaultfd_lab.defect=NAME` on the kernel's command line arms one of them for as long as the
//! kernel runs. Each is the smallest change of the real path that makes the real bug. Where it takes a
//! race, the defect holds the window open for a while, so that a few tries hit it.
//!
//! What only one place in the code needs lies in a file here, and is a module of that place, because
//! it wants to see what is private there. The hooks are `defect!` (see `rust/defect.rs`).
//!
//! Documentation/lab.md tells how to use it, and how to add a defect.
//!
//! # Safety
//!
//! Functions here break rules that other code relies on, and are not marked `unsafe` for it: layers
//! without `unsafe` call them, in hooks. They are sound as long as no defect is armed, because nothing
//! else calls them. A comment `SAFETY: None` stands where one is armed and nothing holds any more.

pub(crate) mod exit_walk;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod references;

use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        delay::{
            fsleep,
            udelay, //
        },
        Delta, //
    },
};

/// Defines the defects by their identifier and their name on the command line.
macro_rules! defects {
    ($($(#[$doc:meta])+ $ident:ident = $name:literal,)+) => {
        /// A bug that can be armed.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Defect {
            $($(#[$doc])+ $ident,)+
        }

        impl Defect {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$ident, $name),)+];
        }
    };
}

defects! {
    /// An exiting task walks its VMAs without a lock and follows their contexts, while another
    /// thread closes one. The bug that once hit every process that exits.
    ExitWalk = "exit-walk",
    /// A sleeping fault gives its reference to the context back before it sleeps, and takes one again
    /// when it returns. Nothing kept the context in between.
    EarlyPut = "early-put",
    /// A fault goes to sleep without a reference of its own, and gives one back when it returns. The
    /// first one that was resolved frees the context below its file.
    MissingGet = "missing-get",
    /// The reader of a fork's event gives the child's context back once more than it was taken
    /// (CVE-2017-15126 was an object of that event, used after it was freed).
    ForkExtraPut = "fork-extra-put",
    /// A waker tells the sleeper that it is woken before it has unlinked it. The sleeper, if it
    /// runs, returns, and the waker goes on in a stack that others use by now.
    TouchAfterWake = "touch-after-wake",
    /// A fault that has queued up does not look again whether the page is still missing. What was
    /// filled in between woke nobody.
    NoRecheck = "no-recheck",
    /// Reading a message takes the sleeper out of the queue, and puts it back a moment later. A
    /// wake-up in between does not find it.
    RefileWindow = "refile-window",
    /// An mremap, or another change, that is killed before anybody read of it does not end: fills get
    /// `EAGAIN` from then on (0496a59745b0 was that for an mremap that failed, which 7.3 no longer
    /// begins).
    ChangingLeak = "changing-leak",
    /// A message is put together field by field in memory that was not cleared, so the bytes
    /// between the fields tell user space what was there.
    PaddingLeak = "padding-leak",
    /// A fill drops the page table's lock between its look at the entry and the store. Two fills of a
    /// page both find it missing, and one folio is lost.
    EarlyUnlock = "early-unlock",
    /// A fault looks at its VMA after it has dropped the lock (fixed in C in 5.9.11; CVE-2022-50630
    /// was the same for huge pages).
    VmaAfterUnlock = "vma-after-unlock",
    /// Write protection does not flush the TLB: processors go on writing through old entries (fixed
    /// in C in 5.10.24).
    NoFlush = "no-flush",
    /// A process that exits waits until its manager has read of it, and no signal ends the wait. The
    /// exit event of 2017 did so, and was taken back.
    ExitWaits = "exit-waits",
    /// A fill that finds the page there already keeps the folio it has prepared (the family of
    /// CVE-2021-46988).
    EexistLeak = "eexist-leak",
    /// Protection takes the lock of changing mappings before the mmap lock; everybody else takes it
    /// after.
    LockOrder = "lock-order",
    /// A new context is cleared with a size that is eight bytes too large.
    RedZone = "red-zone",
}

/// The armed defect: its place in [`Defect::ALL`] plus one, or 0.
static ARMED: Atomic<u32> = Atomic::new(0);

/// Whether `defect` is armed.
pub(crate) fn is_armed(defect: Defect) -> bool {
    ARMED.load(Relaxed) == defect as u32 + 1
}

extern "C" {
    /// What the command line says, or null.
    fn uffd_lab_requested() -> *const c_char;
}

/// Taints the kernel, and arms what the command line names. At boot.
pub(crate) fn init() {
    // SAFETY: May be called at any time. That a defect is armed says nothing against lockdep.
    unsafe { bindings::add_taint(bindings::TAINT_TEST, bindings::lockdep_ok_LOCKDEP_STILL_OK) };
    // SAFETY: The glue's variable is set before initcalls run, and not changed any more.
    let requested = unsafe { uffd_lab_requested() };
    if requested.is_null() {
        return;
    }
    // SAFETY: What is not null is a string that stays.
    let requested = unsafe { CStr::from_char_ptr(requested) };
    let known = Defect::ALL
        .iter()
        .find(|(_, name)| name.as_bytes() == requested.to_bytes());
    let Some((defect, name)) = known else {
        pr_err!("lab: unknown defect, none is armed; one of:\n");
        for (_, name) in Defect::ALL {
            pr_err!("lab:   {}\n", name);
        }
        return;
    };
    if *defect == Defect::ExitWalk {
        if let Err(error) = exit_walk::install() {
            pr_err!("lab: {}: cannot be armed: {:?}\n", name, error);
            return;
        }
    }
    ARMED.store(*defect as u32 + 1, Relaxed);
    pr_notice!("lab: the defect {} is armed\n", name);
}

/// Holds a race's window open. Sleeps in state D.
pub(crate) fn window() {
    fsleep(Delta::from_millis(300));
}

/// The same without sleeping, for those who may not.
pub(crate) fn busy_window(milliseconds: u32) {
    for _ in 0..milliseconds {
        udelay(Delta::from_millis(1));
    }
}
