// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Rust cannot express: the syscall entry, whose symbol, tracing data and
 * register layout come from one macro per architecture.
 */
#include <linux/syscalls.h>

#include "../include/glue.h"

SYSCALL_DEFINE1(userfaultfd, int, flags)
{
	return uffd_rs_syscall(flags);
}
