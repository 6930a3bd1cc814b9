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
    fn ioctl(this: &SlabRef<Self>, cmd: u32, arg: usize) -> Result<isize>;

    /// The lines of `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(&self, lines: &SeqFile);

    /// The last descriptor was closed.
    fn release(this: SlabRef<Self>);
}

/// Creates a file for `object` with the `O_*` bits of `flags`, and a descriptor for it in the
/// current process. `EMFILE`, `ENFILE`, `ENOMEM`.
///
/// Replaces the middle of `new_userfaultfd`.
pub(crate) fn install<T: AnonFile>(object: SlabRef<T>, flags: u32) -> Result<u32> {
    let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags)?;
    let private = object.into_foreign();
    // SAFETY: Name and operations are static. On success the file owns the reference in `private`.
    let file = unsafe {
        bindings::anon_inode_create_getfile(
            T::NAME.as_char_ptr(),
            FileTable::<T>::OPERATIONS,
            private,
            (bindings::O_RDONLY | flags) as i32,
            core::ptr::null(),
        )
    };
    let file = match kernel::error::from_err_ptr(file) {
        Ok(file) => file,
        Err(error) => {
            // SAFETY: No file was made, so the reference is still ours.
            drop(unsafe { SlabRef::<T>::from_foreign(private) });
            return Err(error);
        }
    };
    // SAFETY: The file is new and ours, and nobody reads its mode before it is installed.
    let file = unsafe {
        (*file).f_mode |= bindings::FMODE_NOWAIT;
        ARef::from_raw(core::ptr::NonNull::new_unchecked(file).cast::<File>())
    };
    let number = descriptor.reserved_fd();
    descriptor.fd_install(file);
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
    /// `file` was made by [`install`] for `T`, and is not released during `'a`.
    unsafe fn object<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: The file owns a reference, given up with `into_foreign` by `install`.
        unsafe { SlabRef::<T>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`install`] made for `T`.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The kernel passes a valid request on a file of `install`, held for the call,
        // and an iterator for writing that is this call's alone.
        let (object, request) = unsafe {
            let file = (*kiocb).ki_filp;
            let no_wait = (*file).f_flags & bindings::O_NONBLOCK != 0
                || (*kiocb).ki_flags & bindings::IOCB_NOWAIT != 0;
            (
                Self::object(file),
                ReadRequest {
                    destination: IovIterDest::from_raw(iter),
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
    /// Called by the kernel as the operation of a file that [`install`] made for `T`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The kernel passes a file of `install`, held for the call, and a table that is
        // null or valid for it. Polling does not touch the file's position.
        unsafe {
            Self::object(file)
                .poll(File::from_raw_file(file), &PollTable::from_raw(table))
                .mask()
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`install`] made for `T`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The kernel passes a file of `install`, held for the call, which keeps its
        // reference.
        let object = ManuallyDrop::new(unsafe { SlabRef::from_foreign((*file).private_data) });
        match T::ioctl(&object, cmd, arg) {
            Ok(value) => value as c_long,
            Err(error) => error.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`install`] made for `T`.
    unsafe extern "C" fn show_fdinfo(lines: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The kernel passes a file of `install`, held for the call, and a valid seq_file.
        unsafe { Self::object(file).show_fdinfo(SeqFile::from_raw(lines)) }
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a file that [`install`] made for `T`.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file goes, and with it the reference it owned.
        T::release(unsafe { SlabRef::from_foreign((*file).private_data) });
        0
    }
}
