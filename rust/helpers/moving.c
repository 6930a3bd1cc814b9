// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for moving pages. Included by uffd.c.
 */
#include <linux/huge_mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/swapops.h>

#include "../../../swap.h"

#ifdef CONFIG_PER_VMA_LOCK
__rust_helper bool rust_helper_uffd_vma_start_read_locked_nested(struct vm_area_struct *vma)
{
	return vma_start_read_locked_nested(vma, SINGLE_DEPTH_NESTING);
}
#endif

__rust_helper u64 rust_helper_uffd_pgprot_val(pgprot_t prot)
{
	return pgprot_val(prot);
}

__rust_helper void rust_helper_uffd_notify_clear_init(struct mmu_notifier_range *range,
						      struct mm_struct *mm, unsigned long start,
						      unsigned long end)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, mm, start, end);
}

__rust_helper void rust_helper_uffd_notify_start(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_start(range);
}

__rust_helper void rust_helper_uffd_notify_end(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_end(range);
}

/* Caches and batches. */

__rust_helper void rust_helper_uffd_flush_cache_range(struct vm_area_struct *vma,
						      unsigned long start, unsigned long end)
{
	flush_cache_range(vma, start, end);
}

__rust_helper void rust_helper_uffd_lazy_mmu_mode_enable(void)
{
	lazy_mmu_mode_enable();
}

__rust_helper void rust_helper_uffd_lazy_mmu_mode_disable(void)
{
	lazy_mmu_mode_disable();
}

/* Entries. */

__rust_helper bool rust_helper_uffd_pmd_same(pmd_t a, pmd_t b)
{
	return pmd_same(a, b);
}

__rust_helper bool rust_helper_uffd_pte_is_zero_page(pte_t pte)
{
	return is_zero_pfn(pte_pfn(pte));
}

__rust_helper bool rust_helper_uffd_pte_dirty(pte_t pte)
{
	return pte_dirty(pte);
}

__rust_helper bool rust_helper_uffd_supports_soft_dirty(void)
{
	return pgtable_supports_soft_dirty();
}

__rust_helper pte_t rust_helper_uffd_pte_mksoft_dirty(pte_t pte)
{
	return pte_mksoft_dirty(pte);
}

__rust_helper pte_t rust_helper_uffd_pte_mknone(pte_t pte)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_PTE_PROTNONE) ? pte_modify(pte, PAGE_NONE) : pte;
}

__rust_helper pte_t rust_helper_uffd_pte_swp_mksoft_dirty(pte_t pte)
{
	return pte_swp_mksoft_dirty(pte);
}

__rust_helper pte_t rust_helper_uffd_pte_swp_mkuffd(pte_t pte)
{
	return pte_swp_mkuffd(pte);
}

__rust_helper pte_t rust_helper_uffd_pte_swp_clear_uffd(pte_t pte)
{
	return pte_swp_clear_uffd(pte);
}

__rust_helper bool rust_helper_uffd_pte_swp_exclusive(pte_t pte)
{
	return pte_swp_exclusive(pte);
}

__rust_helper pte_t rust_helper_uffd_ptep_get_and_clear(struct mm_struct *mm,
							unsigned long address, pte_t *ptep)
{
	return ptep_get_and_clear(mm, address, ptep);
}

__rust_helper void rust_helper_uffd_ptep_clear_flush(struct vm_area_struct *vma,
						     unsigned long address, pte_t *ptep)
{
	ptep_clear_flush(vma, address, ptep);
}

__rust_helper softleaf_t rust_helper_uffd_softleaf_from_pte(pte_t pte)
{
	return softleaf_from_pte(pte);
}

__rust_helper bool rust_helper_uffd_softleaf_is_migration(softleaf_t entry)
{
	return softleaf_is_migration(entry);
}

__rust_helper bool rust_helper_uffd_softleaf_is_swap(softleaf_t entry)
{
	return softleaf_is_swap(entry);
}

__rust_helper void rust_helper_uffd_migration_entry_wait(struct mm_struct *mm, pmd_t *pmd,
							 unsigned long address)
{
	migration_entry_wait(mm, pmd, address);
}

/* Pages and folios. */

__rust_helper struct folio *rust_helper_uffd_page_folio(struct page *page)
{
	return page_folio(page);
}

__rust_helper bool rust_helper_uffd_page_anon_exclusive(struct page *page)
{
	return PageAnonExclusive(page);
}

__rust_helper void rust_helper_uffd_folio_get(struct folio *folio)
{
	folio_get(folio);
}

__rust_helper bool rust_helper_uffd_folio_trylock(struct folio *folio)
{
	return folio_trylock(folio);
}

__rust_helper void rust_helper_uffd_folio_lock(struct folio *folio)
{
	folio_lock(folio);
}

__rust_helper bool rust_helper_uffd_folio_test_anon(struct folio *folio)
{
	return folio_test_anon(folio);
}

__rust_helper bool rust_helper_uffd_folio_test_large(struct folio *folio)
{
	return folio_test_large(folio);
}

__rust_helper bool rust_helper_uffd_folio_maybe_dma_pinned(struct folio *folio)
{
	return folio_maybe_dma_pinned(folio);
}

__rust_helper void rust_helper_uffd_folio_set_anon_index(struct folio *folio,
							 struct vm_area_struct *vma,
							 unsigned long address)
{
	folio->index = linear_anon_page_index(vma, address);
}

#ifdef CONFIG_SWAP
__rust_helper bool rust_helper_uffd_folio_matches_swap_entry(struct folio *folio, swp_entry_t entry)
{
	return folio_matches_swap_entry(folio, entry);
}
#endif

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
__rust_helper int rust_helper_uffd_split_folio(struct folio *folio)
{
	return split_folio(folio);
}

__rust_helper spinlock_t *rust_helper_uffd_pmd_trans_huge_lock(pmd_t *pmd,
							       struct vm_area_struct *vma)
{
	return pmd_trans_huge_lock(pmd, vma);
}

__rust_helper bool rust_helper_uffd_is_huge_zero_pmd(pmd_t pmd)
{
	return is_huge_zero_pmd(pmd);
}

__rust_helper struct page *rust_helper_uffd_pmd_page(pmd_t pmd)
{
	return pmd_page(pmd);
}
#endif
