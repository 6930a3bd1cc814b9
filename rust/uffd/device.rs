// SPDX-License-Identifier: GPL-2.0-only

//! `/dev/userfaultfd`: who may open it may have userfaultfds, whatever the sysctl says.

use kernel::{
    ioctl::_IO,
    prelude::*, //
};

use super::context::Context;
use crate::abstractions::device::{
    StaticDevice,
    ValueDevice, //
};

const NEW: u32 = _IO(0xAA, 0x00);

struct Device;

impl ValueDevice for Device {
    /// `USERFAULTFD_IOC_NEW`: a new userfaultfd with the given flags. `EINVAL` for other requests,
    /// and the errors of [`Context::create`]. Replaces `userfaultfd_dev_ioctl`.
    fn ioctl(cmd: u32, arg: usize) -> Result<isize> {
        if cmd != NEW {
            return Err(EINVAL);
        }
        // C takes an int here as well.
        Context::create(arg as u32).map(|fd| fd as isize)
    }
}

static DEVICE: StaticDevice<Device> = StaticDevice::new(c"userfaultfd");

/// Makes the device appear, at boot.
pub(super) fn register() -> Result {
    DEVICE.register()
}
