// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints themselves: their keys, their places in tracefs, and the
 * functions that Rust calls when they are on.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "../include/trace/events/userfaultfd.h"
