// SPDX-License-Identifier: GPL-2.0-only

//! What entries say to a fault.

use kernel::{
    bindings,
    mm::virt::{
        flags,
        vm_flags_t, //
    },
    prelude::*, //
};

use super::Pte;
use crate::pure::fault::Entry;

const ADDRESS: usize = 0x10_0000;
const READ_WRITE: vm_flags_t = flags::READ | flags::WRITE;

/// The entry of a page that is mapped with the protection of a VMA with `flags`.
fn page(flags: vm_flags_t) -> bindings::pte_t {
    // SAFETY: Work on values.
    unsafe { bindings::uffd_zero_page_pte(ADDRESS, bindings::vm_get_page_prot(flags)) }
}

/// The same under the protection of userfaultfd.
#[cfg(CONFIG_ARCH_HAS_PTE_PROTNONE)]
fn marked(pte: bindings::pte_t) -> bindings::pte_t {
    // SAFETY: Works on a value.
    unsafe { bindings::uffd_pte_mkuffd(pte) }
}

#[kunit_tests(userfaultfd_pgtable)]
mod cases {
    use super::*;

    fn present(pte: bindings::pte_t) -> Option<(bool, bool)> {
        match Pte(pte).entry() {
            Entry::Present { write, protected } => Some((write, protected)),
            _ => None,
        }
    }

    #[test]
    fn nothing_is_none() {
        let pte = Pte(bindings::pte_t { pte: 0 });
        assert!(pte.is_none() && !pte.is_uffd_marker());
        assert!(matches!(pte.entry(), Entry::None));
    }

    #[test]
    fn pages_are_as_writable_as_they_are_mapped() {
        assert!(!Pte(page(flags::READ)).is_none());
        assert_eq!(present(page(flags::READ)), Some((false, false)));
        // Private memory is copied at the first write, shared memory is not.
        assert_eq!(present(page(READ_WRITE)), Some((false, false)));
        assert_eq!(
            present(page(READ_WRITE | flags::SHARED)),
            Some((true, false))
        );
    }

    #[test]
    #[cfg(CONFIG_ARCH_HAS_PTE_PROTNONE)]
    fn protection_takes_both_bits() {
        // Inaccessible for another reason, as with PROT_NONE or for NUMA balancing.
        assert_eq!(present(page(0)), Some((false, false)));
        // Write-protected.
        assert_eq!(present(marked(page(flags::READ))), Some((false, false)));
        assert_eq!(present(marked(page(0))), Some((false, true)));
    }

    #[test]
    fn poison_can_be_replaced_and_is_not_waited_for() {
        // SAFETY: Makes a value.
        let pte = Pte(unsafe { bindings::uffd_poison_marker() });
        assert!(!pte.is_none() && pte.is_uffd_marker());
        assert!(matches!(pte.entry(), Entry::NotPresent));
    }

    #[test]
    #[cfg(CONFIG_X86_64)]
    fn what_is_swapped_out_is_not_present() {
        // The type of the swap area stands in the highest bits.
        let pte = Pte(bindings::pte_t { pte: 1 << 60 });
        assert!(!pte.is_none() && !pte.is_uffd_marker());
        assert!(matches!(pte.entry(), Entry::NotPresent));
    }
}
