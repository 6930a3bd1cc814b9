/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that cross between rust/glue.c and the crate.
 */
#ifndef UFFD_RUST_GLUE_H
#define UFFD_RUST_GLUE_H

#include <linux/jump_label.h>
#include <linux/types.h>

/* Crate: the body of userfaultfd(2). */
long uffd_rs_syscall(int flags);

/* Glue: whether vm.unprivileged_userfaultfd is set. */
bool uffd_glue_unprivileged(void);

struct mm_struct;
struct mmu_gather;

/*
 * Glue: runs body(gather, data) with a TLB gather for mm, and flushes what it
 * collected before it returns.
 */
void uffd_glue_gather(struct mm_struct *mm,
		      void (*body)(struct mmu_gather *gather, void *data), void *data);

/* Glue: flush_tlb_range(). */
struct vm_area_struct;
void uffd_glue_flush_tlb_range(struct vm_area_struct *vma, unsigned long start, unsigned long end);

/* Glue: on while somebody watches faults and requests (rust/abstractions/observer.rs). */
struct uffd_keys {
	struct static_key_false watched;
};
extern struct uffd_keys uffd_keys;

/* Glue: one more who watches, or one less. */
int uffd_glue_watch(void);
void uffd_glue_unwatch(void);

#endif /* UFFD_RUST_GLUE_H */
