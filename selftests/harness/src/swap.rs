// SPDX-License-Identifier: GPL-2.0-only

//! Swap of a program's own, on a compressed block device in memory.

use super::mem::{Mapping, PAGE};
use super::pagemap::{entries, Entry};
use super::smaps;
use super::task::until;
use nix::errno::Errno;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;

/// What there must be for it.
pub const CONTROL: &str = "/sys/class/zram-control/hot_add";
const SIZE: u64 = 64 << 20;
/// Offsets in the first page of a swap area, see union swap_header of the kernel.
const VERSION_AT: usize = 1024;
const LAST_PAGE_AT: usize = VERSION_AT + 4;
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// Prefer it to any other swap that there may be.
const PREFERRED: i32 = 0x8000 | 0x7fff;

/// An area that is given up with the value: what it holds comes back to memory.
#[derive(Debug)]
pub struct SwapArea {
    number: String,
    device: CString,
}

impl SwapArea {
    /// Makes one, for which one must be root.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it changes the machine")]
    pub fn new() -> SwapArea {
        let number = fs::read_to_string(CONTROL).expect("zram");
        let number = number.trim().to_owned();
        let path = format!("/dev/zram{number}");
        let device = CString::new(path.clone()).expect("a path");
        let area = SwapArea { number, device };
        area.configure("disksize", SIZE);
        let mut header = [0; PAGE as usize];
        let last = (SIZE / PAGE - 1) as u32;
        header[VERSION_AT..][..4].copy_from_slice(&1u32.to_ne_bytes());
        header[LAST_PAGE_AT..][..4].copy_from_slice(&last.to_ne_bytes());
        header[PAGE as usize - MAGIC.len()..].copy_from_slice(MAGIC);
        let mut file = OpenOptions::new().write(true).open(path).expect("zram");
        file.write_all(&header).expect("zram");
        file.sync_all().expect("zram");
        // SAFETY: the path is a string that ends with a NUL and outlives the call.
        Errno::result(unsafe { libc::swapon(area.device.as_ptr(), PREFERRED) }).expect("swapon");
        area
    }

    /// From now on no page can be written to it.
    pub fn refuse_writes(&self) {
        self.configure("mem_limit", PAGE);
    }

    /// Gives it up in the middle of something. It is known not to be in use any more.
    #[track_caller]
    pub fn off(&self) {
        // SAFETY: the path is a string that ends with a NUL and outlives the call.
        Errno::result(unsafe { libc::swapoff(self.device.as_ptr()) }).expect("swapoff");
    }

    fn configure(&self, name: &str, value: u64) {
        let path = format!("/sys/block/zram{}/{name}", self.number);
        fs::write(path, value.to_string()).expect("zram");
    }
}

impl Drop for SwapArea {
    fn drop(&mut self) {
        // SAFETY: the path is a string that ends with a NUL and outlives the call.
        unsafe { libc::swapoff(self.device.as_ptr()) };
        // Nothing is to be done about a failure, and a panic is reported already.
        let _ = fs::write("/sys/class/zram-control/hot_remove", &self.number);
    }
}

/// Puts all pages of a part into swap. Some may be on their way to a list of the kernel's at
/// first, and then stay.
#[track_caller]
pub fn page_out(memory: &Mapping, offset: u64, len: u64) {
    until(|| {
        memory
            .advise(offset, len, libc::MADV_PAGEOUT)
            .expect("MADV_PAGEOUT");
        let found = entries(memory.start() + offset, len / PAGE);
        !found.into_iter().any(Entry::present)
    });
}

/// Puts all pages of shared memory into swap. Its page tables do not tell that they are there.
#[track_caller]
pub fn page_out_shared(memory: &Mapping) {
    until(|| {
        memory
            .advise(0, memory.len(), libc::MADV_PAGEOUT)
            .expect("MADV_PAGEOUT");
        smaps::bytes(memory.start(), "Swap") == memory.len()
    });
}
