// SPDX-License-Identifier: GPL-2.0-only

//! Files without a name in any file system, backed by an object of a slab cache.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

use kernel::{
    bindings,
    fs::{
        file::FileDescriptorReservation,
        File, //
    },
    iov::IovIterDest,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    types::ForeignOwnable, //
};

use super::{
    slab::{
        SlabObject,
        SlabRef, //
    },
    wait::{
        Events,
        PollTable, //
    }, //
};

/// The flags a file may be created with: `O_CLOEXEC` and `O_NONBLOCK`.
pub(crate) const FLAGS: u32 = bindings::O_CLOEXEC | bindings::O_NONBLOCK;

/// Whether calls on `file` return instead of waiting.
pub(crate) fn is_nonblocking(file: &File) -> bool {
    file.flags() & bindings::O_NONBLOCK != 0
}

/// How a reader wants to be served.
pub(crate) struct ReadRequest<'a, 'data> {
    destination: &'a mut IovIterDest<'data>,
    file: &'a File,
    /// Return instead of waiting.
    pub(crate) no_wait: bool,
}

impl ReadRequest<'_, '_> {
    /// Bytes the reader has room for.
    pub(crate) fn room(&self) -> usize {
        self.destination.len()
    }

    /// Hands over all of `bytes`, or nothing: `EFAULT`.
    pub(crate) fn deliver(&mut self, bytes: &[u8]) -> Result {
        let copied = self.destination.copy_to_iter(bytes);
        if copied == bytes.len() {
            return Ok(());
        }
        // SAFETY: `copy_to_iter` just advanced by `copied`.
        unsafe { self.destination.revert(copied) };
        Err(EFAULT)
    }

    /// The same without taking a page fault: `EFAULT` also if a page of the buffer is not there.
    pub(crate) fn deliver_nofault(&mut self, bytes: &[u8]) -> Result {
        // SAFETY: May be called anywhere; balanced below.
        unsafe { bindings::uffd_pagefault_disable() };
        let delivered = self.deliver(bytes);
        // SAFETY: Disabled above.
        unsafe { bindings::uffd_pagefault_enable() };
        delivered
    }

    /// Makes the pages of the next `bytes` of the buffer present, for a moment at least. May sleep,
    /// even until somebody resolves a fault of the buffer. `EFAULT` if they cannot be written.
    pub(crate) fn fault_in(&mut self, bytes: usize) -> Result {
        // SAFETY: The iterator is valid; no lock is held, as for any page fault.
        let missing =
            unsafe { bindings::fault_in_iov_iter_writeable(self.destination.as_raw(), bytes) };
        if missing == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// A new file and its descriptor in the reader's table, as [`NewFile::create`]. A security
    /// module sees it as the offspring of the file that is read.
    pub(crate) fn new_file<T: AnonFile>(&self, flags: u32) -> Result<NewFile<T>> {
        // SAFETY: A file's inode lives as long as the file, and never changes.
        NewFile::create_like(flags, unsafe { (*self.file.as_ptr()).f_inode })
    }
}

/// The operations of such a file. The file owns a reference to the object.
pub(crate) trait AnonFile: SlabObject {
    /// Shown where a path would be, for example in `/proc/PID/fd`.
    const NAME: &'static CStr;

    /// read() and its relatives: the number of bytes delivered.
    fn read(&self, request: ReadRequest<'_, '_>) -> Result<usize>;

    /// poll().
    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events;

    /// ioctl(), also from 32-bit programs, whose pointers were widened.
    fn ioctl(this: &SlabRef<Self>, cmd: u32, arg: usize) -> Result;

    /// The lines of `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(&self, lines: &SeqFile);

    /// The last descriptor was closed.
    fn release(this: SlabRef<Self>);
}

/// A file and a descriptor that nobody knows yet. Dropping it gives both back.
///
/// # Invariants
///
/// `file` was made with the operations of `T`; nobody else knows it, and its `private_data` is
/// null.
#[must_use = "dropping it gives file and descriptor back"]
pub(crate) struct NewFile<T: AnonFile> {
    descriptor: FileDescriptorReservation,
    file: ARef<File>,
    _object: PhantomData<T>,
}

impl<T: AnonFile> NewFile<T> {
    /// Makes a file with the `O_*` bits of `flags`, and reserves a descriptor for it in the current
    /// process. `EMFILE`, `ENFILE`, `ENOMEM`, in this order.
    pub(crate) fn create(flags: u32) -> Result<Self> {
        Self::create_like(flags, core::ptr::null())
    }

    /// The same, where `parent` is null or the inode of a file that security modules take as the
    /// model. It is alive during the call.
    fn create_like(flags: u32, parent: *const bindings::inode) -> Result<Self> {
        let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags)?;
        // SAFETY: Name and operations are static, and the operations of `FileTable` bear a file
        // without an object. The parent is alive, says the caller.
        let file = unsafe {
            bindings::anon_inode_create_getfile(
                T::NAME.as_char_ptr(),
                FileTable::<T>::OPERATIONS,
                core::ptr::null_mut(),
                (bindings::O_RDONLY | flags) as i32,
                parent,
            )
        };
        let file = kernel::error::from_err_ptr(file)?;
        // INVARIANT: The file is new and has no object.
        Ok(Self {
            descriptor,
            // SAFETY: What is no error is a file with one reference, ours, which nobody reads at
            // its position.
            file: unsafe { ARef::from_raw(core::ptr::NonNull::new_unchecked(file).cast::<File>()) },
            _object: PhantomData,
        })
    }

    /// The number the descriptor will have.
    pub(crate) fn number(&self) -> u32 {
        self.descriptor.reserved_fd()
    }

    /// Makes file and descriptor known; the file takes `object` over.
    pub(crate) fn publish(self, object: SlabRef<T>) {
        let file = self.file.as_ptr();
        // SAFETY: By the type invariants nobody else reads or writes the file. It owns the
        // reference from here on; `release` gives it back.
        unsafe {
            (*file).private_data = object.into_foreign();
            (*file).f_mode |= bindings::FMODE_NOWAIT;
        }
        self.descriptor.fd_install(self.file);
    }
}

/// Creates a file for `object` with the `O_*` bits of `flags`, and a descriptor for it in the
/// current process. `EMFILE`, `ENFILE`, `ENOMEM`.
///
/// Replaces the middle of `new_userfaultfd`.
pub(crate) fn install<T: AnonFile>(object: SlabRef<T>, flags: u32) -> Result<u32> {
    let file = NewFile::create(flags)?;
    let number = file.number();
    file.publish(object);
    Ok(number)
}

/// The C table of operations for `T`.
struct FileTable<T>(PhantomData<T>);

impl<T: AnonFile> FileTable<T> {
    const OPERATIONS: &'static bindings::file_operations = &bindings::file_operations {
        show_fdinfo: Some(Self::show_fdinfo),
        release: Some(Self::release),
        poll: Some(Self::poll),
        read_iter: Some(Self::read_iter),
        unlocked_ioctl: Some(Self::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// The object behind a file.
    ///
    /// # Safety
    ///
    /// `file` was published by [`NewFile`] for `T`, and is not released during `'a`.
    unsafe fn object<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: The file owns a reference, given up with `into_foreign` when it was published.
        unsafe { SlabRef::<T>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`NewFile`] published for `T`.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The kernel passes a valid request on a published file, held for the call,
        // and an iterator for writing that is this call's alone.
        let (object, request) = unsafe {
            let file = (*kiocb).ki_filp;
            let no_wait = (*file).f_flags & bindings::O_NONBLOCK != 0
                || (*kiocb).ki_flags & bindings::IOCB_NOWAIT != 0;
            (
                Self::object(file),
                ReadRequest {
                    destination: IovIterDest::from_raw(iter),
                    file: File::from_raw_file(file),
                    no_wait,
                },
            )
        };
        match object.read(request) {
            Ok(bytes) => bytes as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`NewFile`] published for `T`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The kernel passes a published file, held for the call, and a table that is
        // null or valid for it. Polling does not touch the file's position.
        unsafe {
            Self::object(file)
                .poll(File::from_raw_file(file), &PollTable::from_raw(table))
                .mask()
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`NewFile`] published for `T`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The kernel passes a published file, held for the call, which keeps its
        // reference.
        let object = ManuallyDrop::new(unsafe { SlabRef::from_foreign((*file).private_data) });
        match T::ioctl(&object, cmd, arg) {
            Ok(()) => 0,
            Err(error) => error.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`NewFile`] published for `T`.
    unsafe extern "C" fn show_fdinfo(lines: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The kernel passes a published file, held for the call, and a valid seq_file.
        unsafe { Self::object(file).show_fdinfo(SeqFile::from_raw(lines)) }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`NewFile`] made for `T`.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file goes, and with it the reference it owned, if it was published.
        if let Some(object) = unsafe { SlabRef::try_from_foreign((*file).private_data) } {
            T::release(object);
        }
        0
    }
}
