// SPDX-License-Identifier: GPL-2.0-only

//! The numbers and layouts of `<linux/userfaultfd.h>`, as C has them.
//!
//! Decisions have their own copy, so that they run on the host: here the compiler compares the two,
//! in every configuration.

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    bindings,
    ioctl::{
        _IOR,
        _IOW,
        _IOWR, //
    }, //
};

use crate::pure::{
    abi::{
        EventKind,
        FaultFlags,
        Features,
        Ioctls,
        UFFD_API, //
    },
    errno::Errno,
    flags::CreateFlags,
    message::Message, //
};

/// `UFFDIO_API`.
pub(crate) const API: u32 = _IOWR::<bindings::uffdio_api>(TYPE, bindings::_UFFDIO_API);
/// `UFFDIO_REGISTER`.
pub(crate) const REGISTER: u32 =
    _IOWR::<bindings::uffdio_register>(TYPE, bindings::_UFFDIO_REGISTER);
/// `UFFDIO_UNREGISTER`.
pub(crate) const UNREGISTER: u32 =
    _IOR::<bindings::uffdio_range>(TYPE, bindings::_UFFDIO_UNREGISTER);
/// `UFFDIO_WAKE`.
pub(crate) const WAKE: u32 = _IOR::<bindings::uffdio_range>(TYPE, bindings::_UFFDIO_WAKE);
/// `UFFDIO_COPY`.
pub(crate) const COPY: u32 = _IOWR::<bindings::uffdio_copy>(TYPE, bindings::_UFFDIO_COPY);
/// `UFFDIO_ZEROPAGE`.
pub(crate) const ZEROPAGE: u32 =
    _IOWR::<bindings::uffdio_zeropage>(TYPE, bindings::_UFFDIO_ZEROPAGE);
/// `UFFDIO_CONTINUE`.
pub(crate) const CONTINUE: u32 =
    _IOWR::<bindings::uffdio_continue>(TYPE, bindings::_UFFDIO_CONTINUE);
/// `UFFDIO_POISON`.
pub(crate) const POISON: u32 = _IOWR::<bindings::uffdio_poison>(TYPE, bindings::_UFFDIO_POISON);
/// `UFFDIO_WRITEPROTECT`.
pub(crate) const WRITEPROTECT: u32 =
    _IOWR::<bindings::uffdio_writeprotect>(TYPE, bindings::_UFFDIO_WRITEPROTECT);
/// `UFFDIO_RWPROTECT`.
pub(crate) const RWPROTECT: u32 =
    _IOWR::<bindings::uffdio_rwprotect>(TYPE, bindings::_UFFDIO_RWPROTECT);
/// `UFFDIO_SET_MODE`.
pub(crate) const SET_MODE: u32 =
    _IOW::<bindings::uffdio_set_mode>(TYPE, bindings::_UFFDIO_SET_MODE);
/// `UFFDIO_MOVE`.
pub(crate) const MOVE: u32 = _IOWR::<bindings::uffdio_move>(TYPE, bindings::_UFFDIO_MOVE);

const TYPE: u32 = bindings::UFFDIO;

// The only API version has the number of the requests' type.
const _: () = assert!(UFFD_API == bindings::UFFDIO as u64);

/// Compares the single bits of a set, and that there is no other.
macro_rules! same_bits {
    ($set:ident::$all:ident, $($bit:ident = $value:expr),+ $(,)?) => {
        const _: () = {
            $(assert!($set::$bit.bits() == $value);)+
            assert!($set::$all.bits() == 0 $(| $value)+);
        };
    };
}

same_bits!(
    Features::ALL,
    PAGEFAULT_FLAG_WP = bindings::UFFD_FEATURE_PAGEFAULT_FLAG_WP as u64,
    EVENT_FORK = bindings::UFFD_FEATURE_EVENT_FORK as u64,
    EVENT_REMAP = bindings::UFFD_FEATURE_EVENT_REMAP as u64,
    EVENT_REMOVE = bindings::UFFD_FEATURE_EVENT_REMOVE as u64,
    MISSING_HUGETLBFS = bindings::UFFD_FEATURE_MISSING_HUGETLBFS as u64,
    MISSING_SHMEM = bindings::UFFD_FEATURE_MISSING_SHMEM as u64,
    EVENT_UNMAP = bindings::UFFD_FEATURE_EVENT_UNMAP as u64,
    SIGBUS = bindings::UFFD_FEATURE_SIGBUS as u64,
    THREAD_ID = bindings::UFFD_FEATURE_THREAD_ID as u64,
    MINOR_HUGETLBFS = bindings::UFFD_FEATURE_MINOR_HUGETLBFS as u64,
    MINOR_SHMEM = bindings::UFFD_FEATURE_MINOR_SHMEM as u64,
    EXACT_ADDRESS = bindings::UFFD_FEATURE_EXACT_ADDRESS as u64,
    WP_HUGETLBFS_SHMEM = bindings::UFFD_FEATURE_WP_HUGETLBFS_SHMEM as u64,
    WP_UNPOPULATED = bindings::UFFD_FEATURE_WP_UNPOPULATED as u64,
    POISON = bindings::UFFD_FEATURE_POISON as u64,
    WP_ASYNC = bindings::UFFD_FEATURE_WP_ASYNC as u64,
    MOVE = bindings::UFFD_FEATURE_MOVE as u64,
    RWP = bindings::UFFD_FEATURE_RWP as u64,
    RWP_ASYNC = bindings::UFFD_FEATURE_RWP_ASYNC as u64,
);

same_bits!(
    Ioctls::CONTEXT,
    REGISTER = 1 << bindings::_UFFDIO_REGISTER,
    UNREGISTER = 1 << bindings::_UFFDIO_UNREGISTER,
    SET_MODE = 1 << bindings::_UFFDIO_SET_MODE,
    API = 1 << bindings::_UFFDIO_API,
);

same_bits!(
    Ioctls::RANGE,
    WAKE = 1 << bindings::_UFFDIO_WAKE,
    COPY = 1 << bindings::_UFFDIO_COPY,
    ZEROPAGE = 1 << bindings::_UFFDIO_ZEROPAGE,
    MOVE = 1 << bindings::_UFFDIO_MOVE,
    WRITEPROTECT = 1 << bindings::_UFFDIO_WRITEPROTECT,
    CONTINUE = 1 << bindings::_UFFDIO_CONTINUE,
    POISON = 1 << bindings::_UFFDIO_POISON,
    RWPROTECT = 1 << bindings::_UFFDIO_RWPROTECT,
);

const _: () = {
    assert!(FaultFlags::WRITE.bits() == bindings::UFFD_PAGEFAULT_FLAG_WRITE as u64);
    assert!(FaultFlags::WP.bits() == bindings::UFFD_PAGEFAULT_FLAG_WP as u64);
    assert!(FaultFlags::MINOR.bits() == bindings::UFFD_PAGEFAULT_FLAG_MINOR as u64);
    assert!(FaultFlags::RWP.bits() == bindings::UFFD_PAGEFAULT_FLAG_RWP as u64);
    assert!(EventKind::PageFault as u32 == bindings::UFFD_EVENT_PAGEFAULT);
    assert!(EventKind::Fork as u32 == bindings::UFFD_EVENT_FORK);
    assert!(EventKind::Remap as u32 == bindings::UFFD_EVENT_REMAP);
    assert!(EventKind::Remove as u32 == bindings::UFFD_EVENT_REMOVE);
    assert!(EventKind::Unmap as u32 == bindings::UFFD_EVENT_UNMAP);
    assert!(super::file::FLAGS == bindings::UFFD_SHARED_FCNTL_FLAGS);
    assert!(matches!(
        CreateFlags::parse(bindings::UFFD_USER_MODE_ONLY, 0),
        Ok(flags) if flags.user_mode_only() && flags.file() == 0
    ));
};

/// Compares error numbers.
macro_rules! same_errnos {
    ($($name:ident),+ $(,)?) => {
        const _: () = { $(assert!(Errno::$name.negative() == -(bindings::$name as i32));)+ };
    };
}

same_errnos!(
    EPERM,
    ENOENT,
    ESRCH,
    EINTR,
    EAGAIN,
    ENOMEM,
    EFAULT,
    EBUSY,
    EEXIST,
    EINVAL,
    ERESTARTSYS,
);

const _: () = {
    assert!(size_of::<bindings::uffd_msg>() == Message::SIZE);
    assert!(offset_of!(bindings::uffd_msg, event) == 0);
    assert!(offset_of!(bindings::uffd_msg, arg) == 8);
};

#[cfg(CONFIG_USERFAULTFD_RUST_KUNIT_TEST)]
#[kernel::prelude::kunit_tests(userfaultfd_abi)]
mod tests {
    use super::*;
    use crate::pure::{
        abi::Reason,
        features::{
            negotiate,
            ContextFeatures,
            Offer, //
        },
        message::PageFault, //
    };

    /// The message as C reads it.
    fn as_c(message: &Message) -> bindings::uffd_msg {
        // SAFETY: The sizes are equal, and any bytes make such a struct.
        unsafe {
            message
                .as_bytes()
                .as_ptr()
                .cast::<bindings::uffd_msg>()
                .read_unaligned()
        }
    }

    fn agreed(features: Features) -> ContextFeatures {
        match negotiate(UFFD_API, features, &Offer::COMPLETE, || true) {
            Ok(agreement) => agreement.context,
            Err(_) => ContextFeatures::UNINITIALIZED,
        }
    }

    #[test]
    fn page_faults_read_as_in_c() {
        let fault = PageFault {
            address: 0x7000,
            real_address: 0x7123,
            write: true,
            reason: Reason::WriteProtect,
            thread: 77,
        };
        let all = agreed(Features::THREAD_ID.with(Features::EXACT_ADDRESS));
        let message = as_c(&Message::page_fault(&fault, all));
        // SAFETY: A message of a page fault has these fields.
        let seen = unsafe { message.arg.pagefault };
        assert_eq!(u32::from(message.event), bindings::UFFD_EVENT_PAGEFAULT);
        let flags = bindings::UFFD_PAGEFAULT_FLAG_WRITE | bindings::UFFD_PAGEFAULT_FLAG_WP;
        assert_eq!(seen.flags, u64::from(flags));
        assert_eq!(seen.address, 0x7123);
        // SAFETY: The union has one field.
        assert_eq!(unsafe { seen.feat.ptid }, 77);

        let message = as_c(&Message::page_fault(&fault, agreed(Features::NONE)));
        // SAFETY: As above.
        let seen = unsafe { message.arg.pagefault };
        assert_eq!(seen.address, 0x7000);
        // SAFETY: As above.
        assert_eq!(unsafe { seen.feat.ptid }, 0);
    }

    #[test]
    fn events_read_as_in_c() {
        let fork = as_c(&Message::fork(5));
        // SAFETY: A message of a fork has this field.
        assert_eq!(unsafe { fork.arg.fork.ufd }, 5);
        assert_eq!(u32::from(fork.event), bindings::UFFD_EVENT_FORK);

        let remap = as_c(&Message::remap(0x1000, 0x5000, 0x2000));
        // SAFETY: A message of mremap has these fields.
        let seen = unsafe { remap.arg.remap };
        assert_eq!((seen.from, seen.to, seen.len), (0x1000, 0x5000, 0x2000));
        assert_eq!(u32::from(remap.event), bindings::UFFD_EVENT_REMAP);
    }

    #[test]
    fn a_context_agrees_to_what_was_asked_for() {
        let features = agreed(Features::SIGBUS.with(Features::THREAD_ID));
        assert!(features.is_initialized());
        assert!(features.contains(Features::THREAD_ID));
        assert!(!features.contains(Features::EXACT_ADDRESS));
        assert!(!agreed(Features::from_bits(1 << 40)).is_initialized());
    }
}
