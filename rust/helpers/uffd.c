// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for inline functions and macros that bindgen cannot
 * see. Included by rust/helpers/helpers.c of the tree.
 */
#include <linux/spinlock.h>
#include <linux/userfaultfd_k.h>

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
