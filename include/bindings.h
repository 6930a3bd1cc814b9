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

/* Flags of VMAs; those that a configuration lacks are zero. */
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MISSING = VM_UFFD_MISSING;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_WP = VM_UFFD_WP;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MINOR = VM_UFFD_MINOR;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_RWP = VM_UFFD_RWP;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MODES = __VM_UFFD_FLAGS;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_ACCESS = VM_ACCESS_FLAGS;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_EXCLUDED = VM_DROPPABLE | VM_SHADOW_STACK;
