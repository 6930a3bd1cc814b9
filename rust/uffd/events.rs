// SPDX-License-Identifier: GPL-2.0-only

//! fork, mremap, madvise and munmap of registered memory, for contexts that want to know.
//!
//! Each begins as a [`Changing`], before the mappings change, and ends as an event that waits until
//! it was read. Who owns what in between, and who may free it, stands in [`crate::pure::events`].

use kernel::{
    mm::Mm,
    prelude::*,
    sync::aref::ARef,
    warn_on, //
};

use super::context::Context;
use crate::{
    abstractions::{
        foreign_list::{
            ForeignList,
            Reserved, //
        },
        mappings,
        slab::SlabRef,
        task,
        trace::Announcement,
        vma::{
            ContextPtr,
            VmaWriteLocked, //
        },
    },
    pure::{
        abi::{
            EventKind,
            Features, //
        },
        message::Message, //
    },
};

#[cfg(CONFIG_USERFAULTFD_RUST_LAB)]
#[path = "../lab/exit_wait.rs"]
pub(super) mod lab_exit_wait;

/// A change of what a context serves.
pub(crate) type Changing = mappings::Changing<Context>;

/// What an announcer has to say.
pub(crate) enum Event {
    /// An address space was copied; this is what the copy is registered with.
    Fork(Unopened),
    /// Something moved or went away.
    Layout(Message),
}

impl Announcement for Event {
    fn describe(&self) -> (EventKind, [u64; 3]) {
        match self {
            Self::Fork(child) => (
                EventKind::Fork,
                [child.context.observer().id().number(), 0, 0],
            ),
            Self::Layout(message) => (message.kind(), message.words()),
        }
    }
}

/// The userfaultfd of a child, before it has a file. Dropping it does what closing the file would.
pub(crate) struct Unopened {
    context: SlabRef<Context>,
    closes: bool,
}

impl Unopened {
    fn new(context: SlabRef<Context>) -> Self {
        Self {
            context,
            closes: true,
        }
    }

    /// The `O_*` bits its file gets: those of the parent's.
    pub(super) fn file_flags(&self) -> u32 {
        self.context.file_flags()
    }

    /// A file takes it over.
    pub(super) fn open(mut self) -> SlabRef<Context> {
        self.closes = false;
        defect!(ForkExtraPut, lab::references::put(&self.context));
        self.context.clone()
    }

    /// fork failed: the address space is half built and must not be looked at. It is not used, and
    /// its VMAs go with it.
    fn abandon(mut self) {
        self.closes = false;
    }
}

impl Drop for Unopened {
    fn drop(&mut self) {
        if self.closes {
            Context::close(&self.context);
        }
    }
}

/// Tells user space of an event and waits until it was read, or nobody will read it, or the thread
/// is killed. The caller holds no lock.
///
/// Replaces `userfaultfd_event_wait_completion`.
fn announce(change: Changing, event: Event) {
    if task::exiting() {
        // Nobody may be left who reads, and a signal would not end the wait.
        kernel::do_once_lite! { warn_on!(true); }
        return;
    }
    let context = change.object();
    let unread = context.events.announce(
        context.observer(),
        event,
        // Barrier **E** stands between the event and this.
        || context.waiters.notify_input(),
        || context.released(),
    );
    defect!(
        ChangingLeak,
        return lab::references::keep_if(unread, change)
    );
    drop(unread);
    // And with the end of `change` the mappings are no longer changing.
}

/// A fork under way: of one context, whatever the number of its VMAs.
pub(crate) struct Fork {
    change: Changing,
    child: Unopened,
}

impl Fork {
    /// Makes the child's context. `ENOMEM`.
    fn begin(parent: SlabRef<Context>, mm: ARef<Mm>) -> Result<Self> {
        let child = Unopened::new(parent.inherit(mm)?);
        Ok(Self {
            change: Changing::begin(parent),
            child,
        })
    }

    /// The fork is done: announces it. The caller holds no lock.
    pub(crate) fn complete(self) {
        announce(self.change, Event::Fork(self.child));
    }

    /// The fork failed: nothing to tell.
    pub(crate) fn fail(self) {
        self.child.abandon();
    }
}

/// fork copied `vma`, which is registered with `parent`, into the child: the copy is registered
/// with a context of the child's if the parent wants to know of it, and with none otherwise.
///
/// The caller holds both mmap locks for writing. May sleep. `ENOMEM`, with the copy as it was.
/// Replaces `dup_userfaultfd`.
pub(crate) fn fork(
    vma: &mut VmaWriteLocked<'_>,
    parent: SlabRef<Context>,
    forks: &mut ForeignList<'_, Fork>,
) -> Result {
    if !parent.features().contains(Features::EVENT_FORK) {
        vma.reset_context();
        return Ok(());
    }
    let asked = ContextPtr::of(&parent);
    let known = forks
        .iter()
        .find(|fork| ContextPtr::of(fork.change.object()) == asked)
        .map(|fork| ContextPtr::of(&fork.child.context));
    let child = match known {
        Some(child) => child,
        None => {
            // Room first: a fork that has begun must not be dropped here, under the mmap locks.
            let room = Reserved::new()?;
            let fork = Fork::begin(parent, vma.mm())?;
            let child = ContextPtr::of(&fork.child.context);
            forks.push(room, fork);
            child
        }
    };
    vma.hand_over(child);
    Ok(())
}

/// mremap is about to move memory to `vma`, which is registered with `context` as the memory was.
/// It stays so if the context wants to know of it.
///
/// The caller holds the mmap lock for writing. May sleep. Replaces `mremap_userfaultfd_prep`.
pub(crate) fn remap(vma: &mut VmaWriteLocked<'_>, context: SlabRef<Context>) -> Option<Changing> {
    if context.features().contains(Features::EVENT_REMAP) {
        return Some(Changing::begin(context));
    }
    vma.reset_context();
    None
}

/// mremap moved `len` bytes. The caller holds no lock.
///
/// Replaces `mremap_userfaultfd_complete`.
pub(crate) fn remapped(change: Changing, from: usize, to: usize, len: usize) {
    announce(change, Event::Layout(Message::remap(from, to, len)));
}

/// madvise is about to drop the pages from `start` up to `end`. The caller holds no lock.
///
/// Replaces the second half of `userfaultfd_remove`.
pub(crate) fn remove(change: Changing, start: usize, end: usize) {
    announce(change, Event::Layout(Message::remove(start, end)));
}

/// An munmap under way, of one range and one context, whatever the number of VMAs.
pub(crate) struct Unmap {
    change: Changing,
    start: usize,
    end: usize,
}

impl Unmap {
    /// The mapping is gone: announces it. The caller holds no lock.
    pub(crate) fn complete(self) {
        let message = Message::unmap(self.start, self.end);
        announce(self.change, Event::Layout(message));
    }
}

/// munmap is about to take the range from `start` to `end` away, and a VMA in it is registered with
/// `context`, which wants to know.
///
/// The caller holds the mmap lock for writing. May sleep. `ENOMEM`. Replaces
/// `userfaultfd_unmap_prep`.
pub(crate) fn unmap(
    context: SlabRef<Context>,
    start: usize,
    end: usize,
    unmaps: &mut ForeignList<'_, Unmap>,
) -> Result {
    let asked = ContextPtr::of(&context);
    let is_known = unmaps.iter().any(|unmap| {
        ContextPtr::of(unmap.change.object()) == asked && (unmap.start, unmap.end) == (start, end)
    });
    if !is_known {
        let room = Reserved::new()?;
        let change = Changing::begin(context);
        unmaps.push(room, Unmap { change, start, end });
    }
    Ok(())
}
