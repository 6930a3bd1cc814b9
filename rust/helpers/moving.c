// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for moving pages. Included by uffd.c.
 */
