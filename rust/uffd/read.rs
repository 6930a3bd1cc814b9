// SPDX-License-Identifier: GPL-2.0-only

//! read(), poll() and the end of a userfaultfd's file.

use kernel::{
    fs::File,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

use super::{
    context::Context,
    events::Event,
    ioctl,
    register, //
};
use crate::{
    abstractions::{
        event_queue::Delivery,
        file::{
            self,
            AnonFile,
            ReadRequest, //
        },
        slab::SlabRef,
        sleepers::Claim,
        task, trace,
        wait::{
            Events,
            PollTable, //
        },
    },
    pure::{
        abi::{
            Ioctls,
            UFFD_API, //
        },
        message::Message,
        wait::Scope, //
    },
};

impl Context {
    /// Whether there is a message to read.
    pub(super) fn has_input(&self) -> bool {
        self.sleepers.has_unread() || self.events.has_unread()
    }

    /// Hands one message to user space: the fault that waits longest, or the event, or the first of
    /// both to come. Faults go first: their threads may be what an event's reader waits for.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` for a signal; `EAGAIN` if there is none and `no_wait`. `EFAULT`, and for a fork
    /// `EMFILE`, `ENFILE` and `ENOMEM`; the message is unread again then. Replaces
    /// `userfaultfd_ctx_read`.
    fn deliver_next(&self, request: &mut ReadRequest<'_, '_>, no_wait: bool) -> Result {
        loop {
            // Read where it lies: a fault's message is not moved about.
            let claim = self.sleepers.claim();
            if let Some(Claim { message, .. }) = &claim {
                let delivered = request.deliver(message.as_bytes());
                if delivered.is_err() {
                    self.put_back(claim);
                }
                return delivered;
            }
            if self.events.has_unread() && self.deliver_event(request)? {
                return Ok(());
            }
            if task::signal_pending() {
                return Err(ERESTARTSYS);
            }
            if no_wait {
                return Err(EAGAIN);
            }
            // Whatever ends the wait, look for a message first: it may be ours to read.
            self.waiters.wait_to_read(|| self.has_input());
        }
    }

    /// A fault's message that could not be delivered is unread again.
    #[cold]
    fn put_back(&self, claim: Option<Claim<Message>>) {
        if claim.is_some_and(|claim| self.sleepers.put_back(claim)) {
            self.waiters.notify_input_fenced();
        }
    }

    /// Hands the oldest event to user space. Returns whether there was one. If that fails it is
    /// unread again.
    // Out of the way of faults.
    #[inline(never)]
    fn deliver_event(&self, request: &mut ReadRequest<'_, '_>) -> Result<bool> {
        let delivered = self.try_deliver_event(request);
        if delivered.is_err() {
            // It is unread again. Or it was not even taken; but we may be the reader that was told.
            self.waiters.notify_input_fenced();
        }
        delivered
    }

    fn try_deliver_event(&self, request: &mut ReadRequest<'_, '_>) -> Result<bool> {
        loop {
            // Not with the event in our hands: the fault may be one that another reader has to
            // resolve, which it cannot while mappings are changing.
            request.fault_in(Message::SIZE)?;
            let Some(delivery) = self.events.claim(self.observer()) else {
                return Ok(false);
            };
            if hand_out(delivery, request)? {
                return Ok(true);
            }
            // The buffer's page went away in between.
            if task::signal_pending() {
                return Err(ERESTARTSYS);
            }
        }
    }
}

/// Hands out an event, or nothing of it, and lets its announcer go on. Returns whether the buffer
/// was there. `EMFILE`, `ENFILE`, `ENOMEM` for a fork's file.
///
/// Replaces `resolve_userfault_fork`.
fn hand_out(delivery: Delivery<'_, Event>, request: &mut ReadRequest<'_, '_>) -> Result<bool> {
    match &*delivery {
        Event::Layout(message) => {
            if request.deliver_nofault(message.as_bytes()).is_err() {
                return Ok(false);
            }
            delivery.complete(drop);
        }
        Event::Fork(child) => {
            let file = request.new_file::<Context>(child.file_flags())?;
            let message = Message::fork(file.number());
            if request.deliver_nofault(message.as_bytes()).is_err() {
                return Ok(false);
            }
            delivery.complete(|event| {
                if let Event::Fork(child) = event {
                    file.publish(child.open());
                }
            });
        }
    }
    Ok(true)
}

impl AnonFile for Context {
    const NAME: &'static CStr = c"[userfaultfd]";

    /// As many whole messages as fit. Waits for the first one only.
    ///
    /// # Errors
    ///
    /// `EINVAL` before `UFFDIO_API` or without room for a message, `EFAULT` for a bad buffer, which
    /// loses nothing, and those of `deliver_next`. Replaces `userfaultfd_read_iter`.
    // The one caller is the operation of the file.
    #[inline(always)]
    fn read(&self, mut request: ReadRequest<'_, '_>) -> Result<usize> {
        if !self.features().is_initialized() {
            return Err(EINVAL);
        }
        self.sleepers.begin_counts();
        let mut no_wait = request.no_wait;
        let mut bytes = 0;
        loop {
            let delivered = if request.room() < Message::SIZE {
                Err(EINVAL)
            } else {
                self.deliver_next(&mut request, no_wait)
            };
            match delivered {
                Ok(()) => bytes += Message::SIZE,
                Err(_) if bytes > 0 => return Ok(bytes),
                Err(error) => return Err(error),
            }
            no_wait = true;
        }
    }

    /// Input, if a message is unread. An error on a file that blocks: a message that was there may
    /// be gone when read() comes, and read() would hang. Replaces `userfaultfd_poll`.
    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events {
        self.waiters.poll(file, table);
        if !self.features().is_initialized() || !file::is_nonblocking(file) {
            Events::Error
        } else if self.has_input() {
            Events::Input
        } else {
            Events::None
        }
    }

    #[inline(always)]
    fn ioctl(this: &SlabRef<Self>, cmd: u32, arg: usize) -> Result {
        ioctl::dispatch(this, cmd, arg)
    }

    /// Unread faults, all faults, what was agreed, and all ioctls of the ABI. Replaces
    /// `userfaultfd_show_fdinfo`.
    fn show_fdinfo(&self, lines: &SeqFile) {
        let (pending, total) = self.sleepers.counts();
        seq_print!(
            lines,
            "pending:\t{}\ntotal:\t{}\nAPI:\t{:x}:{:x}:{:x}\n",
            pending,
            total,
            UFFD_API,
            self.features().to_word(),
            Ioctls::CONTEXT.with(Ioctls::RANGE).bits()
        );
    }

    fn release(this: SlabRef<Self>) {
        Self::close(&this);
    }
}

impl Context {
    /// Unregisters everything and lets all sleepers retry their faults, which no longer come here,
    /// and all announcers go on. For the end of its file, or of the hope to get one.
    ///
    /// The caller holds no lock. May sleep. Replaces `userfaultfd_release` and
    /// `userfaultfd_release_new`.
    pub(super) fn close(this: &SlabRef<Self>) {
        trace::ctx_release(this.observer());
        this.set_released();
        register::release_all(this);
        this.sleepers.wake(Scope::All);
        this.events.wake_all();
        // Nobody reads or polls any more: either holds the file open.
    }
}
