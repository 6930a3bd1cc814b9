/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the crate needs from C. bindgen reads this file through
 * rust/bindings/bindings_helper.h, and only under the Rust choice.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/leafops.h>
#include <linux/memcontrol.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/wake_q.h>
#include <linux/swap.h>
#include <linux/sysctl.h>
#include <linux/uio.h>
#include <linux/userfaultfd_k.h>

#include "../../internal.h"

/* What glue.c and the crate call of each other. */
#include "glue.h"
