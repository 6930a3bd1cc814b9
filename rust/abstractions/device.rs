// SPDX-License-Identifier: GPL-2.0-only

//! A misc device whose only operation is an ioctl with a plain value.
//!
//! `kernel::miscdevice` has no `llseek`; without it lseek() on the device would start to fail.

use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// What the device does.
pub(crate) trait ValueDevice: 'static {
    /// ioctl(), for 32-bit programs as well: `arg` is no pointer.
    fn ioctl(cmd: u32, arg: usize) -> Result<isize>;
}

/// A device that is registered once, at boot, and stays.
pub(crate) struct StaticDevice<T> {
    device: UnsafeCell<bindings::miscdevice>,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: After `register`, which C calls once while booting, only the misc core touches the device,
// under its own lock.
unsafe impl<T> Sync for StaticDevice<T> {}

impl<T: ValueDevice> StaticDevice<T> {
    const OPERATIONS: &'static bindings::file_operations = &bindings::file_operations {
        unlocked_ioctl: Some(Self::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(Self::ioctl),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// A device that will be called `name`.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            device: UnsafeCell::new(bindings::miscdevice {
                minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                name: name.to_bytes_with_nul().as_ptr(),
                fops: Self::OPERATIONS,
                ..pin_init::zeroed()
            }),
            _operations: PhantomData,
        }
    }

    /// Makes the device appear. Called once, at boot; may sleep.
    pub(crate) fn register(&'static self) -> Result {
        // SAFETY: The device is static, and all its fields that the misc core asks for are set.
        to_result(unsafe { bindings::misc_register(self.device.get()) })
    }

    /// # Safety
    ///
    /// Called by the kernel as the operation of a device of this type.
    unsafe extern "C" fn ioctl(_: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        match T::ioctl(cmd, arg) {
            Ok(value) => value as c_long,
            Err(error) => error.to_errno() as c_long,
        }
    }
}
