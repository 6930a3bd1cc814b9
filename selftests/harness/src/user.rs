// SPDX-License-Identifier: GPL-2.0-only

//! Calls in which the kernel itself touches memory of ours, by address.
//!
//! The addresses lie in [`Mapping`](super::mem::Mapping)s (or nowhere), which no reference points
//! into: that is what makes these functions safe to call.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// A system call with six arguments as the kernel takes them.
///
/// # Safety
///
/// Whatever the call does with its arguments must be all right.
pub unsafe fn syscall(number: i64, args: [u64; 6]) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: see above.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// The address as a pointer.
pub fn pointer<T>(address: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(address as usize)
}

/// The address of a value that the kernel is to read or write.
pub fn address_of<T: ?Sized>(value: *const T) -> u64 {
    value.cast::<u8>().expose_provenance() as u64
}

fn bytes(ret: isize) -> Result<u64, Errno> {
    Errno::result(ret).map(|bytes| bytes as u64)
}

/// read(2) into memory.
pub fn read(fd: BorrowedFd, address: u64, len: u64) -> Result<u64, Errno> {
    // SAFETY: the kernel writes to memory of a mapping only, see the module.
    bytes(unsafe { libc::read(fd.as_raw_fd(), pointer(address), len as usize) })
}

/// write(2) from memory.
pub fn write(fd: BorrowedFd, address: u64, len: u64) -> Result<u64, Errno> {
    // SAFETY: the kernel only reads.
    bytes(unsafe { libc::write(fd.as_raw_fd(), pointer(address), len as usize) })
}

/// pread(2) into memory.
pub fn pread(fd: BorrowedFd, address: u64, len: u64, offset: i64) -> Result<u64, Errno> {
    // SAFETY: as for `read`.
    bytes(unsafe { libc::pread(fd.as_raw_fd(), pointer(address), len as usize, offset) })
}

/// pwrite(2) from memory.
pub fn pwrite(fd: BorrowedFd, address: u64, len: u64, offset: i64) -> Result<u64, Errno> {
    // SAFETY: the kernel only reads.
    bytes(unsafe { libc::pwrite(fd.as_raw_fd(), pointer(address), len as usize, offset) })
}

/// process_vm_readv(2): bytes of a process into memory of ours.
pub fn read_process(pid: i32, remote: u64, len: u64, local: u64) -> Result<u64, Errno> {
    let (local, remote) = (iovec(local, len), iovec(remote, len));
    // SAFETY: the kernel writes to memory of a mapping only.
    bytes(unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) })
}

/// process_vm_writev(2): bytes of ours into memory of a process.
pub fn write_process(pid: i32, remote: u64, len: u64, local: u64) -> Result<u64, Errno> {
    let (local, remote) = (iovec(local, len), iovec(remote, len));
    // SAFETY: the kernel only reads ours, and the remote address lies in a mapping as well.
    bytes(unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) })
}

/// vmsplice(2) of memory into a pipe.
pub fn vmsplice(pipe: BorrowedFd, address: u64, len: u64) -> Result<u64, Errno> {
    // SAFETY: the kernel only reads, and the pages stay as they are while the pipe has them.
    bytes(unsafe { libc::vmsplice(pipe.as_raw_fd(), &iovec(address, len), 1, 0) })
}

/// mlock(2).
pub fn mlock(address: u64, len: u64) -> Result<(), Errno> {
    // SAFETY: locking changes no contents.
    Errno::result(unsafe { libc::mlock(pointer(address), len as usize) }).map(drop)
}

/// mlock2(2), with flags.
pub fn mlock_with(address: u64, len: u64, flags: u64) -> Result<(), Errno> {
    // SAFETY: locking changes no contents.
    unsafe { syscall(libc::SYS_mlock2, [address, len, flags, 0, 0, 0]) }.map(drop)
}

/// A futex(2) operation without a time limit; the value is the expected one or the number of
/// threads to wake.
pub fn futex(address: u64, operation: i32, value: u32) -> Result<i64, Errno> {
    let args = [address, operation as u64, value.into(), 0, 0, 0];
    // SAFETY: without a timeout or a second futex the kernel touches nothing but the word.
    unsafe { syscall(libc::SYS_futex, args) }
}

/// A range for the calls that take a vector of them.
pub fn iovec(address: u64, len: u64) -> libc::iovec {
    libc::iovec {
        iov_base: pointer(address),
        iov_len: len as usize,
    }
}

/// Reads a byte outside of any [`Mapping`](super::mem::Mapping), such as on a stack.
pub fn read_byte(address: u64) -> u8 {
    // SAFETY: the caller knows the address to be mapped, or to become so in the fault.
    unsafe { pointer::<u8>(address).read_volatile() }
}

/// mremap(2) of a whole mapping; what was there must not be used by its old address any more.
pub fn remap(from: u64, len: u64, new_len: u64, to: Option<u64>) -> Result<u64, Errno> {
    let flags = to.map_or(0, |_| libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED);
    let args = [from, len, new_len, flags as u64, to.unwrap_or(0), 0];
    // SAFETY: the ranges lie in mappings, which no reference points into.
    unsafe { syscall(libc::SYS_mremap, args) }.map(|address| address as u64)
}
