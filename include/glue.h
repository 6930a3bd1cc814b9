/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that cross between rust/glue.c and the crate.
 */
#ifndef UFFD_RUST_GLUE_H
#define UFFD_RUST_GLUE_H

#include <linux/types.h>

/* Crate: the body of userfaultfd(2). */
long uffd_rs_syscall(int flags);

/* Glue: whether vm.unprivileged_userfaultfd is set. */
bool uffd_glue_unprivileged(void);

#endif /* UFFD_RUST_GLUE_H */
