// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for changes of protection. Included by uffd.c.
 */
#include <linux/hugetlb.h>
#include <linux/pgtable.h>

#include "../../../internal.h"

__rust_helper bool rust_helper_uffd_pgtable_supports_uffd(void)
{
	return pgtable_supports_uffd();
}

__rust_helper bool rust_helper_uffd_vma_wants_write_upgrade(struct vm_area_struct *vma)
{
	return vma_wants_manual_pte_write_upgrade(vma);
}

/* Faults on hugetlbfs. */

#ifdef CONFIG_HUGETLB_PAGE
__rust_helper pte_t *rust_helper_uffd_hugetlb_walk(struct vm_area_struct *vma,
						   unsigned long address)
{
	return hugetlb_walk(vma, address, vma_mmu_pagesize(vma));
}

__rust_helper bool rust_helper_uffd_huge_pte_write(pte_t pte)
{
	return huge_pte_write(pte);
}

__rust_helper bool rust_helper_uffd_huge_pte_uffd(pte_t pte)
{
	return huge_pte_uffd(pte);
}
#endif
