// SPDX-License-Identifier: GPL-2.0-only

//! Single calls, and what the others are compared with.

use std::arch::asm;

use uffd::abi::UFFDIO_REGISTER_MODE_MISSING;
use uffd::Uffd;

use crate::area::{Area, PAGE};
use crate::measure::{rest, Sample};
use crate::{call, open, Result};

/// Calls in a repeat, unless they do a lot each.
pub const CALLS: u64 = 2000;
/// The same where each is done in little more than a thousand instructions. An end of a grace period,
/// which falls into one repeat and not into the next, takes ten thousand.
pub const LIGHT_CALLS: u64 = 8000;
/// Turns of the loop that gauges the clock.
const TURNS: u64 = 1_000_000;

/// Takes samples with an area that is put back into its first state before each.
pub fn repeat(
    repeats: usize,
    ops: u64,
    area: &Area,
    work: impl Fn() -> Result<()>,
) -> Result<Vec<Sample>> {
    repeat_after(repeats, ops, || area.discard(0), work)
}

/// The same with anything that is needed before each, the work of which does not count.
pub fn repeat_after(
    repeats: usize,
    ops: u64,
    before: impl Fn() -> Result<()>,
    work: impl Fn() -> Result<()>,
) -> Result<Vec<Sample>> {
    before()?;
    work()?;
    (0..repeats)
        .map(|_| {
            before()?;
            rest();
            Sample::take(ops, &work)
        })
        .collect()
}

/// The same with a call that leaves everything as it was.
pub fn repeat_call(
    repeats: usize,
    calls: u64,
    work: impl Fn() -> Result<()>,
) -> Result<Vec<Sample>> {
    repeat_after(
        repeats,
        calls,
        || Ok(()),
        || (0..calls).try_for_each(|_| work()),
    )
}

/// A descriptor, and registered pages that are not there.
fn registered(pages: u64) -> Result<(Uffd, Area)> {
    let uffd = open(0)?;
    let area = Area::new(pages)?;
    uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
        .map_err(call("UFFDIO_REGISTER"))?;
    Ok((uffd, area))
}

/// UFFDIO_COPY of `pages` pages, at which nobody waits.
pub fn copy(repeats: usize, pages: u64) -> Result<Vec<Sample>> {
    let calls = (8 * CALLS / pages).min(CALLS);
    let (uffd, area) = registered(calls * pages)?;
    let source = Area::filled(pages)?;
    repeat(repeats, calls, &area, || {
        (0..calls).try_for_each(|index| {
            uffd.copy(area.page(index * pages), source.page(0), pages * PAGE, 0)
                .map(drop)
                .map_err(|partial| format!("UFFDIO_COPY: {partial}"))
        })
    })
}

/// UFFDIO_ZEROPAGE of one page, at which nobody waits.
pub fn zeropage(repeats: usize) -> Result<Vec<Sample>> {
    let (uffd, area) = registered(LIGHT_CALLS)?;
    repeat(repeats, LIGHT_CALLS, &area, || {
        (0..LIGHT_CALLS).try_for_each(|page| {
            uffd.zeropage(area.page(page), PAGE, 0)
                .map(drop)
                .map_err(|partial| format!("UFFDIO_ZEROPAGE: {partial}"))
        })
    })
}

/// UFFDIO_WAKE of one page, at which nobody waits.
pub fn wake(repeats: usize) -> Result<Vec<Sample>> {
    let (uffd, area) = registered(1)?;
    repeat(repeats, LIGHT_CALLS, &area, || {
        (0..LIGHT_CALLS)
            .try_for_each(|_| uffd.wake(area.page(0), PAGE).map_err(call("UFFDIO_WAKE")))
    })
}

/// UFFDIO_REGISTER and UFFDIO_UNREGISTER of a whole mapping.
pub fn register(repeats: usize) -> Result<Vec<Sample>> {
    register_area(repeats, CALLS, &Area::new(16)?)
}

/// UFFDIO_REGISTER and UFFDIO_UNREGISTER of an area.
pub fn register_area(repeats: usize, calls: u64, area: &Area) -> Result<Vec<Sample>> {
    let uffd = open(0)?;
    repeat_call(repeats, calls, || {
        uffd.register(area.page(0), area.len(), UFFDIO_REGISTER_MODE_MISSING)
            .map_err(call("UFFDIO_REGISTER"))?;
        uffd.unregister(area.page(0), area.len())
            .map_err(call("UFFDIO_UNREGISTER"))
    })
}

/// A fault that the kernel resolves by itself, in memory that is not registered.
pub fn plain_fault(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::new(CALLS)?;
    repeat(repeats, CALLS, &area, || {
        (0..CALLS).for_each(|page| area.write(page));
        Ok(())
    })
}

/// One instruction: tells whether a nanosecond of the guest's clock is one.
pub fn clock(repeats: usize) -> Result<Vec<Sample>> {
    (0..repeats)
        .map(|_| {
            Sample::take(2 * TURNS, || {
                // SAFETY: two instructions that count a register down to zero.
                unsafe {
                    asm!("2: dec {0}", "jnz 2b", inout(reg) TURNS => _, options(nomem, nostack));
                }
                Ok(())
            })
        })
        .collect()
}
