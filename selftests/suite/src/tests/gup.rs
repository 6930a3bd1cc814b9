// SPDX-License-Identifier: GPL-2.0-only

//! Faults that the kernel takes on behalf of a program, in all the ways it gets at its memory.

use crate::harness::handler::Handler;
use crate::harness::mem::{memfd, Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::{until, wait_asleep_in, Faulter};
use crate::harness::uring::{Operation, Uring};
use crate::harness::{env, expect_errno, registered, tests, uffd_with, user, Need};
use nix::unistd::pipe;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Event, Uffd};

tests! {
    read_from_a_pipe;
    write_to_a_pipe;
    read_and_write_of_a_file;
    fault_in_a_call_can_be_woken_only;
    direct_read_and_write [Need::Root, Need::Path("/sys/class/zram-control/hot_add")];
    process_vm_calls_of_another_process;
    process_vm_of_the_registered_process_itself;
    memory_file_gives_up;
    futex_wait_and_wake;
    mlock_fills_through_the_handler;
    mlockall_fills_through_the_handler;
    map_populate_over_a_registered_range;
    madvise_populate;
    vmsplice_pins_pages;
    registered_buffers;
    uring_read_into_missing_memory;
    stat_and_path_arguments;
}

/// What the handler fills pages with.
const FILL: u8 = 0x5a;

/// Registers two pages, and runs a function that gets at them inside the kernel while a handler
/// fills missing pages. Checks the faults: each page once, in order, to write or not.
#[track_caller]
fn served<T>(writes: bool, call: impl FnOnce(&Mapping) -> T) -> T {
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(2), &uffd);
    let handler = filler(&uffd);
    let result = call(&target);
    assert_faults(handler.stop(), &target, writes);
    result
}

/// A handler that fills each missing page.
fn filler(uffd: &Arc<Uffd>) -> Handler {
    let source = Mapping::anon(1);
    source.fill(0, PAGE, FILL);
    Handler::spawn(Arc::clone(uffd), move |uffd, event| {
        let page = event.pagefault().unwrap().address;
        uffd.copy(page, source.start(), PAGE, 0).unwrap();
    })
}

#[track_caller]
fn assert_faults(events: Vec<Event>, target: &Mapping, writes: bool) {
    let faults: Vec<_> = events
        .into_iter()
        .map(|event| event.pagefault().unwrap())
        .map(|fault| (fault.address, fault.flags))
        .collect();
    let flags = if writes { UFFD_PAGEFAULT_FLAG_WRITE } else { 0 };
    assert_eq!(faults, [(target.page(0), flags), (target.page(1), flags)]);
}

fn read_from_a_pipe() {
    let (reader, writer) = pipe().unwrap();
    nix::unistd::write(&writer, &[7; 32]).unwrap();
    let got = served(true, |target| {
        let across = target.page(1) - 16;
        let got = user::read(reader.as_fd(), across, 32);
        assert_eq!(target.read_bytes(PAGE - 17, 34)[..2], [FILL, 7]);
        assert_eq!(target.read_bytes(PAGE + 15, 2), [7, FILL]);
        got
    });
    assert_eq!(got, Ok(32));
}

fn write_to_a_pipe() {
    let (reader, writer) = pipe().unwrap();
    let put = served(false, |target| {
        user::write(writer.as_fd(), target.page(1) - 16, 32)
    });
    assert_eq!(put, Ok(32));
    let mut bytes = [0; 64];
    assert_eq!(nix::unistd::read(&reader, &mut bytes), Ok(32));
    assert_eq!(bytes[..32], [FILL; 32]);
}

fn read_and_write_of_a_file() {
    let file = memfd(2);
    let put = served(false, |target| {
        user::pwrite(file.as_fd(), target.start(), 2 * PAGE, 0)
    });
    assert_eq!(put, Ok(2 * PAGE));
    let content = Mapping::file(file.as_fd(), 2);
    assert_eq!((content.read(0), content.read(2 * PAGE - 1)), (FILL, FILL));
    content.fill(0, 2 * PAGE, 3);
    let got = served(true, |target| {
        let got = user::pread(file.as_fd(), target.start(), 2 * PAGE, 0);
        assert_eq!((target.read(0), target.read(2 * PAGE - 1)), (3, 3));
        got
    });
    assert_eq!(got, Ok(2 * PAGE));
}

fn fault_in_a_call_can_be_woken_only() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let (_reader, writer) = pipe().unwrap();
    let start = target.start();
    let caller = Faulter::spawn(move || user::write(writer.as_fd(), start, 1));
    // Woken without having been filled, it faults again inside the same call.
    for _ in 0..3 {
        wait_asleep_in(caller.tid(), libc::SYS_write);
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        assert_eq!((fault.address, fault.flags), (start, 0));
        uffd.wake(start, PAGE).unwrap();
        env::wait_queued(&uffd, 1);
        until(|| env::fdinfo(&uffd).pending == 1);
    }
    uffd.zeropage(start, PAGE, 0).unwrap();
    assert_eq!(caller.join(), Ok(1));
}

/// A block device of two pages in compressed memory, which goes away with the value.
struct Zram(String);

impl Zram {
    fn new() -> Zram {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").unwrap();
        let zram = Zram(number.trim().to_owned());
        fs::write(
            format!("/sys/block/zram{}/disksize", zram.0),
            (2 * PAGE).to_string(),
        )
        .unwrap();
        zram
    }

    fn open(&self) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(format!("/dev/zram{}", self.0))
            .unwrap()
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        // Nothing is to be done about a failure, and a panic is reported already.
        let _ = fs::write("/sys/class/zram-control/hot_remove", &self.0);
    }
}

fn direct_read_and_write() {
    let zram = Zram::new();
    let device = zram.open();
    let put = served(false, |target| {
        user::pwrite(device.as_fd(), target.start(), 2 * PAGE, 0)
    });
    assert_eq!(put, Ok(2 * PAGE));
    let got = served(true, |target| {
        target.advise(0, 2 * PAGE, libc::MADV_DONTNEED).unwrap();
        user::pread(device.as_fd(), target.start(), 2 * PAGE, 0)
    });
    assert_eq!(got, Ok(2 * PAGE));
    // Pinning pages and copying to them are different ways in: the data must have arrived.
    let plain = Mapping::anon(2);
    assert_eq!(
        user::pread(device.as_fd(), plain.start(), 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(plain.read_bytes(0, 2 * PAGE), vec![FILL; 2 * PAGE as usize]);
}

fn process_vm_calls_of_another_process() {
    let parent = std::process::id() as i32;
    for writes in [false, true] {
        let uffd = Arc::new(uffd_with(UFFD_FEATURE_THREAD_ID));
        let target = registered(Mapping::anon(2), &uffd);
        let local = Mapping::anon(2);
        local.fill(0, 2 * PAGE, 9);
        let handler = filler(&uffd);
        let child = Child::spawn(|| {
            let (remote, local_start) = (target.start(), local.start());
            let call = if writes {
                user::write_process
            } else {
                user::read_process
            };
            assert_eq!(call(parent, remote, 2 * PAGE, local_start), Ok(2 * PAGE));
            let want = if writes { 9 } else { FILL };
            assert_eq!((local.read(0), local.read(2 * PAGE - 1)), (want, want));
        });
        let pid = child.pid().as_raw() as u32;
        child.expect_success();
        let events = handler.stop();
        // The message names who faulted, not whose memory it is.
        assert!(events
            .iter()
            .all(|event| event.pagefault().unwrap().ptid == pid));
        assert_faults(events, &target, writes);
        assert_eq!(target.read(PAGE), if writes { 9 } else { FILL });
    }
}

fn process_vm_of_the_registered_process_itself() {
    let pid = std::process::id() as i32;
    let local = Mapping::anon(2);
    let got = served(false, |target| {
        user::read_process(pid, target.start(), 2 * PAGE, local.start())
    });
    assert_eq!(got, Ok(2 * PAGE));
    assert_eq!((local.read(0), local.read(2 * PAGE - 1)), (FILL, FILL));
}

fn memory_file_gives_up() {
    // /proc/PID/mem cannot let go of the address space while it gets a page, so it must not
    // sleep in a fault: it fails at once and nobody is told.
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let file = File::open("/proc/self/mem").unwrap();
    let mut byte = [0xff];
    let error = file.read_at(&mut byte, target.start()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    expect_errno(uffd.read(), Errno::EAGAIN);
    assert_eq!(env::fdinfo(&uffd).total, 0);
    // What is there can be read, up to what is not.
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    let mut bytes = [0xff; 2 * PAGE as usize];
    assert_eq!(
        file.read_at(&mut bytes, target.start()).unwrap(),
        PAGE as usize
    );
    assert_eq!(bytes[..PAGE as usize], [0; PAGE as usize]);
    assert_eq!(bytes[PAGE as usize..], [0xff; PAGE as usize]);
}

fn futex_wait_and_wake() {
    // A shared futex is known by its page, which is got first. Neither word has the value.
    served(true, |target| {
        for page in 0..2 {
            expect_errno(
                user::futex(target.page(page), libc::FUTEX_WAIT, 1),
                Errno::EAGAIN,
            );
        }
    });
    // A private futex is known by its address, and its value is read.
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let handler = filler(&uffd);
    let word = target.start();
    let value = u32::from_le_bytes([FILL; 4]);
    let waiter = Faulter::spawn(move || {
        user::futex(word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, value)
    });
    until(|| user::futex(word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) == Ok(1));
    assert_eq!(waiter.join(), Ok(0));
    assert_eq!(handler.stop().len(), 1);
}

fn mlock_fills_through_the_handler() {
    served(true, |target| {
        user::mlock(target.start(), 2 * PAGE).unwrap();
        assert_eq!((target.read(0), target.read(PAGE)), (FILL, FILL));
    });
}

fn mlockall_fills_through_the_handler() {
    served(true, |_| {
        // SAFETY: locking changes no contents.
        Errno::result(unsafe { libc::mlockall(libc::MCL_CURRENT) }).unwrap();
        // SAFETY: as above.
        Errno::result(unsafe { libc::munlockall() }).unwrap();
    });
}

fn map_populate_over_a_registered_range() {
    // The new mapping is not registered, so populating it asks nobody.
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_POPULATE;
    let address = user::pointer(target.page(1));
    // SAFETY: the page lies in a mapping of ours, which no reference points into.
    let at = unsafe { libc::mmap(address, PAGE as usize, libc::PROT_READ, flags, -1, 0) };
    assert_eq!(at, address);
    assert_eq!(target.read(PAGE), 0);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn madvise_populate() {
    for (advice, writes) in [
        (libc::MADV_POPULATE_READ, false),
        (libc::MADV_POPULATE_WRITE, true),
    ] {
        served(writes, |target| {
            target.advise(0, 2 * PAGE, advice).unwrap();
            assert_eq!((target.read(0), target.read(PAGE)), (FILL, FILL));
        });
    }
}

fn vmsplice_pins_pages() {
    let (reader, writer) = pipe().unwrap();
    let put = served(false, |target| {
        user::vmsplice(writer.as_fd(), target.page(1) - 8, 16)
    });
    assert_eq!(put, Ok(16));
    let mut bytes = [0; 64];
    assert_eq!(nix::unistd::read(&reader, &mut bytes), Ok(16));
    assert_eq!(bytes[..16], [FILL; 16]);
}

fn registered_buffers() {
    let ring = Uring::new(2);
    // Pinning for long means pages of one's own: a fault to write.
    let done = served(true, |target| {
        ring.register_buffer(target.start(), 2 * PAGE)
    });
    assert_eq!(done, Ok(()));
}

fn uring_read_into_missing_memory() {
    let (reader, writer) = pipe().unwrap();
    nix::unistd::write(&writer, &[4; 32]).unwrap();
    let mut ring = Uring::new(2);
    let got = served(true, |target| {
        let got = ring.run(&Operation::read(reader.as_fd(), target.page(1) - 16, 32));
        assert_eq!(target.read_bytes(PAGE - 1, 2), [4, 4]);
        got
    });
    assert_eq!(got, Ok(32));
}

fn stat_and_path_arguments() {
    // A name in missing memory, and a structure to be written there.
    let name = b"/proc\0";
    let uffd = Arc::new(uffd_with(0));
    let target = registered(Mapping::anon(2), &uffd);
    let source = Mapping::anon(1);
    source.write_bytes(0, name);
    let handler = Handler::spawn(Arc::clone(&uffd), move |uffd, event| {
        let page = event.pagefault().unwrap().address;
        uffd.copy(page, source.start(), PAGE, 0).unwrap();
    });
    // SAFETY: the name ends in a zero byte once it is there; the structure fits into its page.
    let ret = unsafe { libc::stat(user::pointer(target.page(0)), user::pointer(target.page(1))) };
    assert_eq!(Errno::result(ret), Ok(0));
    let faults: Vec<_> = handler
        .stop()
        .into_iter()
        .map(|event| event.pagefault().unwrap())
        .map(|fault| (fault.address, fault.flags))
        .collect();
    assert_eq!(
        faults,
        [
            (target.page(0), 0),
            (target.page(1), UFFD_PAGEFAULT_FLAG_WRITE)
        ]
    );
    let inode = target.read_bytes(PAGE + 8, 8);
    let want = fs::metadata("/proc").map(|data| std::os::unix::fs::MetadataExt::ino(&data));
    assert_eq!(u64::from_le_bytes(inode.try_into().unwrap()), want.unwrap());
}
