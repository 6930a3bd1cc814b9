// SPDX-License-Identifier: GPL-2.0-only

//! Nodes of memory, and pages that go from one to the other.

use super::mem::Mapping;
use super::task::{until, Faulter};
use super::{skip, user, Need};
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// There are nodes 0 and 1.
pub const NODES: Need = Need::Path("/sys/devices/system/node/node1");

const MPOL_MF_MOVE: u64 = 1 << 1;

/// The addresses of pages of this size in a mapping.
pub fn addresses(memory: &Mapping, unit: u64) -> Vec<u64> {
    (memory.start()..memory.end())
        .step_by(unit as usize)
        .collect()
}

/// Moves the pages at these addresses to a node, with move_pages(2). Tells where each of them is
/// now; the negative of an error number if it could not be moved.
#[track_caller]
pub fn try_send(addresses: &[u64], node: i32) -> Vec<i32> {
    let wanted = vec![node; addresses.len()];
    let mut found = vec![-libc::EBUSY; addresses.len()];
    let args = [
        0,
        addresses.len() as u64,
        user::address_of(addresses.as_ptr()),
        user::address_of(wanted.as_ptr()),
        user::address_of(found.as_mut_ptr()),
        MPOL_MF_MOVE,
    ];
    // SAFETY: there is room for as many results as there are addresses. A move changes no contents.
    match unsafe { user::syscall(libc::SYS_move_pages, args) } {
        Err(Errno::ENOSYS) => skip("the kernel moves no pages between nodes"),
        result => result.expect("move_pages"),
    };
    found
}

/// The same, however often it takes: others may hold a page for a moment.
#[track_caller]
pub fn send(addresses: &[u64], node: i32) {
    until(|| try_send(addresses, node).iter().all(|&found| found == node));
}

/// A thread that moves pages from node to node for as long as this lives.
#[derive(Debug)]
pub struct Mover {
    over: Arc<AtomicBool>,
    thread: Option<Faulter<()>>,
}

impl Mover {
    /// Starts with the pages at these addresses.
    pub fn start(addresses: Vec<u64>) -> Mover {
        let over = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&over);
        let thread = Faulter::spawn(move || {
            for node in [1, 0].into_iter().cycle() {
                try_send(&addresses, node);
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let thread = Some(thread);
        Mover { over, thread }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().into_iter().for_each(Faulter::join);
    }
}
