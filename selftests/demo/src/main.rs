// SPDX-License-Identifier: GPL-2.0-only

//! Fills pages on demand through userfaultfd(2) and shows each step.
//!
//! The main thread touches fresh memory page by page, every third page with a write. Each first
//! touch sleeps in the kernel until the handler thread has read the fault and copied a page into
//! place. At the end every byte is compared with what the handler was to put there.

mod kernel;
mod memory;
mod show;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use uffd::abi::{
    UFFDIO_REGISTER_MODE_MISSING, UFFD_PAGEFAULT_FLAG_MINOR, UFFD_PAGEFAULT_FLAG_WP,
    UFFD_PAGEFAULT_FLAG_WRITE, UFFD_USER_MODE_ONLY,
};
use uffd::{Errno, Event, Pagefault, Uffd};

use memory::Memory;
use show::Show;

/// Bytes of a page that are shown.
const SHOWN: usize = 4;

/// Fill pages on demand through userfaultfd(2) and show each step.
///
/// Exit status: 0 if every byte was as expected, 1 if not or if a call failed, 2 for bad options.
#[derive(Parser)]
#[command(name = "uffd-demo", version)]
struct Options {
    /// Number of pages
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pages: u32,
}

/// What can go wrong, ready to be printed.
type Result<T> = std::result::Result<T, String>;

/// For `map_err`: say which call failed.
fn call(name: &str) -> impl Fn(Errno) -> String + '_ {
    move |errno| format!("{name}: {errno}")
}

fn main() -> ExitCode {
    let options = Options::parse();
    match demo(options.pages as usize) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uffd-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(pages: usize) -> Result<()> {
    let show = Show::new();
    show.title(&format!(
        "Linux {}, userfaultfd(2) implemented in {}",
        kernel::release(),
        kernel::implementation()
    ));

    // User-mode faults are all we need, and everybody may have them.
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY as i32;
    let uffd = Uffd::from_syscall(flags).map_err(call("userfaultfd"))?;
    let api = uffd.api(0).map_err(call("UFFDIO_API"))?;
    let memory = Memory::new(pages).map_err(call("mmap"))?;
    uffd.register(memory.start(), memory.len(), UFFDIO_REGISTER_MODE_MISSING)
        .map_err(call("UFFDIO_REGISTER"))?;
    show.title(&format!(
        "features {:#x}; {pages} page(s) of {} bytes registered at {:#x}",
        api.features,
        memory.page_size(),
        memory.start()
    ));

    let (stop, stopped) = UnixStream::pair().map_err(|e| format!("socketpair: {e}"))?;
    let (misread, faults) = thread::scope(|scope| {
        // Without its handler the main thread would sleep for ever, so an error ends the process.
        let handler = scope.spawn(|| {
            handle(&uffd, &memory, &stopped, &show).unwrap_or_else(|error| {
                eprintln!("uffd-demo: {error}");
                std::process::exit(1);
            })
        });
        let misread = touch(&memory, &show);
        drop(stop);
        (misread, handler.join())
    });
    let faults = faults.map_err(|_| "the handler thread panicked".to_string())?;

    let wrong = misread + check(&memory, &show);
    show.title(&format!(
        "{faults} fault(s) handled, {} bytes compared, {wrong} wrong",
        memory.len()
    ));
    if wrong != 0 {
        return Err(format!("{wrong} byte(s) not as expected"));
    }
    if faults != pages {
        return Err(format!("{faults} fault(s) for {pages} page(s)"));
    }
    Ok(())
}

/// The byte that the handler puts at `offset` of page `page`: neighbours and pages differ.
fn filling(page: usize, offset: usize) -> u8 {
    b'A' + ((page * 5 + offset * 3 + offset / 1024) % 26) as u8
}

/// What the main thread writes to the first byte of page `page`, if its first touch is a write.
fn written(page: usize) -> Option<u8> {
    (page % 3 == 2).then(|| b'a' + (page % 26) as u8)
}

/// What the main thread must find at `offset` of page `page`.
fn expected(page: usize, offset: usize) -> u8 {
    written(page)
        .filter(|_| offset == 0)
        .unwrap_or_else(|| filling(page, offset))
}

/// Read faults and fill their pages until the main thread has hung up. Returns the faults seen.
fn handle(uffd: &Uffd, memory: &Memory, stopped: &UnixStream, show: &Show) -> Result<usize> {
    let mut faults = 0;
    loop {
        let mut ready = [
            PollFd::new(uffd.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE).map_err(call("poll"))?;
        match uffd.read_event() {
            Ok(Event::Pagefault(fault)) => {
                faults += 1;
                answer(uffd, memory, fault, show)?;
            }
            Ok(other) => return Err(format!("an event nobody asked for: {other:?}")),
            Err(Errno::EAGAIN) if ready[1].any() == Some(true) => return Ok(faults),
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(format!("read: {errno}")),
        }
    }
}

/// Copy a page to where the fault was.
fn answer(uffd: &Uffd, memory: &Memory, fault: Pagefault, show: &Show) -> Result<()> {
    let page = memory
        .page_of(fault.address)
        .ok_or_else(|| format!("a fault at {:#x}, outside the memory", fault.address))?;
    let contents: Vec<u8> = (0..memory.page_size())
        .map(|at| filling(page, at))
        .collect();
    show.handler(&format!(
        "page fault at {:#x}, flags {} -> copying page {page}",
        fault.address,
        flags(fault.flags)
    ));
    let source = contents.as_ptr().expose_provenance() as u64;
    uffd.copy(fault.address, source, contents.len() as u64, 0)
        .map(drop)
        .map_err(|error| format!("UFFDIO_COPY: {error}"))
}

fn flags(flags: u64) -> String {
    let names: Vec<&str> = [
        (UFFD_PAGEFAULT_FLAG_WRITE, "write"),
        (UFFD_PAGEFAULT_FLAG_WP, "write-protected"),
        (UFFD_PAGEFAULT_FLAG_MINOR, "minor"),
    ]
    .iter()
    .filter(|(bit, _)| flags & bit != 0)
    .map(|(_, name)| *name)
    .collect();
    let names = if names.is_empty() {
        "read".to_string()
    } else {
        names.join(", ")
    };
    format!("{flags:#x} ({names})")
}

/// Touch every page. Returns how many of the bytes it read were wrong.
fn touch(memory: &Memory, show: &Show) -> usize {
    let step = memory.page_size() / SHOWN;
    let mut wrong = 0;
    for page in 0..memory.pages() {
        if let Some(byte) = written(page) {
            let address = memory.address(page, 0);
            show.main(&format!("writing {:?} to {address:#x}", char::from(byte)));
            memory.write(page, 0, byte);
        }
        for at in (0..memory.page_size()).step_by(step) {
            let found = memory.read(page, at);
            let address = memory.address(page, at);
            show.main(&format!("read {:?} from {address:#x}", char::from(found)));
            wrong += usize::from(found != expected(page, at));
        }
    }
    wrong
}

/// Compare every byte. Returns how many were wrong.
fn check(memory: &Memory, show: &Show) -> usize {
    let mut wrong = 0;
    for page in 0..memory.pages() {
        for at in 0..memory.page_size() {
            let (found, wanted) = (memory.read(page, at), expected(page, at));
            if found != wanted {
                wrong += 1;
                if wrong <= 10 {
                    let address = memory.address(page, at);
                    show.wrong(&format!(
                        "{found:#04x} at {address:#x}, expected {wanted:#04x}"
                    ));
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_pages_differ() {
        for page in 0..100 {
            assert_ne!(filling(page, 0), filling(page + 1, 0));
            for at in 0..4095 {
                assert_ne!(filling(page, at), filling(page, at + 1), "{page} {at}");
            }
        }
    }

    #[test]
    fn flags_are_named() {
        assert_eq!(flags(0), "0x0 (read)");
        assert_eq!(flags(UFFD_PAGEFAULT_FLAG_WRITE), "0x1 (write)");
        assert_eq!(
            flags(UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
            "0x3 (write, write-protected)"
        );
    }
}
