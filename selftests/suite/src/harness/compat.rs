// SPDX-License-Identifier: GPL-2.0-only

//! System calls as a 32-bit program makes them.
//!
//! The processor may enter the kernel's 32-bit entry from a 64-bit program too, so no 32-bit
//! program is needed; only what pointers point to must lie in the low 4 GiB.

use super::env::kernel_config;
use super::mem::{Mapping, PAGE, RW};
use super::process::Child;
use nix::errno::Errno;
use nix::sys::wait::WaitStatus;
use std::arch::asm;

const READ: u32 = 3;
const GETPID: u32 = 20;
const IOCTL: u32 = 54;
const USERFAULTFD: u32 = 374;

/// A call with three arguments.
///
/// # Safety
///
/// Whatever the call does with its arguments must be all right.
unsafe fn syscall(number: u32, args: [u32; 3]) -> Result<i32, Errno> {
    let ret: i32;
    // SAFETY: the registers that the entry may change are named, and rbx, which the compiler
    // keeps for itself, gets its value back. See above for what the call does.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(args[0]) => _,
            inout("eax") number => ret,
            in("ecx") args[1],
            in("edx") args[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if (-4095..0).contains(&ret) {
        Err(Errno::from_raw(-ret))
    } else {
        Ok(ret)
    }
}

/// Memory in the low 4 GiB, of whose pages the first is for arguments.
#[derive(Debug)]
pub struct Compat(Mapping);

impl Compat {
    /// Memory of this many pages; ends the test as skipped if the kernel is for 64 bits only.
    #[track_caller]
    pub fn new(pages: u64) -> Compat {
        let available = match kernel_config() {
            Some(config) => config.lines().any(|line| line == "CONFIG_IA32_EMULATION=y"),
            // Where the kernel does not say, a child finds out, maybe by dying of it.
            None => {
                // SAFETY: the call takes nothing.
                let call = || assert!(unsafe { syscall(GETPID, [0; 3]) }.is_ok());
                matches!(Child::spawn(call).wait(), WaitStatus::Exited(_, 0))
            }
        };
        if !available {
            super::skip("the kernel does not run 32-bit programs");
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        Compat(Mapping::new(pages * PAGE, RW, flags, None, 0).expect("mmap"))
    }

    /// The memory.
    pub fn memory(&self) -> &Mapping {
        &self.0
    }

    /// userfaultfd(2).
    pub fn userfaultfd(&self, flags: i32) -> Result<i32, Errno> {
        // SAFETY: the call takes an integer.
        unsafe { syscall(USERFAULTFD, [flags as u32, 0, 0]) }
    }

    /// ioctl(2) with a number as its argument, which must not be taken for an address.
    pub fn ioctl_value(&self, fd: i32, request: u64, value: u32) -> Result<i32, Errno> {
        // SAFETY: callers pass requests that take a number, or addresses of nothing.
        unsafe { syscall(IOCTL, [fd as u32, request as u32, value]) }
    }

    /// ioctl(2) with words as its argument; returns also what became of them.
    pub fn ioctl(&self, fd: i32, request: u64, words: &[u64]) -> (Result<i32, Errno>, Vec<u64>) {
        for (at, word) in (0..).step_by(8).zip(words) {
            self.0.write_bytes(at, &word.to_le_bytes());
        }
        let result = self.ioctl_value(fd, request, self.0.start() as u32);
        let left = (0..words.len() as u64).map(|index| self.0.read_bytes(index * 8, 8));
        let word = |bytes: Vec<u8>| u64::from_le_bytes(bytes.try_into().expect("a word"));
        (result, left.map(word).collect())
    }

    /// read(2) of so many bytes to the first page.
    pub fn read(&self, fd: i32, len: u32) -> Result<Vec<u8>, Errno> {
        // SAFETY: the kernel writes to a mapping that no reference points into.
        let got = unsafe { syscall(READ, [fd as u32, self.0.start() as u32, len]) }?;
        Ok(self.0.read_bytes(0, got as u64))
    }
}
