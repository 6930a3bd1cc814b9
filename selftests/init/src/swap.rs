// SPDX-License-Identifier: GPL-2.0-only

//! Swap on a compressed block device in memory.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};

const PAGE: usize = 4096;
/// Offsets in the first page of a swap area, see union swap_header of the kernel.
const VERSION_AT: usize = 1024;
const LAST_PAGE_AT: usize = VERSION_AT + 4;
const MAGIC: &[u8; 10] = b"SWAPSPACE2";

/// Make `bytes` of swap available.
pub fn enable(bytes: u64) -> Result<(), String> {
    let header =
        header(bytes).ok_or_else(|| format!("{bytes} bytes are no size for a swap area"))?;
    fs::write("/sys/block/zram0/disksize", bytes.to_string())
        .map_err(|e| format!("cannot size /dev/zram0 (CONFIG_ZRAM?): {e}"))?;
    OpenOptions::new()
        .write(true)
        .open("/dev/zram0")
        .and_then(|mut device| {
            device.write_all(&header)?;
            device.sync_all()
        })
        .map_err(|e| format!("cannot write to /dev/zram0: {e}"))?;
    swapon("/dev/zram0").map_err(|e| format!("cannot swap to /dev/zram0 (CONFIG_SWAP?): {e}"))
}

/// The first page of a swap area of this size.
fn header(bytes: u64) -> Option<[u8; PAGE]> {
    let pages = bytes / PAGE as u64;
    let last = u32::try_from(pages.checked_sub(1)?).ok()?;
    // Page 0 is the header itself; an area wants at least a few pages.
    if last < 10 {
        return None;
    }
    let mut page = [0; PAGE];
    page[VERSION_AT..][..4].copy_from_slice(&1u32.to_ne_bytes());
    page[LAST_PAGE_AT..][..4].copy_from_slice(&last.to_ne_bytes());
    page[PAGE - MAGIC.len()..].copy_from_slice(MAGIC);
    Some(page)
}

fn swapon(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: `path` is a string that ends with a NUL and lives until the call returns.
    match unsafe { libc::swapon(path.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_what_the_kernel_looks_for() {
        let page = header(1 << 20).unwrap();
        assert_eq!(page[1024..1028], 1u32.to_ne_bytes());
        assert_eq!(page[1028..1032], 255u32.to_ne_bytes());
        assert_eq!(&page[4086..], b"SWAPSPACE2");
    }

    #[test]
    fn sizes_that_cannot_be() {
        assert!(header(0).is_none());
        assert!(header(4096 * 4).is_none());
        assert!(header(u64::MAX).is_none());
    }
}
