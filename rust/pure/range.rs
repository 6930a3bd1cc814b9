// SPDX-License-Identifier: GPL-2.0-only

//! Address ranges that passed the checks.

use super::errno::Errno;

/// What an address space looks like, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Page size, a power of two.
    pub page_size: usize,
    /// First address beyond user space (`mm->task_size`).
    pub task_size: usize,
}

/// A non-empty range of user addresses that does not wrap.
///
/// # Invariants
///
/// - `start < end`, in bytes, `end` excluded.
/// - The length is a multiple of the page size for ranges that came in through a constructor
///   below; what [`Range::clamp`] and [`Range::prefix`] cut off is as aligned as their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: usize,
    end: usize,
}

impl Range {
    /// Checks a range whose start must be page aligned (`validate_range`).
    ///
    /// # Errors
    ///
    /// `EINVAL` as for [`Range::unaligned`], and for a start that is not page aligned.
    pub fn aligned(start: u64, len: u64, limits: &Limits) -> Result<Self, Errno> {
        let range = Self::unaligned(start, len, limits)?;
        if range.is_aligned(limits.page_size) {
            Ok(range)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Checks a range that may start inside a page (`validate_unaligned_range`).
    ///
    /// # Errors
    ///
    /// `EINVAL`: `len` is zero or no multiple of the page size, or the range leaves user space or
    /// wraps around.
    pub fn unaligned(start: u64, len: u64, limits: &Limits) -> Result<Self, Errno> {
        let (Ok(start), Ok(len)) = (usize::try_from(start), usize::try_from(len)) else {
            return Err(Errno::EINVAL);
        };
        if len & limits.page_size.wrapping_sub(1) != 0 {
            return Err(Errno::EINVAL);
        }
        match Self::new(start, start.wrapping_add(len)) {
            Some(range) if range.end <= limits.task_size => Ok(range),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The range from `start` up to `end`, or `None` if that is empty or backwards.
    pub const fn new(start: usize, end: usize) -> Option<Self> {
        if start < end {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// First address.
    pub const fn start(&self) -> usize {
        self.start
    }

    /// First address beyond.
    pub const fn end(&self) -> usize {
        self.end
    }

    /// Length in bytes, never zero.
    pub const fn size(&self) -> usize {
        // OVERFLOW: `start < end` by the type's invariants.
        self.end - self.start
    }

    /// Whether both ends are multiples of `size`, a power of two.
    pub const fn is_aligned(&self, size: usize) -> bool {
        (self.start | self.end) & size.wrapping_sub(1) == 0
    }

    /// The part that lies in `start..end`, such as a VMA; `None` if they do not meet.
    pub fn clamp(&self, start: usize, end: usize) -> Option<Self> {
        Self::new(self.start.max(start), self.end.min(end))
    }

    /// The first `len` bytes, at most the whole range; `None` for zero.
    pub fn prefix(&self, len: usize) -> Option<Self> {
        // OVERFLOW: at most `end`.
        Self::new(self.start, self.start + len.min(self.size()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Range};

    const LIMITS: Limits = Limits {
        page_size: 4096,
        task_size: 0x7fff_ffff_f000,
    };

    #[test]
    fn refused_ranges() {
        let top = LIMITS.task_size as u64;
        for (start, len) in [
            (0x1000, 0),
            (0x1000, 1),
            (0x1000, 0x1800),
            (top, 0x1000),
            (top - 0x1000, 0x2000),
            (u64::MAX - 0xfff, 0x1000),
            (0x1000, u64::MAX - 0xfff),
            (1 << 63, 0x1000),
            (0x2000, u64::MAX - 0x1fff),
        ] {
            assert!(
                Range::aligned(start, len, &LIMITS).is_err(),
                "{start:x}+{len:x}"
            );
            assert!(
                Range::unaligned(start, len, &LIMITS).is_err(),
                "{start:x}+{len:x}"
            );
        }
        assert!(Range::aligned(0x1001, 0x1000, &LIMITS).is_err());
    }

    #[test]
    fn accepted_ranges() {
        let top = LIMITS.task_size as u64;
        for (start, len) in [(0, 0x1000), (0, top), (top - 0x1000, 0x1000)] {
            let range = Range::aligned(start, len, &LIMITS).unwrap();
            assert_eq!((range.start() as u64, range.size() as u64), (start, len));
        }
        assert_eq!(
            Range::unaligned(0x1001, 0x1000, &LIMITS).unwrap().end(),
            0x2001
        );
    }

    #[test]
    fn cut() {
        let range = Range::new(0x2000, 0x5000).unwrap();
        assert_eq!(range.clamp(0, 0x3000), Range::new(0x2000, 0x3000));
        assert_eq!(range.clamp(0x3000, 0x9000), Range::new(0x3000, 0x5000));
        assert_eq!(range.clamp(0x5000, 0x9000), None);
        assert_eq!(range.prefix(0), None);
        assert_eq!(range.prefix(0x1000), Range::new(0x2000, 0x3000));
        assert_eq!(range.prefix(usize::MAX), Some(range));
        assert!(range.is_aligned(0x1000) && !range.is_aligned(0x2000));
    }
}
