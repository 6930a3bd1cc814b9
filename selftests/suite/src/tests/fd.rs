// SPDX-License-Identifier: GPL-2.0-only

//! The descriptor as a file: passed on, duplicated, inherited, looked at.

use crate::harness::compat::Compat;
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::{
    blocking_uffd_with, env, expect_errno, registered, release, sleepers, smaps, tests, uffd_raw,
    uffd_with, Need,
};
use nix::cmsg_space;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::socket::{
    recvmsg, sendmsg, socketpair, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags,
    SockFlag, SockType, UnixAddr,
};
use nix::sys::stat::fstat;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, PipeReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    passed_over_a_socket_to_another_process;
    in_flight_over_a_socket;
    inherited_by_a_child;
    inherited_through_exec;
    closed_by_exec;
    duplicate_is_the_same;
    last_duplicate_closes;
    reader_outlives_the_number;
    looks_like_an_anonymous_file;
    fdinfo_is_exact;
    compat_calls_do_the_main_job;
    compat_device_makes_descriptors [Need::Root, Need::Path("/dev/userfaultfd")];
    compat_requests_fail_alike;
    other_requests_of_files;
}

fn send(socket: BorrowedFd, uffd: &Uffd) {
    let fds = [uffd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let data = [IoSlice::new(b"u")];
    let flags = MsgFlags::empty();
    let sent = sendmsg::<UnixAddr>(socket.as_raw_fd(), &data, &rights, flags, None);
    assert_eq!(sent, Ok(1));
}

fn receive(socket: BorrowedFd) -> Uffd {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(i32);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut data, Some(&mut space), flags).unwrap();
    let rights = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fd = rights.expect("a descriptor comes along");
    // SAFETY: the kernel has just installed it for us.
    Uffd::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn socket_pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap()
}

fn passed_over_a_socket_to_another_process() {
    let (ours, theirs) = socket_pair();
    let source = Mapping::anon(1);
    // The manager was there before, so it knows nothing of the memory but what it is told.
    let manager = Child::spawn(|| {
        let uffd = receive(theirs.as_fd());
        source.fill(0, PAGE, 0x77);
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        assert_eq!(uffd.copy(fault.address, source.start(), PAGE, 0), Ok(PAGE));
        // Then it dies, which closes the last descriptor.
    });
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    send(ours.as_fd(), &uffd);
    drop(uffd);
    assert_eq!(target.read(5), 0x77);
    assert_eq!(source.read(0), 0, "the source was the manager's own");
    manager.expect_success();
    assert_eq!(target.read(PAGE), 0, "nobody is to be asked any more");
}

fn in_flight_over_a_socket() {
    // In the socket's buffer the descriptor is open, though no process has it.
    let (ours, theirs) = socket_pair();
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    send(ours.as_fd(), &uffd);
    drop(uffd);
    assert!(smaps::vmas(target.start(), target.end())[0].has("um"));
    let uffd = receive(theirs.as_fd());
    assert_eq!(env::fdinfo(&uffd).pending, 1);
    release(&uffd, &target, sleepers);
    // Nobody will take it out any more.
    registered_again(&uffd, &target);
    send(ours.as_fd(), &uffd);
    drop((uffd, ours, theirs));
    assert!(!smaps::vmas(target.start(), target.end())[0].has("um"));
}

fn registered_again(uffd: &Uffd, target: &Mapping) {
    uffd.register(target.start(), PAGE, UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();
}

fn inherited_by_a_child() {
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let extra = Mapping::anon(1);
    let child = Child::spawn(|| {
        // Its own copy of the memory is not registered.
        assert_eq!(target.read(0), 0);
        target.write(0, 0x33);
        // Every request is about the memory of whoever made the descriptor.
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        assert_eq!(fault.address, target.page(1));
        assert_eq!(uffd.copy(target.page(1), target.page(0), PAGE, 0), Ok(PAGE));
        registered_again(&uffd, &extra);
        assert!(!smaps::vmas(extra.start(), extra.end())[0].has("um"));
    });
    assert_eq!(target.read(PAGE), 0x33);
    child.expect_success();
    assert!(smaps::vmas(extra.start(), extra.end())[0].has("um"));
    assert_eq!(env::fdinfo(&uffd).total, 0);
}

/// A program that inherits descriptors and then waits for ever, until the value is dropped.
struct Program {
    process: process::Child,
    _reader: PipeReader,
}

impl Program {
    /// Starts it; what is closed by exec(2) is closed when this returns.
    fn start() -> Program {
        let (reader, mut writer) = io::pipe().unwrap();
        // The list of tests does not fit into what is full.
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PAGE as i32)).unwrap();
        writer.write_all(&[0; PAGE as usize]).unwrap();
        let process = Command::new("/proc/self/exe")
            .arg("--list")
            .stdout(writer)
            .spawn()
            .unwrap();
        Program {
            process,
            _reader: reader,
        }
    }

    /// What it has open under this number.
    fn link(&self, fd: i32) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/fd/{fd}", self.process.id())).ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What the name of an open userfaultfd is.
const NAME: &str = "anon_inode:[userfaultfd]";

fn inherited_through_exec() {
    let uffd = Uffd::from_syscall(libc::O_NONBLOCK).unwrap();
    uffd.api(0).unwrap();
    let target = registered(Mapping::anon(1), &uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    let program = Program::start();
    assert_eq!(program.link(uffd.as_raw_fd()), Some(NAME.into()));
    drop(uffd);
    assert!(smaps::vmas(target.start(), target.end())[0].has("um"));
    assert!(!sleepers[0].is_finished());
    // The program was the last to have it.
    drop(program);
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
    assert!(!smaps::vmas(target.start(), target.end())[0].has("um"));
}

fn closed_by_exec() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    let program = Program::start();
    assert_eq!(program.link(uffd.as_raw_fd()), None);
    drop(uffd);
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
    drop(program);
}

fn duplicate_is_the_same() {
    let uffd = uffd_with(0);
    let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
    let target = registered(Mapping::anon(2), &uffd);
    let sleepers = sleepers(&uffd, &target, [0, 1]);
    assert_eq!(env::fdinfo(&uffd), env::fdinfo(&twin));
    let first = uffd.read_event().unwrap().pagefault().unwrap();
    let second = twin.read_event().unwrap().pagefault().unwrap();
    assert_eq!(
        (first.address, second.address),
        (target.page(0), target.page(1))
    );
    expect_errno(uffd.read(), Errno::EAGAIN);
    expect_errno(twin.api(0), Errno::EINVAL);
    // The status flags are those of the open file.
    fcntl(&twin, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    assert_eq!(
        fcntl(&uffd, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK,
        0
    );
    release(&twin, &target, sleepers);
}

fn last_duplicate_closes() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let twin = Uffd::from(uffd.as_fd().try_clone_to_owned().unwrap());
    let sleepers = sleepers(&uffd, &target, [0]);
    drop(uffd);
    assert_eq!(env::fdinfo(&twin).pending, 1);
    assert!(!sleepers[0].is_finished());
    drop(twin);
    assert!(sleepers.into_iter().all(|sleeper| sleeper.join() == 0));
}

fn reader_outlives_the_number() {
    // A call in progress keeps the file open, whatever becomes of the number meanwhile.
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let reader = Faulter::spawn(move || {
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        // Somebody else's by now.
        std::mem::forget(uffd);
        fault.address
    });
    wait_asleep_in(reader.tid(), libc::SYS_read);
    let number = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(NAME)))
        .expect("a userfaultfd")
        .file_name();
    let number: i32 = number.to_str().unwrap().parse().unwrap();
    nix::unistd::close(number).unwrap();
    let faulter = Faulter::read(&target, 0);
    assert_eq!(reader.join(), target.start());
    // The end of the call was the end of the file.
    assert_eq!(faulter.join(), 0);
}

fn looks_like_an_anonymous_file() {
    let uffds = [uffd_with(0), blocking_uffd_with(0)];
    let stats = uffds.each_ref().map(|uffd| fstat(uffd).unwrap());
    for (uffd, stat) in uffds.iter().zip(&stats) {
        let link = fs::read_link(format!("/proc/self/fd/{}", uffd.as_raw_fd())).unwrap();
        assert_eq!(link, Path::new(NAME));
        assert_eq!(stat.st_mode & libc::S_IFMT, 0, "no kind of file");
        assert_eq!(stat.st_mode & 0o777, 0o600);
        assert_eq!((stat.st_size, stat.st_nlink), (0, 1));
    }
    assert_eq!(stats[0].st_dev, stats[1].st_dev);
    // Security modules label each one by its inode.
    assert_ne!(stats[0].st_ino, stats[1].st_ino);
}

/// The text of a descriptor's fdinfo from the first line of userfaultfd on.
fn fdinfo_tail(uffd: &Uffd) -> (String, String) {
    let path = format!("/proc/self/fdinfo/{}", uffd.as_raw_fd());
    let text = fs::read_to_string(path).unwrap();
    let at = text.find("pending:").expect("lines of userfaultfd");
    (text[..at].to_owned(), text[at..].to_owned())
}

fn fdinfo_is_exact() {
    let uffd = uffd_raw(libc::O_NONBLOCK);
    // The requests that there are, which the lines always tell in full.
    let ioctls = UFFD_API_IOCTLS | UFFD_API_RANGE_IOCTLS;
    let tail = |pending, total, features: u64| {
        format!("pending:\t{pending}\ntotal:\t{total}\nAPI:\taa:{features:x}:{ioctls:x}\n")
    };
    let inode = fstat(&uffd).unwrap().st_ino;
    let (head, first) = fdinfo_tail(&uffd);
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[..2], ["pos:\t0", "flags:\t02004000"]);
    assert!(lines[2].starts_with("mnt_id:\t"), "{head}");
    assert_eq!(lines[3..], [format!("ino:\t{inode}")]);
    assert_eq!(first, tail(0, 0, 0));
    // Bit 31 says that the handshake is over.
    let features = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS;
    uffd.api(features).unwrap();
    let features = features | 1 << 31;
    assert_eq!(fdinfo_tail(&uffd).1, tail(0, 0, features));
    let target = registered(Mapping::anon(3), &uffd);
    let sleepers = sleepers(&uffd, &target, 0..3);
    assert_eq!(fdinfo_tail(&uffd).1, tail(3, 3, features));
    uffd.read().unwrap();
    assert_eq!(fdinfo_tail(&uffd).1, tail(2, 3, features));
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    assert_eq!(fdinfo_tail(&uffd).1, tail(2, 2, features));
    release(&uffd, &target, sleepers);
    assert_eq!(fdinfo_tail(&uffd).1, tail(0, 0, features));
    assert_eq!(fdinfo_tail(&uffd_with(0)).1, tail(0, 0, 1 << 31));
}

fn compat_calls_do_the_main_job() {
    let compat = Compat::new(3);
    let fd = compat
        .userfaultfd(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .unwrap();
    // SAFETY: the call has just made the descriptor.
    let uffd = Uffd::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let twin = uffd_raw(0).api(0).unwrap();
    assert_eq!(
        compat.ioctl(fd, UFFDIO_API, &[UFFD_API, 0, 0]),
        (Ok(0), vec![UFFD_API, twin.features, twin.ioctls])
    );
    let target = Arc::new(Mapping::anon(3));
    let (start, len) = (target.start(), target.len());
    assert!(start > u64::from(u32::MAX), "the ranges are of 64 bits");
    let mode = UFFDIO_REGISTER_MODE_MISSING;
    let (result, words) = compat.ioctl(fd, UFFDIO_REGISTER, &[start, len, mode, 0]);
    assert_eq!(result, Ok(0));
    let range_ioctls = uffd.register(start, len, mode).unwrap();
    assert_eq!(words, [start, len, mode, range_ioctls]);

    let mut asleep = sleepers(&uffd, &target, 0..3);
    let message = compat.read(fd, 32).unwrap();
    assert_eq!((message.len(), message[0]), (32, UFFD_EVENT_PAGEFAULT));
    assert_eq!(message[16..24], start.to_le_bytes());
    let source = compat.memory().page(1);
    compat.memory().fill(PAGE, PAGE, 0x11);
    assert_eq!(
        compat.ioctl(fd, UFFDIO_COPY, &[start, source, PAGE, 0, 0]),
        (Ok(0), vec![start, source, PAGE, 0, PAGE])
    );
    assert_eq!(asleep.remove(0).join(), 0x11);
    let second = target.page(1);
    assert_eq!(
        compat.ioctl(fd, UFFDIO_ZEROPAGE, &[second, PAGE, 0, 0]),
        (Ok(0), vec![second, PAGE, 0, PAGE])
    );
    assert_eq!(asleep.remove(0).join(), 0);
    let third = target.page(2);
    assert_eq!(compat.ioctl(fd, UFFDIO_WAKE, &[third, PAGE]).0, Ok(0));
    assert_eq!(compat.ioctl(fd, UFFDIO_UNREGISTER, &[start, len]).0, Ok(0));
    assert_eq!(asleep.remove(0).join(), 0);
}

fn compat_device_makes_descriptors() {
    let compat = Compat::new(1);
    let device = File::open("/dev/userfaultfd").unwrap();
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let fd = compat
        .ioctl_value(device.as_raw_fd(), USERFAULTFD_IOC_NEW, flags as u32)
        .unwrap();
    // SAFETY: the call has just made the descriptor.
    let uffd = Uffd::from(unsafe { OwnedFd::from_raw_fd(fd) });
    uffd.api(0).unwrap();
    expect_errno(uffd.read(), Errno::EAGAIN);
    for (request, flags) in [
        (USERFAULTFD_IOC_NEW, 1 << 31),
        (USERFAULTFD_IOC_NEW, 2),
        (UFFDIO_API, 0),
    ] {
        expect_errno(
            compat.ioctl_value(device.as_raw_fd(), request, flags),
            Errno::EINVAL,
        );
    }
}

fn compat_requests_fail_alike() {
    let compat = Compat::new(1);
    let (raw, uffd) = (uffd_raw(libc::O_NONBLOCK), uffd_with(0));
    let target = registered(Mapping::anon(1), &uffd);
    let start = target.start();
    let call = |uffd: &Uffd, request, words: &[u64]| compat.ioctl(uffd.as_raw_fd(), request, words);
    expect_errno(call(&raw, UFFDIO_WAKE, &[start, PAGE]).0, Errno::EINVAL);
    assert_eq!(
        call(&raw, UFFDIO_API, &[UFFD_API + 1, 0, 0]),
        (Err(Errno::EINVAL), vec![0, 0, 0])
    );
    expect_errno(call(&uffd, UFFDIO_WAKE, &[start, 1]).0, Errno::EINVAL);
    expect_errno(
        call(&uffd, UFFDIO_WAKE + 1, &[start, PAGE]).0,
        Errno::EINVAL,
    );
    // Addresses of nothing: at 0, and at the very end of what 32 bits reach.
    for address in [0, u32::MAX - 3] {
        expect_errno(
            compat.ioctl_value(uffd.as_raw_fd(), UFFDIO_WAKE, address),
            Errno::EFAULT,
        );
    }
    expect_errno(compat.read(uffd.as_raw_fd(), 31), Errno::EINVAL);
    expect_errno(compat.read(uffd.as_raw_fd(), 32), Errno::EAGAIN);
    expect_errno(compat.userfaultfd(i32::MIN), Errno::EINVAL);
}

fn other_requests_of_files() {
    let uffd = uffd_with(0);
    let fd = uffd.as_raw_fd();
    // These the kernel answers for every file.
    for (request, argument) in [(libc::FIOCLEX, 0), (libc::FIONBIO, 1)] {
        let number: libc::c_int = argument;
        // SAFETY: the kernel reads at most the number.
        assert_eq!(unsafe { libc::ioctl(fd, request, &raw const number) }, 0);
    }
    for (what, result) in [
        ("ftruncate", nix::unistd::ftruncate(&uffd, 0)),
        ("fsync", nix::unistd::fsync(&uffd)),
    ] {
        expect_errno(result, Errno::EINVAL);
        println!("{what} fails");
    }
    expect_errno(
        Mapping::new(
            PAGE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            Some(uffd.as_fd()),
            0,
        ),
        Errno::ENODEV,
    );
}
