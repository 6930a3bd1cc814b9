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
