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
    ioctl,
    register, //
};
use crate::{
    abstractions::{
        file::{
            self,
            AnonFile,
            ReadRequest, //
        },
        slab::SlabRef,
        sleepers::Claim,
        task,
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
    /// The next message: the one that waits longest, or the first to come.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` for a signal; `EAGAIN` if there is none and `no_wait`. Replaces
    /// `userfaultfd_ctx_read`.
    fn next_message(&self, no_wait: bool) -> Result<Claim<Message>> {
        loop {
            if let Some(claim) = self.sleepers.claim() {
                return Ok(claim);
            }
            if task::signal_pending() {
                return Err(ERESTARTSYS);
            }
            if no_wait {
                return Err(EAGAIN);
            }
            // Whatever ends the wait, look for a message first: it may be ours to read.
            self.waiters.wait_to_read(|| self.sleepers.has_unread());
        }
    }

    /// Hands one message to user space. A message that could not be copied is unread again.
    fn deliver_next(&self, request: &mut ReadRequest<'_, '_>, no_wait: bool) -> Result {
        let claim = self.next_message(no_wait)?;
        let delivered = request.deliver(claim.message.as_bytes());
        if delivered.is_err() && self.sleepers.put_back(claim) {
            self.waiters.notify_input_fenced();
        }
        delivered
    }
}

impl AnonFile for Context {
    const NAME: &'static CStr = c"[userfaultfd]";

    /// As many whole messages as fit. Waits for the first one only.
    ///
    /// # Errors
    ///
    /// `EINVAL` before `UFFDIO_API` or without room for a message, `EFAULT` for a bad buffer, which
    /// loses nothing, and those of `next_message`. Replaces `userfaultfd_read_iter`.
    fn read(&self, mut request: ReadRequest<'_, '_>) -> Result<usize> {
        if !self.features().is_initialized() {
            return Err(EINVAL);
        }
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
        } else if self.sleepers.has_unread() {
            Events::Input
        } else {
            Events::None
        }
    }

    fn ioctl(this: &SlabRef<Self>, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::dispatch(this, cmd, arg).map(|()| 0)
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

    /// Unregisters everything and lets all sleepers retry their faults, which no longer come here.
    ///
    /// Replaces `userfaultfd_release`.
    fn release(this: SlabRef<Self>) {
        this.set_released();
        register::release_all(&this);
        this.sleepers.wake(Scope::All);
        // Nobody reads or polls any more: either holds the file open.
    }
}
