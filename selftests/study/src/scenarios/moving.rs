// SPDX-License-Identifier: GPL-2.0-only

//! Pages that move.

use crate::stage::{expect_fault, numbered, sleeper, step};
use uffd_harness::mem::Mapping;
use uffd_harness::pagemap::entries;
use uffd_harness::swap::{page_out, SwapArea};
use uffd_harness::{registered, uffd_with};

pub fn move_swap() {
    const PAGES: u64 = 4;
    let _area = SwapArea::new();
    let (uffd, source) = (uffd_with(0), numbered(PAGES));
    let target = registered(Mapping::lone(PAGES), &uffd);
    step("the source goes to swap");
    page_out(&source, 0, source.len());
    step("threads wait for its pages elsewhere");
    let sleepers: Vec<_> = (0..PAGES)
        .map(|page| sleeper(&uffd, &format!("sleeper-{}", page + 1), &target, page))
        .collect();
    (0..PAGES).for_each(|page| expect_fault(&uffd, target.page(page)));
    step("MOVE takes the places in swap there; the threads bring the pages back");
    let moved = uffd.move_pages(target.start(), source.start(), source.len(), 0);
    assert_eq!(moved, Ok(source.len()));
    for (value, sleeper) in (1..).zip(sleepers) {
        assert_eq!(sleeper.join(), value);
    }
    assert!(entries(source.start(), PAGES)
        .iter()
        .all(|entry| entry.is_hole()));
}
