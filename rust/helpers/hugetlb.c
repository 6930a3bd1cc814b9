// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-expression helpers for huge pages, and the page cache, for fills. Included by uffd.c.
 */
