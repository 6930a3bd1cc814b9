// SPDX-License-Identifier: GPL-2.0-only

//! Modes as flags of VMAs, and back.

use kernel::{
    bindings,
    mm::virt::{
        flags,
        vm_flags_t,
        VmaRef, //
    },
    prelude::*, //
};

use super::{
    flags_of,
    VmaView, //
};
use crate::pure::abi::Modes;

/// A VMA that is in no address space and has `flags`.
fn vma_with(flags: vm_flags_t) -> Result<KBox<bindings::vm_area_struct>> {
    let mut vma = KBox::init(pin_init::zeroed::<bindings::vm_area_struct>(), GFP_KERNEL)?;
    // SAFETY: The VMA is ours alone.
    unsafe {
        let flags_field = &raw mut vma.__bindgen_anon_2.flags;
        bindings::uffd_vma_flags_set_word(flags_field, flags);
    }
    Ok(vma)
}

/// What is registered with such a VMA.
fn modes_of(vma: &mut bindings::vm_area_struct) -> Modes {
    // SAFETY: The VMA is valid, and nobody else has it.
    VmaView::new(unsafe { VmaRef::from_raw(vma) }).modes()
}

#[kunit_tests(userfaultfd_vma)]
mod cases {
    use super::*;

    /// All sets of modes that this configuration has flags for.
    fn sets() -> impl Iterator<Item = Modes> {
        let known = (0..4)
            .map(|bit| Modes::from_bits(1 << bit))
            .filter(|mode| flags_of(*mode) != 0)
            .fold(Modes::NONE, Modes::with);
        (0..16)
            .map(Modes::from_bits)
            .filter(move |set| known.contains(*set))
    }

    #[test]
    fn modes_come_back_from_flags() -> Result {
        for set in sets() {
            let others = flags::READ | flags::WRITE;
            let mut vma = vma_with(flags_of(set) | others)?;
            assert_eq!(modes_of(&mut vma), set);
        }
        Ok(())
    }

    #[test]
    fn flags_of_modes_are_those_of_userfaultfd() {
        assert_eq!(flags_of(Modes::NONE), 0);
        assert_eq!(flags_of(Modes::ALL), bindings::UFFD_VM_MODES);
        let single = (0..4).map(|bit| flags_of(Modes::from_bits(1 << bit)));
        assert_eq!(single.sum::<vm_flags_t>(), bindings::UFFD_VM_MODES);
        assert!(flags_of(Modes::MISSING) != 0);
    }

    #[test]
    fn other_flags_are_no_modes() -> Result {
        let mut vma = vma_with(!bindings::UFFD_VM_MODES)?;
        assert_eq!(modes_of(&mut vma), Modes::NONE);
        Ok(())
    }
}
