// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for changes of protection. Included by uffd.c.
 */
