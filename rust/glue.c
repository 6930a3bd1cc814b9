// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Rust cannot express: the syscall entry, whose symbol, tracing data and
 * register layout come from one macro per architecture, the sysctl table, a
 * TLB gather, whose layout bindgen cannot see, a TLB flush, which helpers
 * cannot reach, and a static key, which tracepoints turn as well.
 */
#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/syscalls.h>
#include <linux/sysctl.h>

#include <asm/tlb.h>
#include <asm/tlbflush.h>

#include "../include/glue.h"

SYSCALL_DEFINE1(userfaultfd, int, flags)
{
	return uffd_rs_syscall(flags);
}

/* Declared for what is built in only, which helpers are not. */
void uffd_glue_flush_tlb_range(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	flush_tlb_range(vma, start, end);
}

struct uffd_keys uffd_keys = {
	.watched = STATIC_KEY_FALSE_INIT,
};

/* The status is for tracepoints: they may be turned on. */
int uffd_glue_watch(void)
{
	static_branch_inc(&uffd_keys.watched);
	return 0;
}

void uffd_glue_unwatch(void)
{
	static_branch_dec(&uffd_keys.watched);
}

static int unprivileged_userfaultfd __read_mostly;

bool uffd_glue_unprivileged(void)
{
	return READ_ONCE(unprivileged_userfaultfd);
}

void uffd_glue_gather(struct mm_struct *mm,
		      void (*body)(struct mmu_gather *gather, void *data), void *data)
{
	struct mmu_gather gather;

	tlb_gather_mmu(&gather, mm);
	body(&gather, data);
	tlb_finish_mmu(&gather);
}

#ifdef CONFIG_SYSCTL
static const struct ctl_table uffd_sysctls[] = {
	{
		.procname	= "unprivileged_userfaultfd",
		.data		= &unprivileged_userfaultfd,
		.maxlen		= sizeof(unprivileged_userfaultfd),
		.mode		= 0644,
		.proc_handler	= proc_dointvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_ONE,
	},
};

static int __init uffd_glue_init(void)
{
	register_sysctl_init("vm", uffd_sysctls);
	return 0;
}
__initcall(uffd_glue_init);
#endif
