// SPDX-License-Identifier: GPL-2.0-only

//! Reading messages: blocking, polling, order, several readers, and bad buffers.

use super::poll::poll_now;
use crate::harness::env::{fdinfo, implementation, Implementation};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::{wait_asleep_in, Faulter};
use crate::harness::{
    blocking_uffd_with, expect_errno, registered, release, sleepers, tests, uffd_with, Need,
};
use nix::poll::PollFlags;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use uffd::abi::*;
use uffd::{Errno, Uffd};

tests! {
    nonblocking_read_of_nothing;
    blocking_read_waits_for_a_fault;
    blocking_read_takes_what_there_is;
    blocking_read_is_interrupted;
    nowait_read_of_a_blocking_descriptor;
    read_at_an_offset_is_refused;
    readers_share_the_faults;
    faults_come_in_order;
    short_buffers;
    buffers_hold_whole_messages;
    message_over_several_buffers;
    unwritable_buffer_keeps_the_message;
    half_writable_buffer_keeps_the_message;
    second_message_hits_the_hole;
    idle_readers_go_on_waiting [Need::Cpus(2)];
}

const MSG: usize = size_of::<UffdMsg>();

#[track_caller]
fn next_page(uffd: &Uffd, target: &Mapping) -> u64 {
    page_of(&uffd.read().expect("a message"), target)
}

fn page_of(msg: &UffdMsg, target: &Mapping) -> u64 {
    (msg.decode().pagefault().expect("a page fault").address - target.start()) / PAGE
}

/// read(2) into a mapping.
fn read_into(uffd: &Uffd, memory: &Mapping, offset: u64, len: usize) -> Result<usize, Errno> {
    let address: *mut libc::c_void =
        std::ptr::with_exposed_provenance_mut((memory.start() + offset) as usize);
    // SAFETY: what the kernel can write of the buffer lies in the mapping, which no reference
    // points into.
    Errno::result(unsafe { libc::read(uffd.as_raw_fd(), address, len) }).map(|bytes| bytes as usize)
}

fn nonblocking_read_of_nothing() {
    let uffd = uffd_with(0);
    expect_errno(uffd.read(), Errno::EAGAIN);
    expect_errno(uffd.read_many(&mut [UffdMsg::default(); 4]), Errno::EAGAIN);
    let _target = registered(Mapping::anon(1), &uffd);
    expect_errno(uffd.read(), Errno::EAGAIN);
}

/// A thread in a blocking read of one message.
fn reader(uffd: &Arc<Uffd>) -> Faulter<Result<UffdMsg, Errno>> {
    let uffd = Arc::clone(uffd);
    let reader = Faulter::spawn(move || uffd.read());
    wait_asleep_in(reader.tid(), libc::SYS_read);
    reader
}

fn blocking_read_waits_for_a_fault() {
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(2), &uffd);
    for page in [1, 0] {
        let reader = reader(&uffd);
        let faulter = Faulter::read(&target, page * PAGE);
        assert_eq!(page_of(&reader.join().unwrap(), &target), page);
        uffd.zeropage(target.page(page), PAGE, 0).unwrap();
        assert_eq!(faulter.join(), 0);
    }
}

fn blocking_read_takes_what_there_is() {
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let sleepers = sleepers(&uffd, &target, [0, 1]);
    // Only the first message is waited for: two are there, four would fit.
    let mut msgs = [UffdMsg::default(); 4];
    assert_eq!(uffd.read_many(&mut msgs), Ok(2));
    assert_eq!(
        (page_of(&msgs[0], &target), page_of(&msgs[1], &target)),
        (0, 1)
    );
    release(&uffd, &target, sleepers);
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

fn blocking_read_is_interrupted() {
    for flags in [SaFlags::empty(), SaFlags::SA_RESTART] {
        let action = SigAction::new(SigHandler::Handler(count_signal), flags, SigSet::empty());
        // SAFETY: the handler only counts.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
        SIGNALS.store(0, Ordering::SeqCst);

        let uffd = Arc::new(blocking_uffd_with(0));
        let target = registered(Mapping::anon(1), &uffd);
        let (sender, receiver) = mpsc::channel();
        let thread = Arc::clone(&uffd);
        let reader = Faulter::spawn(move || {
            sender.send(pthread_self()).unwrap();
            thread.read()
        });
        wait_asleep_in(reader.tid(), libc::SYS_read);
        pthread_kill(receiver.recv().unwrap(), Signal::SIGUSR1).unwrap();
        if flags.is_empty() {
            expect_errno(reader.join(), Errno::EINTR);
        } else {
            // The call starts again by itself, so the reader is there for a fault.
            crate::harness::task::until(|| SIGNALS.load(Ordering::SeqCst) == 1);
            let faulter = Faulter::read(&target, 0);
            assert_eq!(page_of(&reader.join().unwrap(), &target), 0);
            release(&uffd, &target, vec![faulter]);
        }
        assert_eq!(SIGNALS.load(Ordering::SeqCst), 1);
    }
}

/// preadv2(2) of one message.
fn preadv2(uffd: &Uffd, offset: i64, flags: i32) -> Result<UffdMsg, Errno> {
    let mut msg = UffdMsg::default();
    let iov = libc::iovec {
        iov_base: (&raw mut msg).cast(),
        iov_len: MSG,
    };
    // SAFETY: the vector has one valid buffer, in which any bytes make a message.
    let bytes = Errno::result(unsafe { libc::preadv2(uffd.as_raw_fd(), &iov, 1, offset, flags) })?;
    assert_eq!(bytes as usize, MSG);
    Ok(msg)
}

fn nowait_read_of_a_blocking_descriptor() {
    let uffd = blocking_uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    expect_errno(preadv2(&uffd, -1, libc::RWF_NOWAIT), Errno::EAGAIN);
    let sleepers = sleepers(&uffd, &target, [0]);
    assert_eq!(
        page_of(&preadv2(&uffd, -1, libc::RWF_NOWAIT).unwrap(), &target),
        0
    );
    release(&uffd, &target, sleepers);
}

fn read_at_an_offset_is_refused() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let sleepers = sleepers(&uffd, &target, [0]);
    expect_errno(preadv2(&uffd, 0, 0), Errno::ESPIPE);
    expect_errno(preadv2(&uffd, 4096, 0), Errno::ESPIPE);
    assert_eq!(next_page(&uffd, &target), 0);
    release(&uffd, &target, sleepers);
}

fn readers_share_the_faults() {
    const READERS: u64 = 4;
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(READERS), &uffd);
    let readers: Vec<_> = (0..READERS).map(|_| reader(&uffd)).collect();
    let sleepers = sleepers(&uffd, &target, 0..READERS);
    let pages: BTreeSet<u64> = readers
        .into_iter()
        .map(|reader| page_of(&reader.join().unwrap(), &target))
        .collect();
    assert_eq!(
        pages,
        (0..READERS).collect(),
        "each fault went to one reader"
    );
    assert_eq!(
        (fdinfo(&uffd).pending, fdinfo(&uffd).total),
        (0, READERS as usize)
    );
    release(&uffd, &target, sleepers);
}

fn idle_readers_go_on_waiting() {
    // However many readers a fault stirs, one gets the message and the others go on waiting.
    const ROUNDS: u64 = 50;
    let uffd = Arc::new(blocking_uffd_with(0));
    let target = registered(Mapping::anon(ROUNDS), &uffd);
    let (sender, receiver) = mpsc::channel();
    for _ in 0..3 {
        let (uffd, sender) = (Arc::clone(&uffd), sender.clone());
        Faulter::spawn(move || loop {
            sender
                .send(uffd.read().expect("a message"))
                .expect("the test listens");
        });
    }
    for page in 0..ROUNDS {
        let faulter = Faulter::read(&target, page * PAGE);
        assert_eq!(page_of(&receiver.recv().unwrap(), &target), page);
        uffd.zeropage(target.page(page), PAGE, 0).unwrap();
        faulter.join();
    }
    assert!(receiver.try_recv().is_err());
}

fn faults_come_in_order() {
    // Neither address order nor its reverse.
    const ORDER: [u64; 8] = [3, 1, 7, 0, 5, 2, 6, 4];
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(8), &uffd);
    let sleepers = sleepers(&uffd, &target, ORDER);
    let mut msgs = [UffdMsg::default(); 3];
    assert_eq!(next_page(&uffd, &target), ORDER[0]);
    assert_eq!(uffd.read_many(&mut msgs), Ok(3));
    let mut seen: Vec<_> = msgs.iter().map(|msg| page_of(msg, &target)).collect();
    let mut rest = [UffdMsg::default(); 8];
    assert_eq!(uffd.read_many(&mut rest), Ok(4));
    seen.extend(rest[..4].iter().map(|msg| page_of(msg, &target)));
    assert_eq!(seen, ORDER[1..]);
    release(&uffd, &target, sleepers);
}

fn short_buffers() {
    for uffd in [uffd_with(0), blocking_uffd_with(0)] {
        let target = registered(Mapping::anon(1), &uffd);
        let memory = Mapping::anon(1);
        // Refused at once, whether there is a message or not: a blocking read would not wait.
        for len in [0, 1, 8, MSG - 1] {
            expect_errno(read_into(&uffd, &memory, 0, len), Errno::EINVAL);
        }
        let sleepers = sleepers(&uffd, &target, [0]);
        for len in [0, 1, 8, MSG - 1] {
            expect_errno(read_into(&uffd, &memory, 0, len), Errno::EINVAL);
        }
        // The message is still there, and unread.
        assert_eq!(fdinfo(&uffd).pending, 1);
        assert_eq!(next_page(&uffd, &target), 0);
        release(&uffd, &target, sleepers);
    }
}

fn buffers_hold_whole_messages() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(4), &uffd);
    let memory = Mapping::anon(1);
    let sleepers = sleepers(&uffd, &target, 0..4);
    assert_eq!(read_into(&uffd, &memory, 3, MSG + 1), Ok(MSG));
    assert_eq!(fdinfo(&uffd).pending, 3);
    assert_eq!(read_into(&uffd, &memory, 0, 3 * MSG - 1), Ok(2 * MSG));
    assert_eq!(fdinfo(&uffd).pending, 1);
    // The byte after what was read stays as it is.
    memory.write(MSG as u64, 0x77);
    assert_eq!(read_into(&uffd, &memory, 0, 5 * MSG), Ok(MSG));
    assert_eq!(memory.read(MSG as u64), 0x77);
    release(&uffd, &target, sleepers);
}

fn message_over_several_buffers() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let sleepers = sleepers(&uffd, &target, 0..2);
    let (mut head, mut middle, mut tail) = ([0; 7], [0; 30], [0; 40]);
    let mut buffers = [
        IoSliceMut::new(&mut head),
        IoSliceMut::new(&mut middle),
        IoSliceMut::new(&mut tail),
    ];
    assert_eq!(nix::sys::uio::readv(&uffd, &mut buffers), Ok(2 * MSG));
    let all: Vec<u8> = [&head[..], &middle[..], &tail[..]].concat();
    for (page, bytes) in all.chunks(MSG).take(2).enumerate() {
        assert_eq!(bytes[0], UFFD_EVENT_PAGEFAULT);
        let address = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        assert_eq!(address, target.page(page as u64));
    }
    release(&uffd, &target, sleepers);
}

/// Reads a message into a bad place, and finds out whether it can be read once more.
///
/// It should: the fault still waits for an answer and nobody knows of it. The C implementation
/// takes the message off the queue before it copies, so there it is lost, and the thread sleeps
/// until somebody wakes its page by chance.
fn check_bad_buffer(offset: u64) {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let memory = Mapping::with_hole();
    let sleepers = sleepers(&uffd, &target, 0..2);
    expect_errno(read_into(&uffd, &memory, offset, MSG), Errno::EFAULT);
    assert_eq!(fdinfo(&uffd).total, 2);
    let mut msgs = [UffdMsg::default(); 4];
    match implementation() {
        Implementation::C => {
            assert_eq!(uffd.read_many(&mut msgs), Ok(1));
            assert_eq!(page_of(&msgs[0], &target), 1);
        }
        Implementation::Rust => {
            assert_eq!(poll_now(&uffd), PollFlags::POLLIN);
            assert_eq!(uffd.read_many(&mut msgs), Ok(2));
            assert_eq!(
                (page_of(&msgs[0], &target), page_of(&msgs[1], &target)),
                (0, 1)
            );
        }
    }
    release(&uffd, &target, sleepers);
}

fn unwritable_buffer_keeps_the_message() {
    check_bad_buffer(PAGE);
}

fn half_writable_buffer_keeps_the_message() {
    check_bad_buffer(PAGE - MSG as u64 / 2);
}

fn second_message_hits_the_hole() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(3), &uffd);
    let memory = Mapping::with_hole();
    let sleepers = sleepers(&uffd, &target, 0..3);
    // The first message fits before the hole, and what was read is what the call returns.
    assert_eq!(
        read_into(&uffd, &memory, PAGE - MSG as u64, 3 * MSG),
        Ok(MSG)
    );
    // The second is kept by rights, and lost on C; see `check_bad_buffer`.
    let next = if implementation() == Implementation::C {
        2
    } else {
        1
    };
    assert_eq!(next_page(&uffd, &target), next);
    release(&uffd, &target, sleepers);
}
