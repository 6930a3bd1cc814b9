// SPDX-License-Identifier: GPL-2.0-only

//! Protecting memory, and threads that run into it.

use super::kind::Kind;
use super::mem::{Mapping, PAGE};
use super::pagemap::{entries, Entry};
use super::task::Faulter;
use super::{env, uffd_with};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

/// Mode of both requests: protect. Without it they take protection away.
pub const ON: u64 = UFFDIO_WRITEPROTECT_MODE_WP;
/// Mode of both requests: leave the sleepers asleep.
pub const DONTWAKE: u64 = UFFDIO_WRITEPROTECT_MODE_DONTWAKE;

/// What memory is protected against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Writes.
    Write,
    /// Any access.
    Access,
}
use Against::{Access, Write};

impl Against {
    /// Mode to register with.
    pub fn mode(self) -> u64 {
        match self {
            Write => UFFDIO_REGISTER_MODE_WP,
            Access => UFFDIO_REGISTER_MODE_RWP,
        }
    }

    /// Flag of a message.
    pub fn flag(self) -> u64 {
        match self {
            Write => UFFD_PAGEFAULT_FLAG_WP,
            Access => UFFD_PAGEFAULT_FLAG_RWP,
        }
    }

    /// A non-blocking descriptor that can do it, with these features besides.
    #[track_caller]
    pub fn uffd(self, features: u64) -> Uffd {
        match self {
            Write => uffd_with(features),
            Access => uffd_with(features | UFFD_FEATURE_RWP),
        }
    }

    /// The request, for a part of a mapping.
    pub fn set(
        self,
        uffd: &Uffd,
        mapping: &Mapping,
        (offset, len): (u64, u64),
        mode: u64,
    ) -> Result<(), Errno> {
        let start = mapping.start() + offset;
        match self {
            Write => uffd.writeprotect(start, len, mode),
            Access => uffd.rwprotect(start, len, mode),
        }
    }

    /// Protects a whole mapping.
    #[track_caller]
    pub fn on(self, uffd: &Uffd, mapping: &Mapping) {
        self.set(uffd, mapping, (0, mapping.len()), ON)
            .expect("protecting");
    }

    /// Takes protection of a part away, and wakes.
    #[track_caller]
    pub fn off(self, uffd: &Uffd, mapping: &Mapping, offset: u64, len: u64) {
        self.set(uffd, mapping, (offset, len), 0)
            .expect("unprotecting");
    }

    /// Registers a mapping for this, and shares it with the threads to come.
    #[track_caller]
    pub fn registered(self, uffd: &Uffd, mapping: Mapping) -> Arc<Mapping> {
        uffd.register(mapping.start(), mapping.len(), self.mode())
            .expect("UFFDIO_REGISTER");
        Arc::new(mapping)
    }

    /// So many units of memory, populated, registered and protected.
    #[track_caller]
    pub fn guarded(self, uffd: &Uffd, kind: Kind, units: u64) -> Arc<Mapping> {
        let target = self.registered(uffd, kind.populated(units));
        self.on(uffd, &target);
        target
    }

    /// A thread that sleeps in a write of this byte, the message of which has been read.
    #[track_caller]
    pub fn writer(
        self,
        uffd: &Uffd,
        kind: Kind,
        target: &Arc<Mapping>,
        (offset, value): (u64, u8),
    ) -> Faulter<u8> {
        let queued = env::fdinfo(uffd).total;
        let writer = Faulter::write(target, offset, value);
        env::wait_queued(uffd, queued + 1);
        writer.wait_asleep();
        let flags = self.flag() | UFFD_PAGEFAULT_FLAG_WRITE;
        expect_message(uffd, (target.start() + offset, kind.grain()), flags);
        writer
    }

    /// The same for a read.
    #[track_caller]
    pub fn reader(
        self,
        uffd: &Uffd,
        kind: Kind,
        target: &Arc<Mapping>,
        offset: u64,
    ) -> Faulter<u8> {
        let queued = env::fdinfo(uffd).total;
        let reader = Faulter::read(target, offset);
        env::wait_queued(uffd, queued + 1);
        reader.wait_asleep();
        expect_message(uffd, (target.start() + offset, kind.grain()), self.flag());
        reader
    }
}

/// Reads the message of a fault at an address, which it gives rounded down to the grain.
#[track_caller]
pub fn expect_message(uffd: &Uffd, (address, grain): (u64, u64), flags: u64) {
    let fault = uffd.read_event().expect("read").pagefault();
    let fault = fault.expect("a fault");
    assert_eq!(
        (fault.address, fault.flags),
        (address / grain * grain, flags)
    );
}

/// Fails if there is anything to read.
#[track_caller]
pub fn expect_silence(uffd: &Uffd) {
    super::expect_errno(uffd.read(), Errno::EAGAIN);
}

/// The pages of a mapping that are protected, counted from its start.
#[track_caller]
pub fn protected(mapping: &Mapping) -> Vec<u64> {
    let found = entries(mapping.start(), mapping.len() / PAGE);
    (0..)
        .zip(found)
        .filter(|(_, entry)| entry.protected())
        .map(|(page, _)| page)
        .collect()
}

/// The page of a mapping at an offset.
#[track_caller]
pub fn entry_at(mapping: &Mapping, offset: u64) -> Entry {
    entries(mapping.start() + offset, 1)[0]
}
