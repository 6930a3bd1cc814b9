// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the laboratory needs from C: the parameter, and the inside of a TLB
 * gather.
 */
#include <linux/moduleparam.h>

#include <asm/tlb.h>

const char *uffd_lab_requested(void);
void uffd_lab_forget_flush(struct mmu_gather *gather);

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "userfaultfd_lab."

static char *defect;
module_param(defect, charp, 0444);
MODULE_PARM_DESC(defect, "bug to make on purpose, see Documentation/lab.md");

const char *uffd_lab_requested(void)
{
	return defect;
}

void uffd_lab_forget_flush(struct mmu_gather *gather)
{
	__tlb_reset_range(gather);
}
