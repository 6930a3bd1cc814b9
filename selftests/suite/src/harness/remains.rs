// SPDX-License-Identifier: GPL-2.0-only

//! What is left in memory of a context that was freed.
//!
//! The allocator says where it was, if the command line has `no_hash_pointers` and
//! `slab_debug=FZPUT,userfaultfd_ctx_cache`; the kernel's memory is read from `/proc/kcore`.

use super::{slab, uffd_raw};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// What SLUB fills a freed object with, up to its last byte.
const POISON_FREE: u8 = 0x6b;
/// Bytes that are shown.
const SHOWN: usize = 64;

fn error(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}

/// Where the allocator has freed a context last, by the kernel's log.
fn last_freed() -> io::Result<u64> {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")?;
    let mark = format!("TRACE {} free 0x", slab::CONTEXTS);
    let (mut found, mut record) = (None, [0; 8192]);
    loop {
        match log.read(&mut record) {
            Ok(len) => {
                let text = String::from_utf8_lossy(&record[..len]);
                if let Some((_, rest)) = text.split_once(&mark) {
                    let digits = rest.split_whitespace().next().unwrap_or_default();
                    found = u64::from_str_radix(digits, 16).ok();
                }
            }
            // A record was overwritten before it was read.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    found.ok_or_else(|| error("the kernel does not say where it frees contexts"))
}

/// Reads memory of the kernel through `/proc/kcore`, an ELF file with a segment for each range.
fn kernel_memory(address: u64, len: usize) -> io::Result<Vec<u8>> {
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;
    let core = File::open("/proc/kcore")?;
    let word = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    let mut header = [0; HEADER];
    core.read_exact_at(&mut header, 0)?;
    let (at, count) = (
        word(&header, 32),
        u16::from_le_bytes([header[56], header[57]]),
    );
    for number in 0..u64::from(count) {
        let mut segment = [0; SEGMENT];
        core.read_exact_at(&mut segment, at + number * SEGMENT as u64)?;
        let (offset, start, size) = (word(&segment, 8), word(&segment, 16), word(&segment, 40));
        if address >= start && address - start < size {
            let mut bytes = vec![0; len];
            core.read_exact_at(&mut bytes, offset + (address - start))?;
            return Ok(bytes);
        }
    }
    Err(error("the address is in no segment of /proc/kcore"))
}

/// Frees a context and prints what its memory looks like then.
pub fn print(out: &mut impl io::Write) -> io::Result<()> {
    let size = slab::attribute(slab::CONTEXTS, "object_size").and_then(|size| size.parse().ok());
    let size: usize = size.ok_or_else(|| error("no size of contexts"))?;
    // Its neighbours keep the slab.
    let (first, middle, last) = (uffd_raw(0), uffd_raw(0), uffd_raw(0));
    drop(middle);
    let bytes = kernel_memory(last_freed()?, size)?;
    drop((first, last));
    let poisoned = bytes.iter().filter(|&&byte| byte == POISON_FREE).count();
    let constructor = fs::read_to_string(format!("/sys/kernel/slab/{}/ctor", slab::CONTEXTS))?;
    writeln!(out, "constructor {:?}", constructor.trim())?;
    writeln!(out, "remains {size} bytes, {poisoned} poisoned")?;
    for row in bytes[..SHOWN.min(size)].chunks(16) {
        let row: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "  {}", row.join(" "))?;
    }
    Ok(())
}
