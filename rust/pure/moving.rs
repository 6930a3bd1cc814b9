// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_MOVE`: between which VMAs pages may move, how far one step reaches, what it led to.

use super::errno::Errno;
use super::fill::{Fill, Report, Stop};
use super::range::Range;
use super::register::Owner;

/// What the verdict wants to know of either VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmaFacts {
    /// First address beyond.
    pub end: usize,
    /// The permissions: read, write, execute.
    pub access: u64,
    /// The protection bits of its page table entries.
    pub prot: u64,
    /// It may be written to.
    pub writable: bool,
    /// Its pages are locked in memory (`VM_LOCKED`).
    pub locked: bool,
    /// It is shared.
    pub shared: bool,
    /// It holds what is no ordinary page: device memory, huge pages of hugetlbfs, a shadow stack.
    pub unmovable: bool,
    /// Its memory has no file behind it.
    pub anonymous: bool,
}

impl VmaFacts {
    /// What each of the two has to be, whatever the other one is.
    const fn can_take_part(&self, range: &Range) -> bool {
        !self.shared
            && range.end() <= self.end
            && self.writable
            && !self.unmovable
            && self.anonymous
    }
}

/// Decides whether pages may move from `src_range`, which starts in the VMA `src`, to `dst_range`,
/// which starts in `dst` (`validate_move_areas` and what precedes it).
///
/// `owner` is who the destination is registered with. The source need not be registered at all.
/// A page keeps its place in LRU lists and is mapped with the protection of the destination, so
/// both VMAs have to agree on locking and protection.
///
/// # Errors
///
/// `EINVAL`: they may not.
pub fn may_move(
    src: &VmaFacts,
    src_range: &Range,
    dst: &VmaFacts,
    dst_range: &Range,
    owner: Owner,
) -> Result<(), Errno> {
    let alike = src.access == dst.access && src.prot == dst.prot && src.locked == dst.locked;
    if src.can_take_part(src_range)
        && dst.can_take_part(dst_range)
        && alike
        && owner == Owner::Asker
    {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// What is left to move, page aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where the next page is.
    pub src: usize,
    /// Where it goes.
    pub dst: usize,
    /// Bytes from there to the end, never zero.
    pub len: usize,
}

impl Part {
    /// Bytes that one page table of `table_size` bytes holds on either side, at most the rest.
    pub fn within_tables(&self, table_size: usize) -> usize {
        let left = |address: usize| table_size - (address & (table_size - 1));
        self.len.min(left(self.src)).min(left(self.dst))
    }

    /// Whether all of a huge page of `size` bytes is to move, and fits (`move_splits_huge_pmd`,
    /// the other way round).
    pub const fn is_whole(&self, size: usize) -> bool {
        (self.src | self.dst) & (size - 1) == 0 && self.len >= size
    }
}

/// What one step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// As many bytes are in their new place.
    Moved(usize),
    /// There was nothing in as many bytes of the source, and that is allowed.
    Hole(usize),
    /// Something changed underfoot, or was waited for: look again.
    Retry,
    /// It cannot go on.
    Stop(Errno),
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    src: usize,
    fill: Fill,
}

impl Move {
    /// Starts at the beginning of both ranges, which have the same size.
    pub const fn new(src: &Range, dst: Range) -> Self {
        Self {
            src: src.start(),
            fill: Fill::new(dst),
        }
    }

    /// What is left to move; `None` when all has moved.
    pub fn rest(&self) -> Option<Part> {
        self.fill.rest().map(|dst| Part {
            // OVERFLOW: inside the source, as `done` is at most its size.
            src: self.src + self.fill.done(),
            dst: dst.start(),
            len: dst.size(),
        })
    }

    /// Takes note of a step. `killed` tells whether the caller has a fatal signal pending, which
    /// is what ends a sequence of steps that are to be retried.
    ///
    /// # Errors
    ///
    /// What ends the move: the error of the step; `EINTR` if there is none and the caller was
    /// killed. What the step moved counts in either case.
    pub fn after(&mut self, step: Step, killed: bool) -> Result<(), Errno> {
        match step {
            Step::Moved(bytes) | Step::Hole(bytes) => self.fill.advance(bytes),
            Step::Retry => (),
            Step::Stop(errno) => return Err(errno),
        }
        if killed {
            Err(Errno::EINTR)
        } else {
            Ok(())
        }
    }

    /// Ends the move, which `stop` ended early, if it did (return value of `move_pages`).
    pub fn finish(self, stop: Option<Stop>) -> Report {
        self.fill.finish(stop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::errno::Errno;
    use super::super::range::Range;
    use super::super::register::Owner;
    use super::{may_move, Move, Part, Step, VmaFacts};

    const PAGE: usize = 0x1000;
    const HUGE: usize = 0x20_0000;

    const GOOD: VmaFacts = VmaFacts {
        end: 0x8000,
        access: 3,
        prot: 0x25,
        writable: true,
        locked: false,
        shared: false,
        unmovable: false,
        anonymous: true,
    };

    fn range(start: usize, end: usize) -> Range {
        Range::new(start, end).unwrap()
    }

    /// The verdict on `range` with the source changed, with the destination changed, and with both.
    fn verdicts(end: usize, change: impl Fn(&mut VmaFacts)) -> [bool; 3] {
        let range = range(0x4000, end);
        let mut bad = GOOD;
        change(&mut bad);
        [(bad, GOOD), (GOOD, bad), (bad, bad)]
            .map(|(src, dst)| may_move(&src, &range, &dst, &range, Owner::Asker).is_ok())
    }

    #[test]
    fn either_vma_can_refuse() {
        assert_eq!(verdicts(0x8000, |_| ()), [true; 3]);
        assert_eq!(verdicts(0x9000, |_| ()), [false; 3]);
        assert_eq!(verdicts(0x8000, |vma| vma.end = 0x7000), [false; 3]);
        assert_eq!(verdicts(0x8000, |vma| vma.shared = true), [false; 3]);
        assert_eq!(verdicts(0x8000, |vma| vma.unmovable = true), [false; 3]);
        assert_eq!(verdicts(0x8000, |vma| vma.anonymous = false), [false; 3]);
        assert_eq!(verdicts(0x8000, |vma| vma.writable = false), [false; 3]);
    }

    #[test]
    fn both_vmas_have_to_agree() {
        let only_alike = [false, false, true];
        assert_eq!(verdicts(0x8000, |vma| vma.access = 7), only_alike);
        assert_eq!(verdicts(0x8000, |vma| vma.prot = 0), only_alike);
        assert_eq!(verdicts(0x8000, |vma| vma.locked = true), only_alike);
    }

    #[test]
    fn destination_is_the_askers() {
        let range = range(0x4000, 0x8000);
        for (owner, want) in [
            (Owner::Asker, Ok(())),
            (Owner::Other, Err(Errno::EINVAL)),
            (Owner::Nobody, Err(Errno::EINVAL)),
        ] {
            assert_eq!(may_move(&GOOD, &range, &GOOD, &range, owner), want);
        }
    }

    #[test]
    fn a_step_stays_in_both_tables() {
        let part = |src, dst, len| Part { src, dst, len }.within_tables(HUGE);
        assert_eq!(part(HUGE, 3 * HUGE, 5 * HUGE), HUGE);
        assert_eq!(part(HUGE - PAGE, 3 * HUGE, HUGE), PAGE);
        assert_eq!(part(HUGE, 3 * HUGE - PAGE, HUGE), PAGE);
        assert_eq!(part(HUGE, 3 * HUGE, 7 * PAGE), 7 * PAGE);
    }

    #[test]
    fn a_whole_huge_page_is_aligned_twice() {
        let whole = |src, dst, len| Part { src, dst, len }.is_whole(HUGE);
        assert!(whole(HUGE, 3 * HUGE, HUGE));
        assert!(whole(HUGE, 3 * HUGE, 2 * HUGE + PAGE));
        assert!(!whole(HUGE, 3 * HUGE, HUGE - PAGE));
        assert!(!whole(HUGE + PAGE, 3 * HUGE, HUGE));
        assert!(!whole(HUGE, 3 * HUGE + PAGE, HUGE));
    }

    #[test]
    fn a_signal_overrides_no_error_and_hides_no_page() {
        let start = Move::new(&range(0x10000, 0x14000), range(0x4000, 0x8000));
        for step in [Step::Moved(PAGE), Step::Hole(PAGE), Step::Retry] {
            let mut progress = start;
            assert_eq!(progress.after(step, true), Err(Errno::EINTR));
            let moved = if step == Step::Retry { 0 } else { PAGE };
            assert_eq!(progress.rest().unwrap().src, 0x10000 + moved);
        }
        let mut progress = start;
        assert_eq!(
            progress.after(Step::Stop(Errno::EBUSY), true),
            Err(Errno::EBUSY)
        );
        assert_eq!(progress, start);
    }

    #[test]
    fn an_error_shows_only_if_nothing_moved() {
        let start = Move::new(&range(0x10000, 0x14000), range(0x4000, 0x8000));
        assert_eq!(start.finish(Some(Errno::ENOENT.into())).field, -2);
        let mut progress = start;
        progress.after(Step::Hole(PAGE), false).unwrap();
        progress.after(Step::Moved(2 * PAGE), false).unwrap();
        assert_eq!(
            progress.finish(Some(Errno::ENOENT.into())).field,
            3 * PAGE as i64
        );
    }
}
