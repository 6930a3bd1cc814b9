// SPDX-License-Identifier: GPL-2.0-only

//! The calls that fill missing pages: COPY, ZEROPAGE and WAKE.

use crate::harness::env::{fdinfo, wait_queued};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::Faulter;
use crate::harness::{tests, uffd_with};
use std::sync::Arc;
use uffd::abi::*;

tests! {
    copy_wakes_a_reader;
}

fn copy_wakes_a_reader() {
    let uffd = uffd_with(0);
    let source = Mapping::anon(1);
    source.fill(0, PAGE, 0x5a);
    let target = Arc::new(Mapping::anon(4));
    uffd.register(target.start(), target.len(), UFFDIO_REGISTER_MODE_MISSING)
        .unwrap();

    let reader = Faulter::read(&target, PAGE + 7);
    reader.wait_asleep();
    wait_queued(&uffd, 1);
    let fault = uffd.read_event().unwrap().pagefault().unwrap();
    assert_eq!(
        (fault.flags, fault.address, fault.ptid),
        (0, target.page(1), 0)
    );
    assert_eq!(fdinfo(&uffd).pending, 0);

    assert_eq!(uffd.copy(target.page(1), source.start(), PAGE, 0), Ok(PAGE));
    assert_eq!(reader.join(), 0x5a);
    assert_eq!(target.read_bytes(PAGE, PAGE), vec![0x5a; PAGE as usize]);
}
