/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the crate needs from C. bindgen reads this file through
 * rust/bindings/bindings_helper.h, and only under the Rust choice.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/eventpoll.h>
#include <linux/hugetlb.h>
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
#include "../../swap.h"

/* What glue.c and the crate call of each other. */
#include "glue.h"

#include "trace/events/userfaultfd.h"

/* Constants behind casts, which bindgen cannot evaluate. */
const slab_flags_t RUST_CONST_HELPER_SLAB_HWCACHE_ALIGN = SLAB_HWCACHE_ALIGN;
const slab_flags_t RUST_CONST_HELPER_SLAB_NO_MERGE = SLAB_NO_MERGE;
const fmode_t RUST_CONST_HELPER_FMODE_NOWAIT = FMODE_NOWAIT;
const int RUST_CONST_HELPER_IOCB_NOWAIT = IOCB_NOWAIT;
const __poll_t RUST_CONST_HELPER_EPOLLIN = EPOLLIN;
const __poll_t RUST_CONST_HELPER_EPOLLERR = EPOLLERR;

/* Fills. */
const rmap_t RUST_CONST_HELPER_RMAP_EXCLUSIVE = RMAP_EXCLUSIVE;
const uffd_flags_t RUST_CONST_HELPER_UFFD_MFILL_WP = MFILL_ATOMIC_WP;

/* Flags of VMAs; those that a configuration lacks are zero. */
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MISSING = VM_UFFD_MISSING;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_WP = VM_UFFD_WP;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MINOR = VM_UFFD_MINOR;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_RWP = VM_UFFD_RWP;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_MODES = __VM_UFFD_FLAGS;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_ACCESS = VM_ACCESS_FLAGS;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_EXCLUDED = VM_DROPPABLE | VM_SHADOW_STACK;

/* Moving pages. */
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_UNMOVABLE =
	VM_PFNMAP | VM_IO | VM_HUGETLB | VM_MIXEDMAP | VM_SHADOW_STACK;
const vm_flags_t RUST_CONST_HELPER_UFFD_VM_LOCKED = VM_LOCKED;
const unsigned long RUST_CONST_HELPER_UFFD_PMD_SIZE = PMD_SIZE;
