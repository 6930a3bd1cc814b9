// SPDX-License-Identifier: GPL-2.0-only

//! The descriptor and every call on it.

use crate::abi::*;
use crate::{Event, Partial, Result};
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A userfaultfd.
#[derive(Debug)]
pub struct Uffd(OwnedFd);

/// Turns the return value of a call that makes a descriptor into that descriptor.
fn adopt(ret: libc::c_long) -> Result<Uffd> {
    let fd = Errno::result(ret)?;
    // SAFETY: the kernel has just installed the descriptor for this call, so nobody else owns it.
    Ok(Uffd(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}

impl Uffd {
    /// userfaultfd(2). Flags: `O_CLOEXEC`, `O_NONBLOCK`, `UFFD_USER_MODE_ONLY`.
    pub fn from_syscall(flags: i32) -> Result<Uffd> {
        // SAFETY: the call takes an integer and touches no memory of ours.
        adopt(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })
    }

    /// Opens /dev/userfaultfd and asks it for a descriptor. Flags as for the system call.
    pub fn from_device(flags: i32) -> Result<Uffd> {
        let device = open(
            "/dev/userfaultfd",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        // SAFETY: the request takes an integer and touches no memory of ours.
        adopt(unsafe { libc::ioctl(device.as_raw_fd(), USERFAULTFD_IOC_NEW, flags) }.into())
    }

    /// A request with any argument.
    ///
    /// # Safety
    ///
    /// Whatever the kernel does with `arg` must be all right: usually it is an address of
    /// memory that may be written.
    pub unsafe fn ioctl(&self, request: u64, arg: usize) -> Result<i32> {
        // SAFETY: see above.
        Errno::result(unsafe { libc::ioctl(self.0.as_raw_fd(), request, arg) })
    }

    /// A request with a structure that the kernel may read and write.
    ///
    /// Each caller pairs a request with the structure it is defined for.
    fn request<T>(&self, request: u64, arg: &mut T) -> Result<()> {
        // SAFETY: `arg` is valid for reads and writes of the size in the request number.
        unsafe { self.ioctl(request, core::ptr::from_mut(arg).expose_provenance()) }.map(drop)
    }

    /// UFFDIO_API.
    pub fn ioctl_api(&self, arg: &mut UffdioApi) -> Result<()> {
        self.request(UFFDIO_API, arg)
    }

    /// UFFDIO_REGISTER.
    pub fn ioctl_register(&self, arg: &mut UffdioRegister) -> Result<()> {
        self.request(UFFDIO_REGISTER, arg)
    }

    /// UFFDIO_COPY.
    pub fn ioctl_copy(&self, arg: &mut UffdioCopy) -> Result<()> {
        self.request(UFFDIO_COPY, arg)
    }

    /// UFFDIO_ZEROPAGE.
    pub fn ioctl_zeropage(&self, arg: &mut UffdioZeropage) -> Result<()> {
        self.request(UFFDIO_ZEROPAGE, arg)
    }

    /// UFFDIO_MOVE.
    pub fn ioctl_move(&self, arg: &mut UffdioMove) -> Result<()> {
        self.request(UFFDIO_MOVE, arg)
    }

    /// UFFDIO_CONTINUE.
    pub fn ioctl_continue(&self, arg: &mut UffdioContinue) -> Result<()> {
        self.request(UFFDIO_CONTINUE, arg)
    }

    /// UFFDIO_POISON.
    pub fn ioctl_poison(&self, arg: &mut UffdioPoison) -> Result<()> {
        self.request(UFFDIO_POISON, arg)
    }

    /// The handshake; returns the structure as the kernel answered it.
    pub fn api(&self, features: u64) -> Result<UffdioApi> {
        let mut arg = UffdioApi {
            api: UFFD_API,
            features,
            ioctls: 0,
        };
        self.ioctl_api(&mut arg).map(|()| arg)
    }

    /// Registers a range; returns the requests it supports, as bits.
    pub fn register(&self, start: u64, len: u64, mode: u64) -> Result<u64> {
        let mut arg = UffdioRegister {
            range: UffdioRange { start, len },
            mode,
            ioctls: 0,
        };
        self.ioctl_register(&mut arg).map(|()| arg.ioctls)
    }

    /// Takes a range back.
    pub fn unregister(&self, start: u64, len: u64) -> Result<()> {
        self.request(UFFDIO_UNREGISTER, &mut UffdioRange { start, len })
    }

    /// Wakes the sleepers of a range.
    pub fn wake(&self, start: u64, len: u64) -> Result<()> {
        self.request(UFFDIO_WAKE, &mut UffdioRange { start, len })
    }

    /// Fills missing pages with a copy; returns the bytes done.
    pub fn copy(
        &self,
        dst: u64,
        src: u64,
        len: u64,
        mode: u64,
    ) -> core::result::Result<u64, Partial> {
        let mut arg = UffdioCopy {
            dst,
            src,
            len,
            mode,
            copy: 0,
        };
        let ret = self.ioctl_copy(&mut arg);
        filled(ret, arg.copy)
    }

    /// Fills missing pages with zeroes; returns the bytes done.
    pub fn zeropage(&self, start: u64, len: u64, mode: u64) -> core::result::Result<u64, Partial> {
        let mut arg = UffdioZeropage {
            range: UffdioRange { start, len },
            mode,
            zeropage: 0,
        };
        let ret = self.ioctl_zeropage(&mut arg);
        filled(ret, arg.zeropage)
    }

    /// Moves pages; returns the bytes done. Named after the request: `move` is a keyword.
    pub fn move_pages(
        &self,
        dst: u64,
        src: u64,
        len: u64,
        mode: u64,
    ) -> core::result::Result<u64, Partial> {
        let mut arg = UffdioMove {
            dst,
            src,
            len,
            mode,
            r#move: 0,
        };
        let ret = self.ioctl_move(&mut arg);
        filled(ret, arg.r#move)
    }

    /// Maps pages of the page cache; returns the bytes done. `continue` is a keyword.
    pub fn continue_pages(
        &self,
        start: u64,
        len: u64,
        mode: u64,
    ) -> core::result::Result<u64, Partial> {
        let mut arg = UffdioContinue {
            range: UffdioRange { start, len },
            mode,
            mapped: 0,
        };
        let ret = self.ioctl_continue(&mut arg);
        filled(ret, arg.mapped)
    }

    /// Poisons pages; returns the bytes done.
    pub fn poison(&self, start: u64, len: u64, mode: u64) -> core::result::Result<u64, Partial> {
        let mut arg = UffdioPoison {
            range: UffdioRange { start, len },
            mode,
            updated: 0,
        };
        let ret = self.ioctl_poison(&mut arg);
        filled(ret, arg.updated)
    }

    /// Sets or clears write protection.
    pub fn writeprotect(&self, start: u64, len: u64, mode: u64) -> Result<()> {
        let range = UffdioRange { start, len };
        self.request(UFFDIO_WRITEPROTECT, &mut UffdioWriteprotect { range, mode })
    }

    /// Sets or clears protection against any access.
    pub fn rwprotect(&self, start: u64, len: u64, mode: u64) -> Result<()> {
        let range = UffdioRange { start, len };
        self.request(UFFDIO_RWPROTECT, &mut UffdioRwprotect { range, mode })
    }

    /// Switches asynchronous modes.
    pub fn set_mode(&self, enable: u64, disable: u64) -> Result<()> {
        self.request(UFFDIO_SET_MODE, &mut UffdioSetMode { enable, disable })
    }

    /// Reads as many messages as are there, at most the slice; returns how many.
    pub fn read_many(&self, msgs: &mut [UffdMsg]) -> Result<usize> {
        // SAFETY: the slice is valid for writes of its size, and any bytes make a message.
        let bytes = Errno::result(unsafe {
            libc::read(
                self.0.as_raw_fd(),
                msgs.as_mut_ptr().cast(),
                size_of_val(msgs),
            )
        })?;
        Ok(bytes as usize / size_of::<UffdMsg>())
    }

    /// Reads one message.
    pub fn read(&self) -> Result<UffdMsg> {
        let mut msg = [UffdMsg::default()];
        match self.read_many(&mut msg)? {
            1 => Ok(msg[0]),
            // Not a value the kernel gives for a buffer of one message.
            _ => Err(Errno::EIO),
        }
    }

    /// Reads one message and decodes it.
    pub fn read_event(&self) -> Result<Event> {
        self.read().map(|msg| msg.decode())
    }
}

/// The outcome of a filling request from its return value and result field.
fn filled(ret: Result<()>, result: i64) -> core::result::Result<u64, Partial> {
    match ret {
        Ok(()) => Ok(result as u64),
        Err(errno) => Err(Partial { errno, result }),
    }
}

impl From<OwnedFd> for Uffd {
    fn from(fd: OwnedFd) -> Self {
        Uffd(fd)
    }
}

impl From<Uffd> for OwnedFd {
    fn from(uffd: Uffd) -> Self {
        uffd.0
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Uffd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
