// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for huge pages, and the page cache, for fills. Included by uffd.c.
 */
#include <linux/hugetlb.h>
#include <linux/swapops.h>

__rust_helper struct page *rust_helper_uffd_folio_file_page(struct folio *folio, pgoff_t index)
{
	return folio_file_page(folio, index);
}

__rust_helper bool rust_helper_uffd_page_is_poisoned(struct page *page)
{
	return PageHWPoison(page);
}

__rust_helper pte_t rust_helper_uffd_mk_pte(struct page *page, pgprot_t prot)
{
	return mk_pte(page, prot);
}

__rust_helper pte_t rust_helper_uffd_poison_marker(void)
{
	return make_pte_marker(PTE_MARKER_POISONED);
}

#ifdef CONFIG_HUGETLB_PAGE
__rust_helper pgoff_t rust_helper_uffd_hugetlb_linear_page_index(struct vm_area_struct *vma,
								 unsigned long address)
{
	return hugetlb_linear_page_index(vma, address);
}

__rust_helper pte_t rust_helper_uffd_huge_ptep_get(struct mm_struct *mm, unsigned long address,
						   pte_t *ptep)
{
	return huge_ptep_get(mm, address, ptep);
}

__rust_helper bool rust_helper_uffd_huge_pte_none(pte_t pte)
{
	return huge_pte_none(pte);
}
#endif
