// SPDX-License-Identifier: GPL-2.0-only

//! Who may have a userfaultfd, and for faults of which kind.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::process::Child;
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_raw, uffd_with, user, Need};
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sched::{unshare, CloneFlags};
use nix::sys::stat::Mode;
use nix::unistd::{lseek, pipe, setresgid, setresuid, Gid, Uid, Whence};
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use uffd::abi::*;
use uffd::Uffd;

const SYSCTL: &str = "/proc/sys/vm/unprivileged_userfaultfd";
const DEVICE: &str = "/dev/userfaultfd";
const ALL_FAULTS: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK;
const USER_FAULTS: i32 = ALL_FAULTS | UFFD_USER_MODE_ONLY as i32;
const NOBODY: u32 = 65534;

/// What the kernel has of seccomp(2).
const SECCOMP: &str = "/proc/sys/kernel/seccomp/actions_avail";

tests! {
    root_may_have_any;
    others_may_have_user_faults [Need::Root];
    permission_is_checked_before_flags [Need::Root];
    sysctl_lets_others_have_all [Need::Root];
    sysctl_takes_two_values [Need::Root];
    sysctl_is_for_root_to_write [Need::Root];
    capability_decides_not_the_user [Need::Root];
    root_of_a_user_namespace_is_nobody [Need::Root, Need::Path("/proc/self/ns/user")];
    device_asks_its_mode_only [Need::Root, Need::Path(DEVICE)];
    device_makes_user_mode_descriptors [Need::Root, Need::Path(DEVICE)];
    device_is_nothing_else [Need::Root, Need::Path(DEVICE)];
    device_opened_by_root_serves_others [Need::Root, Need::Path(DEVICE)];
    seccomp_can_leave_the_device [Need::Root, Need::Path(DEVICE), Need::Path(SECCOMP)];
    descriptor_works_for_whoever_has_it [Need::Root];
    user_mode_only_cuts_calls_short;
    user_mode_only_refuses_pages_to_the_kernel;
    user_mode_only_lets_filled_pages_be_used;
}

/// Puts a setting back when it goes away.
struct Restore<F: FnMut()>(F);

impl<F: FnMut()> Drop for Restore<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Sets the sysctl until the value is dropped.
fn sysctl(value: &str) -> Restore<impl FnMut()> {
    let before = fs::read_to_string(SYSCTL).unwrap();
    fs::write(SYSCTL, value).unwrap();
    Restore(move || fs::write(SYSCTL, &before).unwrap())
}

/// Sets the mode of the device until the value is dropped.
fn device_mode(mode: u32) -> Restore<impl FnMut()> {
    let set = |mode| fs::set_permissions(DEVICE, Permissions::from_mode(mode)).unwrap();
    let before = fs::metadata(DEVICE).unwrap().mode();
    set(mode);
    Restore(move || set(before))
}

/// Runs a function in a process without any privilege.
fn as_nobody(body: impl FnOnce()) {
    Child::spawn(|| {
        become_nobody();
        body();
    })
    .expect_success();
}

fn become_nobody() {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

/// Whether a descriptor can be had with these flags.
fn system_call(flags: i32) -> Result<(), Errno> {
    Uffd::from_syscall(flags).map(drop)
}

/// Whether a fault in a call, and one outside, are handed over.
fn assert_catches(uffd: Uffd, calls: bool) {
    uffd.api(0).unwrap();
    let target = registered(Mapping::anon(1), &uffd);
    let start = target.start();
    let (_reader, writer) = pipe().unwrap();
    if calls {
        let caller = Faulter::spawn(move || user::write(writer.as_fd(), start, 1));
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        uffd.read().unwrap();
        uffd.zeropage(start, PAGE, 0).unwrap();
        assert_eq!(caller.join(), Ok(1));
    } else {
        expect_errno(user::write(writer.as_fd(), start, 1), Errno::EFAULT);
        expect_errno(uffd.read(), Errno::EAGAIN);
        let memory = Arc::clone(&target);
        let faulter = Faulter::spawn(move || memory.read(0));
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        uffd.zeropage(start, PAGE, 0).unwrap();
        assert_eq!(faulter.join(), 0);
    }
}

fn root_may_have_any() {
    for flags in [ALL_FAULTS, USER_FAULTS] {
        let calls = flags == ALL_FAULTS;
        match Uffd::from_syscall(flags) {
            Ok(uffd) => assert_catches(uffd, calls),
            Err(errno) => assert!(
                calls && !Uid::effective().is_root(),
                "{flags:#x} fails: {errno}"
            ),
        }
    }
}

fn others_may_have_user_faults() {
    let _sysctl = sysctl("0");
    as_nobody(|| {
        expect_errno(system_call(ALL_FAULTS), Errno::EPERM);
        assert_catches(Uffd::from_syscall(USER_FAULTS).unwrap(), false);
    });
}

fn permission_is_checked_before_flags() {
    let _sysctl = sysctl("0");
    as_nobody(|| {
        for unknown in [1 << 1, libc::O_APPEND, 1 << 30, i32::MIN] {
            expect_errno(system_call(ALL_FAULTS | unknown), Errno::EPERM);
            expect_errno(system_call(USER_FAULTS | unknown), Errno::EINVAL);
        }
    });
}

fn sysctl_lets_others_have_all() {
    let _sysctl = sysctl("1");
    as_nobody(|| {
        assert_catches(Uffd::from_syscall(ALL_FAULTS).unwrap(), true);
        assert_catches(Uffd::from_syscall(USER_FAULTS).unwrap(), false);
        // Events about a fork take more, whether or not there are any.
        expect_errno(uffd_raw(0).api(UFFD_FEATURE_EVENT_FORK), Errno::EPERM);
    });
    // What was had stays when the setting changes.
    let kept = Uffd::from_syscall(ALL_FAULTS).unwrap();
    fs::write(SYSCTL, "0").unwrap();
    assert_catches(kept, true);
}

fn sysctl_takes_two_values() {
    let _sysctl = sysctl("0");
    for value in ["0", "1"] {
        fs::write(SYSCTL, value).unwrap();
        assert_eq!(fs::read_to_string(SYSCTL).unwrap(), format!("{value}\n"));
    }
    for value in ["2", "-1", "x", "4294967296"] {
        let error = fs::write(SYSCTL, value).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{value}");
        assert_eq!(fs::read_to_string(SYSCTL).unwrap(), "1\n", "{value}");
    }
}

fn sysctl_is_for_root_to_write() {
    assert_eq!(fs::metadata(SYSCTL).unwrap().mode() & 0o777, 0o644);
    as_nobody(|| {
        fs::read_to_string(SYSCTL).unwrap();
        let error = fs::write(SYSCTL, "1").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    });
}

/// Takes one capability out of this process's effective set.
fn drop_capability(number: u32) {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: both structures are as long as this version of them.
    let call = |number, header: &mut [u32; 2], sets: &mut [[u32; 3]; 2]| unsafe {
        let sets = user::address_of(sets.as_mut_ptr());
        user::syscall(
            number,
            [user::address_of(header.as_mut_ptr()), sets, 0, 0, 0, 0],
        )
    };
    call(libc::SYS_capget, &mut header, &mut sets).unwrap();
    sets[number as usize / 32][0] &= !(1 << (number % 32));
    call(libc::SYS_capset, &mut header, &mut sets).unwrap();
}

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_PTRACE: u32 = 19;

fn capability_decides_not_the_user() {
    let _sysctl = sysctl("0");
    Child::spawn(|| {
        drop_capability(CAP_SYS_ADMIN);
        system_call(ALL_FAULTS).unwrap();
        let uffd = uffd_raw(0);
        drop_capability(CAP_SYS_PTRACE);
        expect_errno(system_call(ALL_FAULTS), Errno::EPERM);
        system_call(USER_FAULTS).unwrap();
        // It takes the same to be told of forks, and it is asked for at the handshake.
        expect_errno(uffd.api(UFFD_FEATURE_EVENT_FORK), Errno::EPERM);
    })
    .expect_success();
}

fn root_of_a_user_namespace_is_nobody() {
    let _sysctl = sysctl("0");
    Child::spawn(|| {
        unshare(CloneFlags::CLONE_NEWUSER).unwrap();
        // All capabilities, but not in the first namespace.
        expect_errno(system_call(ALL_FAULTS), Errno::EPERM);
        assert_catches(Uffd::from_syscall(USER_FAULTS).unwrap(), false);
    })
    .expect_success();
}

fn open_device() -> Result<(), Errno> {
    open(DEVICE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(drop)
}

fn device_asks_its_mode_only() {
    let _sysctl = sysctl("0");
    let _mode = device_mode(0o600);
    as_nobody(|| expect_errno(open_device(), Errno::EACCES));
    fs::set_permissions(DEVICE, Permissions::from_mode(0o666)).unwrap();
    as_nobody(|| {
        expect_errno(system_call(ALL_FAULTS), Errno::EPERM);
        assert_catches(Uffd::from_device(ALL_FAULTS).unwrap(), true);
    });
}

fn device_makes_user_mode_descriptors() {
    assert_catches(Uffd::from_device(USER_FAULTS).unwrap(), false);
    assert_catches(Uffd::from_device(ALL_FAULTS).unwrap(), true);
}

/// A request to the device that takes a number.
fn ask(device: &impl AsRawFd, request: u64, number: u64) -> Result<i32, Errno> {
    // SAFETY: the number is not used as an address.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), request, number) })
}

fn device_is_nothing_else() {
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .unwrap();
    assert!(nix::unistd::read(&device, &mut [0; 32]).is_err());
    assert!(nix::unistd::write(&device, &[0; 32]).is_err());
    // It has no position, but whoever seeks is not told so.
    for (offset, whence) in [(7, Whence::SeekSet), (-1, Whence::SeekEnd)] {
        assert_eq!(lseek(&device, offset, whence), Ok(0));
    }
    let mapped = Mapping::new(
        PAGE,
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        Some(device.as_fd()),
        0,
    );
    expect_errno(mapped, Errno::ENODEV);
    // The flags are an int, and the rest of the register is not looked at.
    let fd = ask(&device, USERFAULTFD_IOC_NEW, 0xdead_0000_0000_0000).unwrap();
    nix::unistd::close(fd).unwrap();
    // How the device was opened does not matter.
    let read_only = File::open(DEVICE).unwrap();
    let fd = ask(&read_only, USERFAULTFD_IOC_NEW, 0).unwrap();
    nix::unistd::close(fd).unwrap();
}

fn device_opened_by_root_serves_others() {
    let _sysctl = sysctl("0");
    let device = File::open(DEVICE).unwrap();
    as_nobody(|| {
        let fd = ask(&device, USERFAULTFD_IOC_NEW, ALL_FAULTS as u64).unwrap();
        // SAFETY: the call has just made the descriptor.
        let uffd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        assert_catches(uffd.into(), true);
    });
}

fn seccomp_can_leave_the_device() {
    Child::spawn(|| {
        let statement = |code: u32, jt, jf, k| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let refusal = libc::SECCOMP_RET_ERRNO | libc::EACCES as u32;
        let mut program = [
            // The number of the call stands first.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                0,
                1,
                libc::SYS_userfaultfd as u32,
            ),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the kernel copies the program, whose length is given.
        let ret = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter,
            )
        };
        Errno::result(ret).unwrap();
        for flags in [ALL_FAULTS, USER_FAULTS] {
            expect_errno(system_call(flags), Errno::EACCES);
        }
        assert_catches(Uffd::from_device(ALL_FAULTS).unwrap(), true);
    })
    .expect_success();
}

fn descriptor_works_for_whoever_has_it() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 6);
    let faulter = Faulter::read(&target, 0);
    faulter.wait_asleep();
    as_nobody(|| {
        let fault = uffd.read_event().unwrap().pagefault().unwrap();
        let filled = uffd.copy(fault.address, source.start(), PAGE, 0);
        assert_eq!(filled, Ok(PAGE));
        uffd.unregister(target.page(1), PAGE).unwrap();
    });
    assert_eq!(faulter.join(), 6);
    assert_eq!(target.read(PAGE), 0);
}

/// A descriptor for faults of the program itself, and two pages whose first is there.
fn user_mode_only() -> (Uffd, Arc<Mapping>) {
    let uffd = uffd_raw(USER_FAULTS & !libc::O_CLOEXEC);
    uffd.api(0).unwrap();
    let target = registered(Mapping::anon(2), &uffd);
    uffd.zeropage(target.start(), PAGE, 0).unwrap();
    (uffd, target)
}

fn user_mode_only_cuts_calls_short() {
    let (uffd, target) = user_mode_only();
    let across = target.page(1) - 16;
    let (reader, writer) = pipe().unwrap();
    // A pipe gives all of a buffer or nothing; files go as far as the memory does.
    nix::unistd::write(&writer, &[1; 64]).unwrap();
    expect_errno(user::read(reader.as_fd(), across, 32), Errno::EFAULT);
    let file = crate::harness::mem::memfd(1);
    assert_eq!(user::pwrite(file.as_fd(), across, 32, 0), Ok(16));
    expect_errno(
        user::pwrite(file.as_fd(), target.page(1), 32, 0),
        Errno::EFAULT,
    );
    assert_eq!(user::pread(file.as_fd(), across, 32, 0), Ok(16));
    expect_errno(
        user::futex(target.page(1), libc::FUTEX_WAIT, 1),
        Errno::EFAULT,
    );
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn user_mode_only_refuses_pages_to_the_kernel() {
    let (uffd, target) = user_mode_only();
    let pid = std::process::id() as i32;
    let local = Mapping::anon(2);
    let got = user::read_process(pid, target.page(1), 16, local.start());
    expect_errno(got, Errno::EFAULT);
    assert_eq!(
        user::read_process(pid, target.start(), 2 * PAGE, local.start()),
        Ok(PAGE)
    );
    expect_errno(user::mlock(target.start(), 2 * PAGE), Errno::ENOMEM);
    for advice in [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE] {
        expect_errno(target.advise(PAGE, PAGE, advice), Errno::EFAULT);
    }
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn user_mode_only_lets_filled_pages_be_used() {
    let (uffd, target) = user_mode_only();
    let faulter = Faulter::write(&target, PAGE, 8);
    faulter.wait_asleep();
    uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    assert_eq!(faulter.join(), 8);
    let (reader, writer) = pipe().unwrap();
    assert_eq!(user::write(writer.as_fd(), target.page(1), 1), Ok(1));
    let mut byte = [0];
    assert_eq!(nix::unistd::read(&reader, &mut byte), Ok(1));
    assert_eq!(byte, [8]);
    user::mlock(target.start(), 2 * PAGE).unwrap();
}
