// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_REGISTER` and `UFFDIO_UNREGISTER`: the verdict on each VMA of a range.
//!
//! Both ioctls look at every VMA before they change one. Registration asks [`parse_modes`], then
//! [`check_start`] for the first VMA and [`Registration::admit`] for each, in address order, and
//! stops at the first error. Only then does [`Registration::is_done`] say, VMA by VMA, what is left
//! to do. Unregistration does the same with [`check_start`], [`check_unregister`] and
//! [`part_to_unregister`].

use super::abi::{Features, Ioctls, Modes};
use super::errno::Errno;
use super::features::{ContextFeatures, Offer};
use super::range::Range;

/// Whether page tables of memory registered for `modes` must not be shared with other processes
/// (`uffd_disable_huge_pmd_share`): an entry means a fault here, and none there.
pub const fn forbids_shared_tables(modes: Modes) -> bool {
    modes.intersects(Modes::WP.with(Modes::RWP).with(Modes::MINOR))
}

/// Who a VMA is registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Nobody,
    /// The context that asks.
    Asker,
    /// Another context.
    Other,
}

/// What kind of memory a VMA maps, as far as userfaultfd cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory.
    Anonymous,
    /// Huge pages of this size in bytes, a power of two.
    Hugetlb(usize),
    /// A file whose VMA operations have a part for userfaultfd, which is shared memory.
    Supported,
    /// Anything else.
    Foreign,
}

/// What the verdicts need to know about one VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmaFacts {
    /// First address.
    pub start: usize,
    /// First address beyond.
    pub end: usize,
    /// Who it is registered with.
    pub owner: Owner,
    /// What it is registered for.
    pub modes: Modes,
    /// What it maps.
    pub backing: Backing,
    /// `VM_MAYWRITE` is set.
    pub may_write: bool,
    /// Some access is allowed now (`vma_is_accessible`).
    pub accessible: bool,
    /// `VM_DROPPABLE` or `VM_SHADOW_STACK` is set.
    pub excluded: bool,
    /// One of `VM_SPECIAL` is set.
    pub special: bool,
}

impl VmaFacts {
    /// Whether this kind of VMA can be registered for `modes` (`vma_can_userfault`).
    ///
    /// `wp_async` is the context's feature. With it, write protection alone is possible on any
    /// memory, because no fault of it ever waits. `accepts` asks the operations of the VMA's file,
    /// only when the answer depends on them.
    pub fn can_userfault(
        &self,
        modes: Modes,
        wp_async: bool,
        wp_marker: bool,
        accepts: impl FnOnce(Modes) -> bool,
    ) -> bool {
        let hugetlb = matches!(self.backing, Backing::Hugetlb(_));
        if self.excluded || (self.special && !hugetlb) {
            return false;
        }
        if wp_async && modes == Modes::WP {
            return true;
        }
        match self.backing {
            Backing::Foreign => false,
            Backing::Anonymous => !modes.intersects(Modes::MINOR),
            Backing::Hugetlb(_) | Backing::Supported => {
                (wp_marker || !modes.intersects(Modes::WP)) && accepts(modes)
            }
        }
    }

    /// Whether `address` may be a border of a registration in this VMA.
    fn is_border(&self, address: usize) -> bool {
        match self.backing {
            Backing::Hugetlb(size) => address & size.wrapping_sub(1) == 0,
            _ => true,
        }
    }
}

/// Reads the `mode` of `struct uffdio_register` (first part of `userfaultfd_register`).
///
/// `offer` is what the kernel at hand provides, [`Offer::on`] applied.
///
/// # Errors
///
/// `EINVAL`: no mode, a mode that is unknown or not offered, `RWP` on a context without that
/// feature, or `WP` and `RWP` together, which share one page table bit.
pub fn parse_modes(mode: u64, offer: &Offer, context: ContextFeatures) -> Result<Modes, Errno> {
    let modes = Modes::from_bits(mode);
    if modes.is_empty() || !offer.modes.contains(modes) {
        return Err(Errno::EINVAL);
    }
    if modes.intersects(Modes::RWP) && !context.contains(Features::RWP) {
        return Err(Errno::EINVAL);
    }
    if modes.contains(Modes::WP.with(Modes::RWP)) {
        return Err(Errno::EINVAL);
    }
    Ok(modes)
}

/// Checks the start of a range against the first VMA that reaches into it.
///
/// # Errors
///
/// `EINVAL`: the VMA has huge pages and the start is not aligned to them.
pub fn check_start(first: &VmaFacts, range: &Range) -> Result<(), Errno> {
    if first.is_border(range.start()) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// A registration that passed [`parse_modes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The range to register.
    pub range: Range,
    /// What to register it for.
    pub modes: Modes,
    /// The context has [`Features::WP_ASYNC`].
    pub wp_async: bool,
    /// `uffd_supports_wp_marker()`.
    pub wp_marker: bool,
}

impl Registration {
    /// Decides on one VMA of the range (the first loop of `userfaultfd_register`). `accepts` is as
    /// for [`VmaFacts::can_userfault`].
    ///
    /// # Errors
    ///
    /// In this order:
    ///
    /// - `EINVAL`: this kind of VMA cannot be registered for the modes, or `RWP` is wanted where
    ///   nothing may be accessed, so that no access could ever be given back;
    /// - `EPERM`: the memory can never be written, and a fill would write to it;
    /// - `EINVAL`: the VMA has huge pages and the range ends inside one;
    /// - `EBUSY`: it belongs to another context, or to this one with `WP` or `RWP` that would be
    ///   dropped while page table entries still carry the bit.
    pub fn admit(&self, vma: &VmaFacts, accepts: impl FnOnce(Modes) -> bool) -> Result<(), Errno> {
        if !vma.can_userfault(self.modes, self.wp_async, self.wp_marker, accepts) {
            return Err(Errno::EINVAL);
        }
        if self.modes.intersects(Modes::RWP) && !vma.accessible {
            return Err(Errno::EINVAL);
        }
        if !vma.may_write {
            return Err(Errno::EPERM);
        }
        let end = self.range.end();
        if vma.start < end && end <= vma.end && !vma.is_border(end) {
            return Err(Errno::EINVAL);
        }
        let protection = Modes::WP.with(Modes::RWP);
        match vma.owner {
            Owner::Nobody => Ok(()),
            Owner::Other => Err(Errno::EBUSY),
            Owner::Asker if vma.modes.without(self.modes).intersects(protection) => {
                Err(Errno::EBUSY)
            }
            Owner::Asker => Ok(()),
        }
    }

    /// Whether an admitted VMA is registered for all the modes already and stays untouched, with
    /// whatever modes it has besides.
    pub fn is_done(&self, vma: &VmaFacts) -> bool {
        vma.owner == Owner::Asker && vma.modes.contains(self.modes)
    }

    /// The ioctls that will work on the range, for the `ioctls` field.
    ///
    /// `hugetlb` tells whether any of its VMAs has huge pages.
    pub fn answer(&self, offer: &Offer, hugetlb: bool) -> Ioctls {
        let mut ioctls = if hugetlb {
            offer.range_ioctls.common(Ioctls::RANGE_HUGETLB)
        } else {
            offer.range_ioctls
        };
        for (mode, ioctl) in [
            (Modes::WP, Ioctls::WRITEPROTECT),
            (Modes::MINOR, Ioctls::CONTINUE),
            (Modes::RWP, Ioctls::RWPROTECT),
        ] {
            if !self.modes.intersects(mode) {
                ioctls = ioctls.without(ioctl);
            }
        }
        ioctls
    }
}

/// Decides whether an unregistration may touch a VMA (the first loop of `userfaultfd_unregister`).
/// `accepts` is as for [`VmaFacts::can_userfault`].
///
/// # Errors
///
/// `EINVAL`: the VMA belongs to another context, or is of a kind that can never be registered.
pub fn check_unregister(
    vma: &VmaFacts,
    wp_async: bool,
    wp_marker: bool,
    accepts: impl FnOnce(Modes) -> bool,
) -> Result<(), Errno> {
    if vma.owner == Owner::Other || !vma.can_userfault(vma.modes, wp_async, wp_marker, accepts) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The part of `range` that an unregistration takes out of `vma`, which [`check_unregister`] let
/// pass; `None` if the VMA is not registered (the second loop of `userfaultfd_unregister`).
///
/// Whoever sleeps in that part is woken, whatever the fault waits for: nobody else would.
pub fn part_to_unregister(vma: &VmaFacts, range: &Range) -> Option<Range> {
    match vma.owner {
        Owner::Nobody => None,
        Owner::Asker | Owner::Other => range.clamp(vma.start, vma.end),
    }
}
