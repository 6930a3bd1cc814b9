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
    prelude::*,
    sync::atomic::{
        AtomicFlag,
        Full, //
    }, //
};

/// What the device does.
pub(crate) trait ValueDevice: 'static {
    /// ioctl(), for 32-bit programs as well: `arg` is no pointer.
    fn ioctl(cmd: u32, arg: usize) -> Result<isize>;
}

/// A device that is registered once, at boot, and stays.
///
/// # Invariants
///
/// Only who sets `registered` hands `device` to the misc core; from then on it is the core's.
pub(crate) struct StaticDevice<T> {
    device: UnsafeCell<bindings::miscdevice>,
    registered: AtomicFlag,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: By the type invariants one call of `register` touches the device, then only the misc
// core, under its own lock.
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
            registered: AtomicFlag::new(false),
            _operations: PhantomData,
        }
    }

    /// Makes the device appear. May sleep. `EBUSY` the second time.
    pub(crate) fn register(&'static self) -> Result {
        if self.registered.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: The device is static and not in the list yet, and all its fields that the misc
        // core asks for are set.
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
