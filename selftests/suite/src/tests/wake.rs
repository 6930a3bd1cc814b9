// SPDX-License-Identifier: GPL-2.0-only

//! Who is woken by the calls that fill, and by WAKE.

use super::fill::{byte, failed, partly, pattern};
use crate::harness::env::{fdinfo, wait_queued};
use crate::harness::mem::{Mapping, PAGE};
use crate::harness::task::{until, Faulter};
use crate::harness::{expect_errno, registered, sleepers, tests, uffd_with};
use uffd::abi::*;
use uffd::Errno;

tests! {
    fill_wakes_its_range_only;
    partial_copy_wakes_what_it_filled;
    dontwake_leaves_the_sleepers;
    failed_fill_does_not_wake;
    wake_of_a_range_without_sleepers;
    wake_ends_at_the_range;
}

fn fill_wakes_its_range_only() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(6), &uffd);
    let source = pattern(2);
    let mut sleepers = sleepers(&uffd, &target, 0..6);
    assert_eq!(uffd.read_many(&mut [UffdMsg::default(); 3]), Ok(3));
    // The reader has seen 0, 1 and 2; so the range meets one seen fault and one unseen.
    assert_eq!(
        uffd.copy(target.page(2), source.start(), 2 * PAGE, 0),
        Ok(2 * PAGE)
    );
    let woken: Vec<_> = sleepers.drain(2..4).collect();
    assert_eq!(
        woken.into_iter().map(Faulter::join).collect::<Vec<_>>(),
        [byte(0), byte(PAGE)]
    );
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (2, 4));
    sleepers.iter().for_each(Faulter::wait_asleep);
    for page in [0, 1, 4, 5] {
        uffd.zeropage(target.page(page), PAGE, 0).unwrap();
    }
    assert!(sleepers
        .into_iter()
        .map(Faulter::join)
        .all(|value| value == 0));
}

fn partial_copy_wakes_what_it_filled() {
    let uffd = uffd_with(0);
    let target = Mapping::anon(3);
    target.write(PAGE, 1);
    let target = registered(target, &uffd);
    let source = pattern(3);
    let first = Faulter::read(&target, 0);
    first.wait_asleep();
    let last = Faulter::read(&target, 2 * PAGE);
    wait_queued(&uffd, 2);
    last.wait_asleep();
    assert_eq!(
        uffd.copy(target.start(), source.start(), 3 * PAGE, 0),
        Err(partly(PAGE))
    );
    assert_eq!(first.join(), byte(0));
    assert_eq!(fdinfo(&uffd).total, 1);
    last.wait_asleep();
    uffd.zeropage(target.page(2), PAGE, 0).unwrap();
    assert_eq!(last.join(), 0);
}

fn dontwake_leaves_the_sleepers() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let source = pattern(1);
    let sleepers = sleepers(&uffd, &target, 0..2);
    uffd.read().unwrap();
    let dontwake = UFFDIO_COPY_MODE_DONTWAKE;
    assert_eq!(
        uffd.copy(target.page(0), source.start(), PAGE, dontwake),
        Ok(PAGE)
    );
    assert_eq!(
        uffd.zeropage(target.page(1), PAGE, UFFDIO_ZEROPAGE_MODE_DONTWAKE),
        Ok(PAGE)
    );
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (1, 2));
    sleepers.iter().for_each(Faulter::wait_asleep);
    // Whoever comes now finds the pages.
    assert_eq!((target.read(0), target.read(PAGE)), (byte(0), 0));
    uffd.wake(target.start(), 2 * PAGE).unwrap();
    assert_eq!(
        sleepers.into_iter().map(Faulter::join).collect::<Vec<_>>(),
        [byte(0), 0]
    );
    // The message that nobody read has gone with its sleeper.
    expect_errno(uffd.read(), Errno::EAGAIN);
}

fn failed_fill_does_not_wake() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(1), &uffd);
    let source = Mapping::with_hole();
    let faulter = Faulter::read(&target, 0);
    faulter.wait_asleep();
    let fault = uffd.read().unwrap();
    assert_eq!(
        uffd.copy(target.page(0), source.page(1), PAGE, 0),
        Err(failed(Errno::EFAULT))
    );
    expect_errno(uffd.zeropage(target.page(0), PAGE, u64::MAX), Errno::EINVAL);
    // A sleeper that had been woken would have come back as an unread fault.
    faulter.wait_asleep();
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 1));
    assert_eq!(fault.decode().pagefault().unwrap().address, target.page(0));
    uffd.zeropage(target.page(0), PAGE, 0).unwrap();
    assert_eq!(faulter.join(), 0);
}

fn wake_of_a_range_without_sleepers() {
    let uffd = uffd_with(0);
    let target = registered(Mapping::anon(2), &uffd);
    let elsewhere = Mapping::anon(1);
    let faulter = Faulter::read(&target, 0);
    faulter.wait_asleep();
    let fault = uffd.read().unwrap();
    // WAKE looks at sleepers, not at mappings: any range that could be one will do.
    uffd.wake(target.page(1), PAGE).unwrap();
    uffd.wake(elsewhere.start(), PAGE).unwrap();
    uffd.wake(0, PAGE).unwrap();
    faulter.wait_asleep();
    assert_eq!((fdinfo(&uffd).pending, fdinfo(&uffd).total), (0, 1));
    uffd.zeropage(fault.decode().pagefault().unwrap().address, PAGE, 0)
        .unwrap();
    assert_eq!(faulter.join(), 0);
}

fn wake_ends_at_the_range() {
    let uffd = uffd_with(UFFD_FEATURE_EXACT_ADDRESS);
    let target = registered(Mapping::anon(4), &uffd);
    // The outermost bytes around and in the range, by exact address.
    let offsets = [PAGE - 1, PAGE, 3 * PAGE - 1, 3 * PAGE];
    let sleepers: Vec<_> = (1..)
        .zip(offsets)
        .map(|(count, offset)| {
            let faulter = Faulter::read(&target, offset);
            wait_queued(&uffd, count);
            faulter.wait_asleep();
            faulter
        })
        .collect();
    assert_eq!(uffd.read_many(&mut [UffdMsg::default(); 4]), Ok(4));
    uffd.wake(target.page(1), 2 * PAGE).unwrap();
    // The two that were in the range come back as unread faults.
    until(|| fdinfo(&uffd).pending == 2);
    let mut again: Vec<u64> = (0..2)
        .map(|_| uffd.read_event().unwrap().pagefault().unwrap().address)
        .collect();
    again.sort_unstable();
    assert_eq!(
        again,
        [target.start() + offsets[1], target.start() + offsets[2]]
    );
    expect_errno(uffd.read(), Errno::EAGAIN);
    uffd.zeropage(target.start(), 4 * PAGE, 0).unwrap();
    assert!(sleepers
        .into_iter()
        .map(Faulter::join)
        .all(|value| value == 0));
}
