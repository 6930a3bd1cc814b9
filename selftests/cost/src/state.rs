// SPDX-License-Identifier: GPL-2.0-only

//! Single calls on other memory than anonymous, or that do not fill missing pages.

use std::fs;

use uffd::abi::*;
use uffd::{Partial, Uffd};

use crate::area::{Area, Kind, PAGE};
use crate::measure::Sample;
use crate::request::{repeat_after, repeat_call, CALLS, LIGHT_CALLS};
use crate::{call, open_with, Result};

/// Huge pages in a repeat.
const HUGE_CALLS: u64 = 16;

/// A descriptor with these features that has the area in this mode.
fn registered(area: &Area, features: u64, mode: u64) -> Result<Uffd> {
    let uffd = open_with(0, features)?;
    uffd.register(area.page(0), area.len(), mode)
        .map_err(call("UFFDIO_REGISTER"))?;
    Ok(uffd)
}

/// For `map_err`: say which call failed.
fn filling(name: &str) -> impl Fn(Partial) -> String + '_ {
    move |partial| format!("{name}: {partial}")
}

/// Calls in a repeat, of which each is about this many pages.
fn calls(pages: u64) -> u64 {
    (8 * CALLS / pages).min(CALLS)
}

/// UFFDIO_COPY of `pages` pages of a file in memory.
pub fn copy_shared(repeats: usize, pages: u64) -> Result<Vec<Sample>> {
    // Few enough for little else to happen meanwhile.
    let calls = (2 * CALLS / pages).min(CALLS);
    let area = Area::of(Kind::Shared, calls * pages)?;
    let uffd = registered(&area, 0, UFFDIO_REGISTER_MODE_MISSING)?;
    copy(repeats, &uffd, &area, calls, pages * PAGE, || area.remove())
}

/// UFFDIO_COPY of one huge page.
pub fn copy_huge(repeats: usize) -> Result<Vec<Sample>> {
    let reserve = |pages: u64| {
        fs::write("/proc/sys/vm/nr_hugepages", pages.to_string())
            .map_err(|error| format!("nr_hugepages: {error}"))
    };
    reserve(HUGE_CALLS)?;
    let samples = {
        let area = Area::of(Kind::Huge, HUGE_CALLS)?;
        let uffd = registered(&area, 0, UFFDIO_REGISTER_MODE_MISSING)?;
        let len = Kind::Huge.page();
        copy(repeats, &uffd, &area, HUGE_CALLS, len, || area.discard(0))
    };
    reserve(0)?;
    samples
}

fn copy(
    repeats: usize,
    uffd: &Uffd,
    area: &Area,
    calls: u64,
    len: u64,
    before: impl Fn() -> Result<()>,
) -> Result<Vec<Sample>> {
    let source = Area::filled(len / PAGE)?;
    repeat_after(repeats, calls, before, || {
        (0..calls).try_for_each(|index| {
            uffd.copy(area.page(0) + index * len, source.page(0), len, 0)
                .map(drop)
                .map_err(filling("UFFDIO_COPY"))
        })
    })
}

/// UFFDIO_CONTINUE of one page that the file has.
pub fn map(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::of(Kind::Shared, LIGHT_CALLS)?;
    area.fill();
    let uffd = registered(&area, 0, UFFDIO_REGISTER_MODE_MINOR)?;
    let unmap = || area.discard(0);
    repeat_after(repeats, LIGHT_CALLS, unmap, || {
        (0..LIGHT_CALLS).try_for_each(|page| {
            uffd.continue_pages(area.page(page), PAGE, 0)
                .map(drop)
                .map_err(filling("UFFDIO_CONTINUE"))
        })
    })
}

/// UFFDIO_POISON of one page.
pub fn poison(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::new(LIGHT_CALLS)?;
    let uffd = registered(&area, 0, UFFDIO_REGISTER_MODE_MISSING)?;
    let clean = || area.discard(0);
    repeat_after(repeats, LIGHT_CALLS, clean, || {
        (0..LIGHT_CALLS).try_for_each(|page| {
            uffd.poison(area.page(page), PAGE, 0)
                .map(drop)
                .map_err(filling("UFFDIO_POISON"))
        })
    })
}

/// UFFDIO_MOVE of `pages` pages.
pub fn move_pages(repeats: usize, pages: u64) -> Result<Vec<Sample>> {
    let calls = calls(pages);
    let (from, to) = (Area::new(calls * pages)?, Area::new(calls * pages)?);
    let uffd = registered(&to, 0, UFFDIO_REGISTER_MODE_MISSING)?;
    let before = || {
        from.fill();
        to.discard(0)
    };
    repeat_after(repeats, calls, before, || {
        (0..calls).try_for_each(|index| {
            let page = index * pages;
            uffd.move_pages(to.page(page), from.page(page), pages * PAGE, 0)
                .map(drop)
                .map_err(filling("UFFDIO_MOVE"))
        })
    })
}

/// UFFDIO_WRITEPROTECT of `pages` pages that are there, on and off.
pub fn protect(repeats: usize, pages: u64) -> Result<Vec<Sample>> {
    let area = Area::filled(pages)?;
    let uffd = registered(&area, 0, UFFDIO_REGISTER_MODE_WP)?;
    repeat_call(repeats, calls(pages), || {
        [UFFDIO_WRITEPROTECT_MODE_WP, 0]
            .iter()
            .try_for_each(|&mode| {
                uffd.writeprotect(area.page(0), area.len(), mode)
                    .map_err(call("UFFDIO_WRITEPROTECT"))
            })
    })
}

/// UFFDIO_RWPROTECT of one page that is there, on and off.
pub fn protect_any(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::filled(1)?;
    let uffd = registered(&area, UFFD_FEATURE_RWP, UFFDIO_REGISTER_MODE_RWP)?;
    repeat_call(repeats, CALLS, || {
        [UFFDIO_RWPROTECT_MODE_RWP, 0].iter().try_for_each(|&mode| {
            uffd.rwprotect(area.page(0), PAGE, mode)
                .map_err(call("UFFDIO_RWPROTECT"))
        })
    })
}

/// A write to a protected page, which the kernel itself lets through.
pub fn write_through(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::filled(LIGHT_CALLS)?;
    let uffd = registered(&area, UFFD_FEATURE_WP_ASYNC, UFFDIO_REGISTER_MODE_WP)?;
    let before = || {
        uffd.writeprotect(area.page(0), area.len(), UFFDIO_WRITEPROTECT_MODE_WP)
            .map_err(call("UFFDIO_WRITEPROTECT"))
    };
    repeat_after(repeats, LIGHT_CALLS, before, || {
        area.fill();
        Ok(())
    })
}

/// A read of a page protected against any access, which the kernel itself lets through.
pub fn read_through(repeats: usize) -> Result<Vec<Sample>> {
    let area = Area::filled(LIGHT_CALLS)?;
    let features = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC;
    let uffd = registered(&area, features, UFFDIO_REGISTER_MODE_RWP)?;
    let before = || {
        uffd.rwprotect(area.page(0), area.len(), UFFDIO_RWPROTECT_MODE_RWP)
            .map_err(call("UFFDIO_RWPROTECT"))
    };
    repeat_after(repeats, LIGHT_CALLS, before, || {
        area.visit();
        Ok(())
    })
}
