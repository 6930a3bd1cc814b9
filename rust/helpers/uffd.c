// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for inline functions and macros that bindgen cannot
 * see. Included by rust/helpers/helpers.c of the tree.
 */
#include <linux/highmem.h>
#include <linux/leafops.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/sched/wake_q.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>

/* One file per area, so that each stays short. */
#include "hugetlb.c"
#include "protect.c"
#include "moving.c"

__rust_helper void rust_helper_uffd_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

__rust_helper void rust_helper_uffd_spin_lock_nested(spinlock_t *lock)
{
	spin_lock_nested(lock, SINGLE_DEPTH_NESTING);
}

__rust_helper void rust_helper_uffd_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

/* Memory of contexts. */

__rust_helper void *rust_helper_uffd_kmem_cache_alloc(struct kmem_cache *cache, gfp_t flags)
{
	return kmem_cache_alloc(cache, flags);
}

/* The current task, sleeping and waking. */

__rust_helper int rust_helper_uffd_fatal_signal_pending(struct task_struct *task)
{
	return fatal_signal_pending(task);
}

__rust_helper int rust_helper_uffd_signal_pending_state(unsigned int state,
							struct task_struct *task)
{
	return signal_pending_state(state, task);
}

__rust_helper pid_t rust_helper_uffd_task_pid_vnr(struct task_struct *task)
{
	return task_pid_vnr(task);
}

__rust_helper void rust_helper_uffd_cond_resched(void)
{
	cond_resched();
}

__rust_helper void rust_helper_uffd_set_current_state(unsigned int state)
{
	set_current_state(state);
}

__rust_helper void rust_helper_uffd_set_running(void)
{
	__set_current_state(TASK_RUNNING);
}

__rust_helper void rust_helper_uffd_wake_q_init(struct wake_q_head *head)
{
	wake_q_init(head);
}

__rust_helper void rust_helper_uffd_init_wait(struct wait_queue_entry *entry)
{
	init_wait(entry);
}

__rust_helper int rust_helper_uffd_put_user_u64(u64 value, u64 __user *to)
{
	return put_user(value, to);
}

__rust_helper bool rust_helper_uffd_waitqueue_active(struct wait_queue_head *head)
{
	return waitqueue_active(head);
}

__rust_helper void rust_helper_uffd_init_waitqueue_head(struct wait_queue_head *head,
							const char *name,
							struct lock_class_key *key)
{
	__init_waitqueue_head(head, name, key);
}

__rust_helper void rust_helper_uffd_wake_up_poll(struct wait_queue_head *head, unsigned long events)
{
	__wake_up(head, TASK_NORMAL, 1, (void *)events);
}

/* Faults. */

__rust_helper void rust_helper_uffd_assert_fault_locked(const struct vm_fault *vmf)
{
	assert_fault_locked(vmf);
}

__rust_helper void rust_helper_uffd_release_fault_lock(struct vm_fault *vmf)
{
	release_fault_lock(vmf);
}

/* Fills: the destination VMA. */

#ifdef CONFIG_PER_VMA_LOCK
__rust_helper bool rust_helper_uffd_vma_start_read_locked(struct vm_area_struct *vma)
{
	return vma_start_read_locked(vma);
}
#endif

__rust_helper bool rust_helper_uffd_vma_has_anon_vma(struct vm_area_struct *vma)
{
	return READ_ONCE(vma->anon_vma);
}

__rust_helper pgoff_t rust_helper_uffd_linear_page_index(struct vm_area_struct *vma,
							 unsigned long address)
{
	return linear_page_index(vma, address);
}

__rust_helper loff_t rust_helper_uffd_file_size(struct file *file)
{
	return i_size_read(file->f_inode);
}

/* Fills: folios. */

__rust_helper struct folio *rust_helper_uffd_vma_alloc_folio(struct vm_area_struct *vma,
							     unsigned long address)
{
	return vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, address);
}

__rust_helper int rust_helper_uffd_mem_cgroup_charge(struct folio *folio, struct mm_struct *mm)
{
	return mem_cgroup_charge(folio, mm, GFP_KERNEL);
}

__rust_helper void rust_helper_uffd_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rust_helper void *rust_helper_uffd_kmap_local_folio(struct folio *folio)
{
	return kmap_local_folio(folio, 0);
}

__rust_helper unsigned long rust_helper_uffd_copy_page_from_user(void *to, const void __user *from)
{
	return copy_from_user(to, from, PAGE_SIZE);
}

__rust_helper void rust_helper_uffd_pagefault_disable(void)
{
	pagefault_disable();
}

__rust_helper void rust_helper_uffd_pagefault_enable(void)
{
	pagefault_enable();
}

__rust_helper void rust_helper_uffd_flush_dcache_folio(struct folio *folio)
{
	flush_dcache_folio(folio);
}

__rust_helper void rust_helper_uffd_clear_user_folio(struct folio *folio, unsigned long address)
{
	clear_user_highpage(folio_page(folio, 0), address);
}

__rust_helper void rust_helper_uffd_folio_mark_uptodate(struct folio *folio)
{
	__folio_mark_uptodate(folio);
}

/* Page tables: the levels above the last. */

__rust_helper pgd_t *rust_helper_uffd_pgd_offset(struct mm_struct *mm, unsigned long address)
{
	return pgd_offset(mm, address);
}

__rust_helper bool rust_helper_uffd_pgd_present(pgd_t *pgd)
{
	return pgd_present(pgdp_get(pgd));
}

__rust_helper p4d_t *rust_helper_uffd_p4d_offset(pgd_t *pgd, unsigned long address)
{
	return p4d_offset(pgd, address);
}

__rust_helper p4d_t *rust_helper_uffd_p4d_alloc(struct mm_struct *mm, pgd_t *pgd,
						unsigned long address)
{
	return p4d_alloc(mm, pgd, address);
}

__rust_helper bool rust_helper_uffd_p4d_present(p4d_t *p4d)
{
	return p4d_present(p4dp_get(p4d));
}

__rust_helper pud_t *rust_helper_uffd_pud_offset(p4d_t *p4d, unsigned long address)
{
	return pud_offset(p4d, address);
}

__rust_helper pud_t *rust_helper_uffd_pud_alloc(struct mm_struct *mm, p4d_t *p4d,
						unsigned long address)
{
	return pud_alloc(mm, p4d, address);
}

__rust_helper bool rust_helper_uffd_pud_present(pud_t *pud)
{
	return pud_present(pudp_get(pud));
}

__rust_helper pmd_t *rust_helper_uffd_pmd_offset(pud_t *pud, unsigned long address)
{
	return pmd_offset(pud, address);
}

__rust_helper pmd_t *rust_helper_uffd_pmd_alloc(struct mm_struct *mm, pud_t *pud,
						unsigned long address)
{
	return pmd_alloc(mm, pud, address);
}

__rust_helper pmd_t rust_helper_uffd_pmdp_get_lockless(pmd_t *pmd)
{
	return pmdp_get_lockless(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_none(pmd_t pmd)
{
	return pmd_none(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_present(pmd_t pmd)
{
	return pmd_present(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_leaf(pmd_t pmd)
{
	return pmd_leaf(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_bad(pmd_t pmd)
{
	return pmd_bad(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_trans_huge(pmd_t pmd)
{
	return pmd_trans_huge(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_write(pmd_t pmd)
{
	return pmd_write(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_protnone(pmd_t pmd)
{
	return pmd_protnone(pmd);
}

__rust_helper bool rust_helper_uffd_pmd_uffd(pmd_t pmd)
{
	return pmd_uffd(pmd);
}

/* Page tables: entries of the last level. */

__rust_helper pte_t *rust_helper_uffd_pte_offset_map(pmd_t *pmd, unsigned long address)
{
	return pte_offset_map(pmd, address);
}

__rust_helper void rust_helper_uffd_pte_unmap(pte_t *pte)
{
	pte_unmap(pte);
}

__rust_helper void rust_helper_uffd_pte_unmap_unlock(pte_t *pte, spinlock_t *ptl)
{
	pte_unmap_unlock(pte, ptl);
}

__rust_helper pte_t rust_helper_uffd_ptep_get(pte_t *pte)
{
	return ptep_get(pte);
}

__rust_helper bool rust_helper_uffd_pte_none(pte_t pte)
{
	return pte_none(pte);
}

__rust_helper bool rust_helper_uffd_pte_is_uffd_marker(pte_t pte)
{
	return pte_is_uffd_marker(pte);
}

__rust_helper bool rust_helper_uffd_pte_is_wp_marker(pte_t pte)
{
	return pte_is_uffd_wp_marker(pte);
}

__rust_helper bool rust_helper_uffd_pte_present(pte_t pte)
{
	return pte_present(pte);
}

__rust_helper bool rust_helper_uffd_pte_write(pte_t pte)
{
	return pte_write(pte);
}

__rust_helper bool rust_helper_uffd_pte_protnone(pte_t pte)
{
	return pte_protnone(pte);
}

__rust_helper bool rust_helper_uffd_pte_uffd(pte_t pte)
{
	return pte_uffd(pte);
}

__rust_helper pte_t rust_helper_uffd_zero_page_pte(unsigned long address, pgprot_t prot)
{
	return pte_mkspecial(pfn_pte(zero_pfn(address), prot));
}

__rust_helper pte_t rust_helper_uffd_pte_mkdirty(pte_t pte)
{
	return pte_mkdirty(pte);
}

__rust_helper pte_t rust_helper_uffd_pte_mkwrite(pte_t pte, struct vm_area_struct *vma)
{
	return pte_mkwrite(pte, vma);
}

__rust_helper pte_t rust_helper_uffd_pte_mkuffd(pte_t pte)
{
	return pte_mkuffd(pte);
}

__rust_helper void rust_helper_uffd_set_pte_at(struct mm_struct *mm, unsigned long address,
					       pte_t *ptep, pte_t pte)
{
	set_pte_at(mm, address, ptep, pte);
}

__rust_helper void rust_helper_uffd_update_mmu_cache(struct vm_area_struct *vma,
						     unsigned long address, pte_t *ptep)
{
	update_mmu_cache(vma, address, ptep);
}

__rust_helper void rust_helper_uffd_inc_mm_counter(struct mm_struct *mm, struct folio *folio)
{
	inc_mm_counter(mm, mm_counter(folio));
}

__rust_helper bool rust_helper_uffd_mm_forbids_zeropage(struct mm_struct *mm)
{
	return mm_forbids_zeropage(mm);
}

/* The mmap lock for writing, VMAs. */

__rust_helper void rust_helper_uffd_mmap_write_lock(struct mm_struct *mm)
{
	mmap_write_lock(mm);
}

__rust_helper void rust_helper_uffd_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

__rust_helper void rust_helper_uffd_vma_iter_init(struct vma_iterator *vmi,
						  struct mm_struct *mm, unsigned long addr)
{
	vma_iter_init(vmi, mm, addr);
}

__rust_helper void rust_helper_uffd_vma_iter_set(struct vma_iterator *vmi, unsigned long addr)
{
	vma_iter_set(vmi, addr);
}

__rust_helper struct vm_area_struct *rust_helper_uffd_vma_find(struct vma_iterator *vmi,
							       unsigned long max)
{
	return vma_find(vmi, max);
}

__rust_helper struct vm_area_struct *rust_helper_uffd_vma_prev(struct vma_iterator *vmi)
{
	return vma_prev(vmi);
}

__rust_helper void rust_helper_uffd_vma_start_write(struct vm_area_struct *vma)
{
	vma_start_write(vma);
}

__rust_helper void rust_helper_uffd_vm_flags_reset(struct vm_area_struct *vma, vm_flags_t flags)
{
	vm_flags_reset(vma, flags);
}

__rust_helper void rust_helper_uffd_vma_flags_clear_word(vma_flags_t *flags, unsigned long word)
{
	vma_flags_clear_word(flags, word);
}

__rust_helper void rust_helper_uffd_vma_flags_set_word(vma_flags_t *flags, unsigned long word)
{
	vma_flags_set_word(flags, word);
}

__rust_helper bool rust_helper_uffd_vma_is_special(struct vm_area_struct *vma)
{
	return vma_test_any_mask(vma, VMA_SPECIAL_FLAGS);
}

__rust_helper bool rust_helper_uffd_vma_is_hugetlb(struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma);
}

__rust_helper unsigned long rust_helper_uffd_vma_kernel_pagesize(struct vm_area_struct *vma)
{
	return vma_kernel_pagesize(vma);
}

__rust_helper bool rust_helper_uffd_supports_wp_marker(void)
{
	return uffd_supports_wp_marker();
}
