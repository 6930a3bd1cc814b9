// SPDX-License-Identifier: GPL-2.0-only

//! `UFFDIO_API`: what this kernel can do, what a context asked for, what it gets.

use super::abi::{Features, Ioctls, Modes, UFFD_API};
use super::errno::Errno;

/// What configuration and hardware allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The architecture has minor faults (`CONFIG_HAVE_ARCH_USERFAULTFD_MINOR`).
    pub minor: bool,
    /// Page table entries have a usable uffd bit (`pgtable_supports_uffd()`).
    pub pte_bit: bool,
    /// Page table markers can carry write protection (`uffd_supports_wp_marker()`).
    pub wp_marker: bool,
    /// VMAs have a read-write-protect flag (`VM_UFFD_RWP != VM_NONE`).
    pub rwp: bool,
}

impl Support {
    /// The features of the ABI that this kernel can have (`uffd_api_available_features`).
    pub const fn features(self) -> Features {
        let mut all = Features::ALL;
        if !self.minor {
            all = all.without(Features::MINOR_HUGETLBFS.with(Features::MINOR_SHMEM));
        }
        if !self.pte_bit {
            all = all.without(Features::PAGEFAULT_FLAG_WP);
        }
        if !self.wp_marker {
            all = all
                .without(Features::WP_HUGETLBFS_SHMEM)
                .without(Features::WP_UNPOPULATED)
                .without(Features::WP_ASYNC);
        }
        if !self.has_rwp() {
            all = all.without(Features::RWP.with(Features::RWP_ASYNC));
        }
        all
    }

    /// The registration modes that this kernel can have, leaving features aside.
    pub const fn modes(self) -> Modes {
        let mut all = Modes::ALL;
        if !self.minor {
            all = all.without(Modes::MINOR);
        }
        if !self.pte_bit {
            all = all.without(Modes::WP);
        }
        if !self.has_rwp() {
            all = all.without(Modes::RWP);
        }
        all
    }

    const fn has_rwp(self) -> bool {
        self.rwp && self.pte_bit
    }
}

/// What the code behind the ioctls provides, whatever the kernel could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Features that work.
    pub features: Features,
    /// Registration modes that work.
    pub modes: Modes,
    /// Ioctls that work on a context.
    pub context_ioctls: Ioctls,
    /// Ioctls that work on some registered range.
    pub range_ioctls: Ioctls,
}

impl Offer {
    /// All of the ABI.
    pub const COMPLETE: Self = Self {
        features: Features::ALL,
        modes: Modes::ALL,
        context_ioctls: Ioctls::CONTEXT,
        range_ioctls: Ioctls::RANGE,
    };

    /// What is left of the offer on a kernel with this support.
    pub const fn on(self, support: Support) -> Self {
        Self {
            features: self.features.common(support.features()),
            modes: self.modes.common(support.modes()),
            ..self
        }
    }
}

/// The word a context keeps: its features, and whether `UFFDIO_API` has succeeded.
///
/// Zero until then. The same word is what fdinfo prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextFeatures(u32);

impl ContextFeatures {
    /// Set once `UFFDIO_API` has succeeded (`UFFD_FEATURE_INITIALIZED`).
    const INITIALIZED: u32 = 1 << 31;

    /// The word before `UFFDIO_API`.
    pub const UNINITIALIZED: Self = Self(0);

    /// The word of an initialized context with these features (`uffd_ctx_features`).
    const fn initialized(features: Features) -> Self {
        Self(features.bits() as u32 | Self::INITIALIZED)
    }

    /// Takes a word that [`Self::to_word`] gave.
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word to store and to print.
    pub const fn to_word(self) -> u32 {
        self.0
    }

    /// Whether `UFFDIO_API` has succeeded (`userfaultfd_is_initialized`).
    pub const fn is_initialized(self) -> bool {
        self.0 & Self::INITIALIZED != 0
    }

    /// Whether the context has all of `features`.
    pub const fn contains(self, features: Features) -> bool {
        self.features().contains(features)
    }

    /// The features alone.
    pub const fn features(self) -> Features {
        Features::from_bits((self.0 & !Self::INITIALIZED) as u64)
    }
}

/// An `UFFDIO_SET_MODE` call that may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toggle {
    enable: Features,
    disable: Features,
}

impl Toggle {
    /// What can be switched after `UFFDIO_API` (`UFFD_FEATURE_TOGGLEABLE`).
    const TOGGLEABLE: Features = Features::RWP_ASYNC;

    /// Decides an `UFFDIO_SET_MODE` call on `context` (the checks in `userfaultfd_set_mode`).
    ///
    /// `offer` is what the kernel at hand provides, [`Offer::on`] applied.
    ///
    /// # Errors
    ///
    /// `EINVAL`: a feature is to be both on and off, or cannot be switched here, or `RWP_ASYNC` is
    /// to be on in a context without `RWP`.
    pub fn check(
        enable: Features,
        disable: Features,
        offer: &Offer,
        context: ContextFeatures,
    ) -> Result<Self, Errno> {
        let switchable = offer.features.common(Self::TOGGLEABLE);
        if enable.intersects(disable)
            || !switchable.contains(enable.with(disable))
            || (enable.intersects(Features::RWP_ASYNC) && !context.contains(Features::RWP))
        {
            return Err(Errno::EINVAL);
        }
        Ok(Self { enable, disable })
    }

    /// The word to store instead of `context`. What the check relied on cannot have changed since,
    /// because it is not switchable.
    pub const fn apply(self, context: ContextFeatures) -> ContextFeatures {
        let features = context.features().with(self.enable).without(self.disable);
        ContextFeatures::initialized(features)
    }

    /// Whether faults that sleep would now resolve without a message.
    pub const fn ends_sleep(self) -> bool {
        self.enable.intersects(Features::RWP_ASYNC)
    }
}

/// An `UFFDIO_API` call that may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The three words of `struct uffdio_api` to copy out: `api`, `features`, `ioctls`.
    pub answer: [u64; 3],
    /// What to store in the context, once the answer has been copied out and if it still holds
    /// [`ContextFeatures::UNINITIALIZED`].
    pub context: ContextFeatures,
}

/// Decides an `UFFDIO_API` call (`userfaultfd_api`).
///
/// `offer` is what the kernel at hand provides, [`Offer::on`] applied. `may_ptrace` asks for
/// `CAP_SYS_PTRACE`; it is called only for a request that needs it, because asking leaves traces.
///
/// # Errors
///
/// Whoever gets an error zeroes the user's struct first. In this order:
///
/// - `EINVAL`: `api` is not [`UFFD_API`];
/// - `EPERM`: `EVENT_FORK` without the capability;
/// - `EINVAL`: `RWP_ASYNC` without `RWP`, or a feature that is not offered.
pub fn negotiate(
    api: u64,
    requested: Features,
    offer: &Offer,
    may_ptrace: impl FnOnce() -> bool,
) -> Result<Agreement, Errno> {
    if api != UFFD_API {
        return Err(Errno::EINVAL);
    }
    if requested.intersects(Features::EVENT_FORK) && !may_ptrace() {
        return Err(Errno::EPERM);
    }
    let mut granted = requested;
    if granted.intersects(Features::WP_ASYNC) {
        granted = granted.with(Features::WP_UNPOPULATED);
    }
    if granted.intersects(Features::RWP_ASYNC) && !granted.intersects(Features::RWP) {
        return Err(Errno::EINVAL);
    }
    if !offer.features.contains(granted) {
        return Err(Errno::EINVAL);
    }
    Ok(Agreement {
        answer: [api, offer.features.bits(), offer.context_ioctls.bits()],
        context: ContextFeatures::initialized(granted),
    })
}

#[cfg(test)]
mod tests {
    use super::super::abi::{Features, Ioctls, Modes, UFFD_API};
    use super::super::errno::Errno;
    use super::{negotiate, ContextFeatures, Offer, Support, Toggle};

    const ALL: Support = Support {
        minor: true,
        pte_bit: true,
        wp_marker: true,
        rwp: true,
    };

    #[test]
    fn capability_is_asked_for_only_when_needed() {
        let offer = Offer::COMPLETE.on(ALL);
        let ask = || panic!("asked for the capability");
        assert!(negotiate(UFFD_API, Features::NONE, &offer, ask).is_ok());
        assert_eq!(
            negotiate(0, Features::EVENT_FORK, &offer, ask),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn missing_capability_comes_before_unknown_bits() {
        let offer = Offer::COMPLETE.on(ALL);
        let unknown = Features::from_bits(1 << 19);
        let forking = unknown.with(Features::EVENT_FORK);
        assert_eq!(
            negotiate(UFFD_API, forking, &offer, || false),
            Err(Errno::EPERM)
        );
        assert_eq!(
            negotiate(UFFD_API, forking, &offer, || true),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            negotiate(UFFD_API, Features::from_bits(1 << 31), &offer, || true),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn async_modes_imply_and_require() {
        let offer = Offer::COMPLETE.on(ALL);
        let agreed = negotiate(UFFD_API, Features::WP_ASYNC, &offer, || false).unwrap();
        assert_eq!(agreed.context.to_word(), 0x8000_a000);
        assert!(negotiate(UFFD_API, Features::RWP_ASYNC, &offer, || true).is_err());
        let both = Features::RWP.with(Features::RWP_ASYNC);
        assert!(negotiate(UFFD_API, both, &offer, || true).is_ok());
    }

    #[test]
    fn implied_feature_must_be_offered_too() {
        let mut offer = Offer::COMPLETE;
        offer.features = offer.features.without(Features::WP_UNPOPULATED);
        assert_eq!(
            negotiate(UFFD_API, Features::WP_ASYNC, &offer, || true),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn answer_lists_the_offer_not_the_request() {
        let offer = Offer {
            features: Features::SIGBUS
                .with(Features::THREAD_ID)
                .with(Features::EXACT_ADDRESS),
            context_ioctls: Ioctls::CONTEXT.without(Ioctls::SET_MODE),
            ..Offer::COMPLETE
        };
        let agreed = negotiate(UFFD_API, Features::THREAD_ID, &offer, || false).unwrap();
        assert_eq!(agreed.answer, [0xAA, 0x980, 0x8000_0000_0000_0003]);
        assert_eq!(agreed.context.to_word(), 0x8000_0100);
        assert!(agreed.context.is_initialized());
        assert!(agreed.context.contains(Features::THREAD_ID));
        assert!(!agreed.context.contains(Features::SIGBUS));
        assert_eq!(agreed.context.features(), Features::THREAD_ID);
    }

    #[test]
    fn toggling_leaves_the_other_features_alone() {
        let offer = Offer::COMPLETE.on(ALL);
        let asked = Features::RWP.with(Features::THREAD_ID);
        let before = negotiate(UFFD_API, asked, &offer, || true).unwrap().context;
        let (on, off) = (Features::RWP_ASYNC, Features::NONE);
        let enable = Toggle::check(on, off, &offer, before).unwrap();
        let between = enable.apply(before);
        assert_eq!(between.features(), asked.with(Features::RWP_ASYNC));
        assert!(between.is_initialized() && enable.ends_sleep());
        let disable = Toggle::check(off, on, &offer, between).unwrap();
        assert_eq!(disable.apply(between), before);
        assert!(!disable.ends_sleep());
    }

    #[test]
    fn fresh_context_has_nothing() {
        let fresh = ContextFeatures::from_word(ContextFeatures::UNINITIALIZED.to_word());
        assert!(!fresh.is_initialized());
        assert_eq!(fresh.features(), Features::NONE);
    }

    #[test]
    fn support_takes_features_away() {
        let none = Support {
            minor: false,
            pte_bit: false,
            wp_marker: false,
            rwp: true,
        };
        assert_eq!(ALL.features(), Features::ALL);
        assert_eq!(ALL.modes(), Modes::ALL);
        assert_eq!(none.features().bits(), 0x1_49fe);
        assert_eq!(none.modes(), Modes::MISSING);
        let offer = Offer::COMPLETE.on(none);
        assert_eq!(offer.features, none.features());
        assert_eq!(offer.range_ioctls, Ioctls::RANGE);
    }
}
