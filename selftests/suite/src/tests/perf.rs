// SPDX-License-Identifier: GPL-2.0-only

//! Tracepoints in the hands of perf events: counted, and read by BPF programs.

use crate::harness::mem::{Mapping, PAGE};
use crate::harness::tracing::EVENTS;
use crate::harness::{registered, tests, uffd_with, user, Need};
use bpf_ins::{Instruction, JumpOperation, MemoryOpLoadType, Register};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

tests! {
    events_are_counted [TRACEPOINTS, Need::Path("/proc/sys/kernel/perf_event_paranoid")];
    a_program_reads_their_fields [TRACEPOINTS, Need::Option("BPF_EVENTS"), Need::Root];
}

const TRACEPOINTS: Need = Need::Path(EVENTS);

/// What the kernel says of a tracepoint.
#[track_caller]
fn about(event: &str, file: &str) -> String {
    fs::read_to_string(format!("{EVENTS}/{event}/{file}")).expect(file)
}

/// A system call that returns a descriptor.
///
/// # Safety
///
/// As [`user::syscall`].
#[track_caller]
unsafe fn open(number: i64, arguments: [u64; 6]) -> OwnedFd {
    // SAFETY: by the caller.
    let fd = unsafe { user::syscall(number, arguments) }.expect("a descriptor");
    // SAFETY: the call has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A counter of perf's for a tracepoint, in this thread.
#[track_caller]
fn counter(event: &str) -> OwnedFd {
    const TRACEPOINT: u64 = 2;
    const SIZE: u64 = 64;
    let mut attributes = [0_u64; SIZE as usize / 8];
    attributes[0] = TRACEPOINT | SIZE << 32;
    attributes[1] = about(event, "id").trim().parse().expect("number");
    let (this_thread, all, none) = (0, u64::MAX, u64::MAX);
    let arguments = [attributes.as_ptr() as u64, this_thread, all, none, 0, 0];
    // SAFETY: the attributes are as long as they say, and live during the call.
    unsafe { open(libc::SYS_perf_event_open, arguments) }
}

fn count(counter: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(nix::unistd::read(counter, &mut bytes), Ok(8));
    u64::from_ne_bytes(bytes)
}

fn events_are_counted() {
    let (made, freed) = (counter("uffd_ctx_create"), counter("uffd_ctx_free"));
    let some: Vec<_> = (0..5).map(|_| uffd_with(0)).collect();
    assert_eq!((count(&made), count(&freed)), (5, 0));
    drop(some);
    assert_eq!((count(&made), count(&freed)), (5, 5));
}

nix::ioctl_write_int!(run_program, b'$', 8);

const BPF_MAP_CREATE: u64 = 0;
const BPF_MAP_LOOKUP_ELEM: u64 = 1;
const BPF_PROG_LOAD: u64 = 5;

/// Arguments of bpf(2), and how long they are. Those left out are 0.
fn bpf<const N: usize>(command: u64, words: &[u64; N]) -> [u64; 6] {
    [command, words.as_ptr() as u64, 8 * N as u64, 0, 0, 0]
}

/// A map of one number for programs, with key 0.
fn number() -> OwnedFd {
    const ARRAY: u64 = 2;
    let (key_size, value_size, entries) = (4, 8, 1);
    let words = [ARRAY | key_size << 32, value_size | entries << 32];
    // SAFETY: the words live during the call.
    unsafe { open(libc::SYS_bpf, bpf(BPF_MAP_CREATE, &words)) }
}

/// What a program has put there.
fn read_number(map: &OwnedFd) -> u64 {
    let (key, mut value) = (0_u32, 0_u64);
    let words = [
        map.as_raw_fd() as u64,
        &raw const key as u64,
        &raw mut value as u64,
    ];
    // SAFETY: key and value have the sizes of the map, and live during the call with the words.
    unsafe { user::syscall(libc::SYS_bpf, bpf(BPF_MAP_LOOKUP_ELEM, &words)) }.expect("lookup");
    value
}

/// A program that puts the eight bytes at `offset` of a tracepoint's record into a map.
#[track_caller]
fn program(offset: i16, map: &OwnedFd) -> OwnedFd {
    use Register::*;
    const MAP_LOOKUP_ELEM: u32 = 1;
    const TRACEPOINT: u64 = 5;
    let code = [
        Instruction::loadx64(R6, R1, offset),
        Instruction::store32(R10, -4, 0),
        Instruction::movx64(R2, R10),
        Instruction::add64(R2, -4),
        Instruction::loadtype(R1, map.as_raw_fd().into(), MemoryOpLoadType::Map),
        Instruction::call(MAP_LOOKUP_ELEM),
        Instruction::jmp_if(R0, JumpOperation::IfEqual, 0, 1),
        Instruction::storex64(R0, 0, R6),
        Instruction::mov64(R0, 0),
        Instruction::exit(),
    ];
    let code: Vec<u64> = code
        .iter()
        .map(Instruction::encode)
        .flat_map(|(word, wide)| [Some(word), wide])
        .flatten()
        .collect();
    let mut complaint = vec![0_u8; 16 << 10];
    let words = [
        TRACEPOINT | (code.len() as u64) << 32,
        code.as_ptr() as u64,
        c"GPL".as_ptr() as u64,
        1 | (complaint.len() as u64) << 32,
        complaint.as_mut_ptr() as u64,
    ];
    // SAFETY: the words and what they point to live during the call and are as long as they say.
    match unsafe { user::syscall(libc::SYS_bpf, bpf(BPF_PROG_LOAD, &words)) } {
        // SAFETY: the call has just opened it.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&complaint)),
    }
}

/// Where a field of eight bytes is in a tracepoint's record.
#[track_caller]
fn offset_of(event: &str, field: &str) -> i16 {
    let format = about(event, "format");
    let line = format
        .lines()
        .find(|line| line.contains(&format!(" {field};")) && line.contains("size:8;"))
        .expect("the field");
    let (_, rest) = line.split_once("offset:").expect("offset");
    let (digits, _) = rest.split_once(';').expect("its end");
    digits.parse().expect("a number")
}

fn a_program_reads_their_fields() {
    const EVENT: &str = "uffd_resolve";
    let seen = ["start", "len", "ret"].map(|field| {
        let (map, event) = (number(), counter(EVENT));
        let program = program(offset_of(EVENT, field), &map);
        // SAFETY: the ioctl takes a descriptor, and nothing in memory.
        unsafe { run_program(event.as_raw_fd(), program.as_raw_fd() as u64) }.expect("SET_BPF");
        (map, event)
    });
    let numbers = || seen.each_ref().map(|(map, _)| read_number(map));

    let uffd = uffd_with(0);
    let area = registered(Mapping::anon(3), &uffd);
    assert_eq!(numbers(), [0, 0, 0]);
    assert_eq!(
        uffd.zeropage(area.start() + PAGE, 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    assert_eq!(numbers(), [area.start() + PAGE, 2 * PAGE, 2 * PAGE]);
    assert!(uffd.zeropage(area.start(), 3 * PAGE, 0).is_err());
    assert_eq!(numbers(), [area.start(), 3 * PAGE, PAGE]);
}
