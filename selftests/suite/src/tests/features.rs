// SPDX-License-Identifier: GPL-2.0-only

//! Features that change what a fault does or what its message says.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::sigbus;
use crate::harness::task::Faulter;
use crate::harness::{expect_errno, registered, tests, uffd_raw, uffd_with};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use uffd::abi::*;
use uffd::{Errno, Pagefault, Uffd};

tests! {
    sigbus_instead_of_a_message;
    sigbus_mode_can_be_filled;
    sigbus_inside_a_call_is_efault;
    thread_id_names_the_thread;
    thread_id_is_zero_unless_asked_for;
    exact_address_keeps_the_offset;
    features_are_per_descriptor;
    user_mode_only_fails_calls;
}

/// The message of one fault, which is then resolved.
fn fault(uffd: &Uffd, target: &Arc<Mapping>, offset: u64, write: bool) -> (Pagefault, i32) {
    let faulter = if write {
        Faulter::write(target, offset, 1)
    } else {
        Faulter::read(target, offset)
    };
    faulter.wait_asleep();
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    let tid = faulter.tid();
    uffd.zeropage(target.page(offset / PAGE), PAGE, 0).unwrap();
    faulter.join();
    (fault, tid)
}

/// Copies a byte out of the mapping inside the kernel.
fn read_in_kernel(mapping: &Mapping, offset: u64) -> Result<isize, Errno> {
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let address: *const libc::c_void =
        ptr::with_exposed_provenance((mapping.start() + offset) as usize);
    // SAFETY: the byte lies in the mapping, which no reference points into.
    Errno::result(unsafe { libc::write(writer.as_raw_fd(), address, 1) })
}

/// Copies a byte into the mapping inside the kernel.
fn write_in_kernel(mapping: &Mapping, offset: u64) -> Result<isize, Errno> {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    nix::unistd::write(&writer, &[1]).unwrap();
    let address: *mut libc::c_void =
        ptr::with_exposed_provenance_mut((mapping.start() + offset) as usize);
    // SAFETY: as above.
    Errno::result(unsafe { libc::read(reader.as_raw_fd(), address, 1) })
}

fn sigbus_instead_of_a_message() {
    let uffd = uffd_with(UFFD_FEATURE_SIGBUS);
    let target = registered(Mapping::anon(4), &uffd);
    sigbus::catch();
    assert_eq!(target.read(PAGE + 5), 0);
    let seen = sigbus::caught();
    assert_eq!(
        (seen.count, seen.address, seen.code),
        (1, target.page(1) + 5, libc::BUS_ADRERR)
    );
    target.write(3 * PAGE + 9, 1);
    let seen = sigbus::caught();
    assert_eq!(
        (seen.count, seen.address, seen.code),
        (2, target.page(3) + 9, libc::BUS_ADRERR)
    );
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn sigbus_mode_can_be_filled() {
    let uffd = uffd_with(UFFD_FEATURE_SIGBUS);
    let target = registered(Mapping::anon(2), &uffd);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 8);
    sigbus::catch();
    uffd.copy(target.page(0), source.start(), PAGE, 0).unwrap();
    uffd.zeropage(target.page(1), PAGE, 0).unwrap();
    assert_eq!((target.read(0), target.read(PAGE)), (8, 0));
    assert_eq!(sigbus::caught().count, 0);
}

fn sigbus_inside_a_call_is_efault() {
    let uffd = uffd_with(UFFD_FEATURE_SIGBUS);
    let target = registered(Mapping::anon(1), &uffd);
    expect_errno(read_in_kernel(&target, 0), Errno::EFAULT);
    expect_errno(write_in_kernel(&target, 0), Errno::EFAULT);
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    assert_eq!(read_in_kernel(&target, 0), Ok(1));
    assert_eq!(write_in_kernel(&target, 0), Ok(1));
}

fn thread_id_names_the_thread() {
    let uffd = uffd_with(UFFD_FEATURE_THREAD_ID);
    let target = registered(Mapping::anon(2), &uffd);
    for page in 0..2 {
        let (fault, tid) = fault(&uffd, &target, page * PAGE, page == 1);
        assert_eq!(fault.ptid, tid as u32);
        assert_ne!(
            fault.ptid,
            std::process::id(),
            "the thread, not the process"
        );
    }
}

fn thread_id_is_zero_unless_asked_for() {
    let uffd = uffd_with(UFFD_FEATURE_EXACT_ADDRESS);
    let target = registered(Mapping::anon(1), &uffd);
    assert_eq!(fault(&uffd, &target, 0, false).0.ptid, 0);
}

fn exact_address_keeps_the_offset() {
    for (feature, mask) in [(UFFD_FEATURE_EXACT_ADDRESS, !0), (0, !(PAGE - 1))] {
        let uffd = uffd_with(feature);
        let target = registered(Mapping::anon(4), &uffd);
        for (page, offset) in [0, 1, 0x123, PAGE - 1].into_iter().enumerate() {
            let offset = page as u64 * PAGE + offset;
            let (fault, _) = fault(&uffd, &target, offset, page % 2 == 1);
            assert_eq!(fault.address, (target.start() + offset) & mask);
        }
    }
}

fn features_are_per_descriptor() {
    let (plain, exact) = (
        uffd_with(0),
        uffd_with(UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID),
    );
    let (first, second) = (
        registered(Mapping::anon(1), &plain),
        registered(Mapping::anon(1), &exact),
    );
    let (message, tid) = fault(&exact, &second, 77, false);
    assert_eq!(
        (message.address, message.ptid),
        (second.start() + 77, tid as u32)
    );
    let (message, _) = fault(&plain, &first, 77, false);
    assert_eq!((message.address, message.ptid), (first.start(), 0));
}

fn user_mode_only_fails_calls() {
    let uffd = uffd_raw(libc::O_NONBLOCK | UFFD_USER_MODE_ONLY as i32);
    uffd.api(0).unwrap();
    let target = registered(Mapping::anon(2), &uffd);
    expect_errno(read_in_kernel(&target, 0), Errno::EFAULT);
    expect_errno(write_in_kernel(&target, 0), Errno::EFAULT);
    expect_errno(uffd.read(), Errno::EAGAIN);
    // Faults of the program itself are handed over as ever.
    assert_eq!(fault(&uffd, &target, PAGE, true).0.address, target.page(1));
    assert_eq!(write_in_kernel(&target, PAGE), Ok(1));
}
