/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of userfaultfd. Rust calls them through rust/abstractions/trace.rs, which says what
 * each one means; Documentation/observing.md has the table.
 *
 * Those with functions to turn them on and off share the static branch of observer.rs with counts.
 *
 * Common fields: ctx is the number of a context, fault and event are numbers of a sleeping fault
 * and of an announced event within their context. All of them count from 1 and are not used twice.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM userfaultfd

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../mm/userfaultfd_rust/include/trace/events

#ifndef _UFFD_TRACE_NAMES
#define _UFFD_TRACE_NAMES
/* What is shown by name: EM(constant, name), the last one as EMe(). */
#define UFFD_TRACE_REASONS				\
	EM(UFFD_TRACE_MISSING,		"missing")	\
	EM(UFFD_TRACE_WP,		"wp")		\
	EM(UFFD_TRACE_MINOR,		"minor")	\
	EMe(UFFD_TRACE_RWP,		"rwp")

#define UFFD_TRACE_REFUSALS				\
	EM(UFFD_TRACE_UNREGISTERED,	"unregistered")	\
	EM(UFFD_TRACE_EXITING,		"exiting")	\
	EM(UFFD_TRACE_SIGBUS,		"sigbus")	\
	EM(UFFD_TRACE_KERNEL_MODE,	"kernel_mode")	\
	EM(UFFD_TRACE_NO_RETRY,		"no_retry")	\
	EM(UFFD_TRACE_NO_WAIT,		"no_wait")	\
	EMe(UFFD_TRACE_CTX_RELEASED,	"released")

#define UFFD_TRACE_FAULT_ENDS				\
	EM(UFFD_TRACE_FAULT_WOKEN,	"woken")	\
	EM(UFFD_TRACE_FAULT_SIGNAL,	"signal")	\
	EM(UFFD_TRACE_FAULT_PRESENT,	"present")	\
	EMe(UFFD_TRACE_FAULT_RELEASED,	"released")

#define UFFD_TRACE_RESOLVES				\
	EM(UFFD_TRACE_COPY,		"copy")		\
	EM(UFFD_TRACE_ZEROPAGE,		"zeropage")	\
	EM(UFFD_TRACE_CONTINUE,		"continue")	\
	EM(UFFD_TRACE_POISON,		"poison")	\
	EM(UFFD_TRACE_MOVE,		"move")		\
	EM(UFFD_TRACE_WRITEPROTECT,	"writeprotect")	\
	EMe(UFFD_TRACE_RWPROTECT,		"rwprotect")

#define UFFD_TRACE_AGAINS				\
	EM(UFFD_TRACE_AGAIN_CHANGING,	"changing")	\
	EM(UFFD_TRACE_AGAIN_PARTIAL,	"partial")	\
	EMe(UFFD_TRACE_AGAIN_RETRY,	"retry")

#define UFFD_TRACE_EVENTS				\
	EM(UFFD_TRACE_EVENT_FORK,	"fork")		\
	EM(UFFD_TRACE_EVENT_REMAP,	"remap")	\
	EM(UFFD_TRACE_EVENT_REMOVE,	"remove")	\
	EMe(UFFD_TRACE_EVENT_UNMAP,	"unmap")

#define UFFD_TRACE_EVENT_ENDS				\
	EM(UFFD_TRACE_EVENT_READ,	"read")		\
	EM(UFFD_TRACE_EVENT_SIGNAL,	"signal")	\
	EMe(UFFD_TRACE_EVENT_RELEASED,	"released")

#define UFFD_TRACE_LOCKS				\
	EM(UFFD_TRACE_LOCK_MMAP,		"mmap")		\
	EMe(UFFD_TRACE_LOCK_VMA,		"vma")

#define EM(number, name) number,
#define EMe(number, name) number
enum uffd_trace_reason { UFFD_TRACE_REASONS };
enum uffd_trace_refusal { UFFD_TRACE_REFUSALS };
enum uffd_trace_fault_end { UFFD_TRACE_FAULT_ENDS };
enum uffd_trace_resolve { UFFD_TRACE_RESOLVES };
enum uffd_trace_again { UFFD_TRACE_AGAINS };
enum uffd_trace_event { UFFD_TRACE_EVENTS };
enum uffd_trace_event_end { UFFD_TRACE_EVENT_ENDS };
enum uffd_trace_lock { UFFD_TRACE_LOCKS };
#undef EM
#undef EMe
#endif /* _UFFD_TRACE_NAMES */

#if !defined(_TRACE_USERFAULTFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_USERFAULTFD_H

#include <linux/tracepoint.h>
#include <linux/types.h>

#include "../../glue.h"

/* For programs that read the format files: numbers in place of the names of constants. */
#undef EM
#undef EMe
#define EM(number, name) TRACE_DEFINE_ENUM(number);
#define EMe(number, name) TRACE_DEFINE_ENUM(number);
UFFD_TRACE_REASONS
UFFD_TRACE_REFUSALS
UFFD_TRACE_FAULT_ENDS
UFFD_TRACE_RESOLVES
UFFD_TRACE_AGAINS
UFFD_TRACE_EVENTS
UFFD_TRACE_EVENT_ENDS
UFFD_TRACE_LOCKS
#undef EM
#undef EMe
#define EM(number, name) { number, name },
#define EMe(number, name) { number, name }

TRACE_EVENT(uffd_ctx_create,
	TP_PROTO(u64 ctx, u32 flags),
	TP_ARGS(ctx, flags),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u32, flags)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->flags = flags;
	),
	TP_printk("ctx=%llu flags=0x%x", __entry->ctx, __entry->flags)
);

TRACE_EVENT(uffd_ctx_dup,
	TP_PROTO(u64 ctx, u64 parent),
	TP_ARGS(ctx, parent),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, parent)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->parent = parent;
	),
	TP_printk("ctx=%llu parent=%llu", __entry->ctx, __entry->parent)
);

DECLARE_EVENT_CLASS(uffd_ctx,
	TP_PROTO(u64 ctx),
	TP_ARGS(ctx),
	TP_STRUCT__entry(
		__field(u64, ctx)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
	),
	TP_printk("ctx=%llu", __entry->ctx)
);

DEFINE_EVENT(uffd_ctx, uffd_ctx_release, TP_PROTO(u64 ctx), TP_ARGS(ctx));
DEFINE_EVENT(uffd_ctx, uffd_ctx_free, TP_PROTO(u64 ctx), TP_ARGS(ctx));

TRACE_EVENT(uffd_register,
	TP_PROTO(u64 ctx, u64 start, u64 len, u64 modes, long ret),
	TP_ARGS(ctx, start, len, modes, ret),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, start)
		__field(u64, len)
		__field(u64, modes)
		__field(long, ret)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->start = start;
		__entry->len = len;
		__entry->modes = modes;
		__entry->ret = ret;
	),
	TP_printk("ctx=%llu start=0x%llx len=0x%llx modes=0x%llx ret=%ld", __entry->ctx,
		  __entry->start, __entry->len, __entry->modes, __entry->ret)
);

TRACE_EVENT(uffd_unregister,
	TP_PROTO(u64 ctx, u64 start, u64 len, long ret),
	TP_ARGS(ctx, start, len, ret),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, start)
		__field(u64, len)
		__field(long, ret)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->start = start;
		__entry->len = len;
		__entry->ret = ret;
	),
	TP_printk("ctx=%llu start=0x%llx len=0x%llx ret=%ld", __entry->ctx, __entry->start,
		  __entry->len, __entry->ret)
);

TRACE_EVENT_FN(uffd_fault_queue,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address, u64 flags, u32 reason),
	TP_ARGS(ctx, fault, address, flags, reason),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, fault)
		__field(unsigned long, address)
		__field(u64, flags)
		__field(u32, reason)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->fault = fault;
		__entry->address = address;
		__entry->flags = flags;
		__entry->reason = reason;
	),
	TP_printk("ctx=%llu fault=%llu address=0x%lx flags=0x%llx reason=%s", __entry->ctx,
		  __entry->fault, __entry->address, __entry->flags,
		  __print_symbolic(__entry->reason, UFFD_TRACE_REASONS)),
	uffd_glue_watch, uffd_glue_unwatch
);

TRACE_EVENT_FN(uffd_fault_refused,
	TP_PROTO(u64 ctx, unsigned long address, u32 why),
	TP_ARGS(ctx, address, why),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(unsigned long, address)
		__field(u32, why)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->address = address;
		__entry->why = why;
	),
	TP_printk("ctx=%llu address=0x%lx why=%s", __entry->ctx, __entry->address,
		  __print_symbolic(__entry->why, UFFD_TRACE_REFUSALS)),
	uffd_glue_watch, uffd_glue_unwatch
);

DECLARE_EVENT_CLASS(uffd_fault,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address),
	TP_ARGS(ctx, fault, address),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, fault)
		__field(unsigned long, address)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->fault = fault;
		__entry->address = address;
	),
	TP_printk("ctx=%llu fault=%llu address=0x%lx", __entry->ctx, __entry->fault,
		  __entry->address)
);

DEFINE_EVENT_FN(uffd_fault, uffd_fault_read,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address), TP_ARGS(ctx, fault, address),
	uffd_glue_watch, uffd_glue_unwatch);
DEFINE_EVENT_FN(uffd_fault, uffd_fault_unread,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address), TP_ARGS(ctx, fault, address),
	uffd_glue_watch, uffd_glue_unwatch);
DEFINE_EVENT_FN(uffd_fault, uffd_fault_wake,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address), TP_ARGS(ctx, fault, address),
	uffd_glue_watch, uffd_glue_unwatch);

TRACE_EVENT_FN(uffd_fault_done,
	TP_PROTO(u64 ctx, u64 fault, unsigned long address, u32 how),
	TP_ARGS(ctx, fault, address, how),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, fault)
		__field(unsigned long, address)
		__field(u32, how)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->fault = fault;
		__entry->address = address;
		__entry->how = how;
	),
	TP_printk("ctx=%llu fault=%llu address=0x%lx how=%s", __entry->ctx, __entry->fault,
		  __entry->address, __print_symbolic(__entry->how, UFFD_TRACE_FAULT_ENDS)),
	uffd_glue_watch, uffd_glue_unwatch
);

TRACE_EVENT_FN(uffd_wake,
	TP_PROTO(u64 ctx, unsigned long start, unsigned long len, unsigned long woken),
	TP_ARGS(ctx, start, len, woken),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(unsigned long, start)
		__field(unsigned long, len)
		__field(unsigned long, woken)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->start = start;
		__entry->len = len;
		__entry->woken = woken;
	),
	TP_printk("ctx=%llu start=0x%lx len=0x%lx woken=%lu", __entry->ctx, __entry->start,
		  __entry->len, __entry->woken),
	uffd_glue_watch, uffd_glue_unwatch
);

TRACE_EVENT_FN(uffd_resolve,
	TP_PROTO(u64 ctx, u32 kind, u64 start, u64 len, u64 mode, long ret),
	TP_ARGS(ctx, kind, start, len, mode, ret),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u32, kind)
		__field(u64, start)
		__field(u64, len)
		__field(u64, mode)
		__field(long, ret)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->kind = kind;
		__entry->start = start;
		__entry->len = len;
		__entry->mode = mode;
		__entry->ret = ret;
	),
	TP_printk("ctx=%llu kind=%s start=0x%llx len=0x%llx mode=0x%llx ret=%ld", __entry->ctx,
		  __print_symbolic(__entry->kind, UFFD_TRACE_RESOLVES), __entry->start,
		  __entry->len, __entry->mode, __entry->ret),
	uffd_glue_watch, uffd_glue_unwatch
);

TRACE_EVENT_FN(uffd_eagain,
	TP_PROTO(u64 ctx, u32 kind, u32 why),
	TP_ARGS(ctx, kind, why),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u32, kind)
		__field(u32, why)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->kind = kind;
		__entry->why = why;
	),
	TP_printk("ctx=%llu kind=%s why=%s", __entry->ctx,
		  __print_symbolic(__entry->kind, UFFD_TRACE_RESOLVES),
		  __print_symbolic(__entry->why, UFFD_TRACE_AGAINS)),
	uffd_glue_watch, uffd_glue_unwatch
);

TRACE_EVENT(uffd_event_queue,
	TP_PROTO(u64 ctx, u64 event, u32 kind, u64 arg0, u64 arg1, u64 arg2),
	TP_ARGS(ctx, event, kind, arg0, arg1, arg2),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, event)
		__field(u32, kind)
		__field(u64, arg0)
		__field(u64, arg1)
		__field(u64, arg2)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->event = event;
		__entry->kind = kind;
		__entry->arg0 = arg0;
		__entry->arg1 = arg1;
		__entry->arg2 = arg2;
	),
	TP_printk("ctx=%llu event=%llu kind=%s arg0=0x%llx arg1=0x%llx arg2=0x%llx", __entry->ctx,
		  __entry->event, __print_symbolic(__entry->kind, UFFD_TRACE_EVENTS),
		  __entry->arg0, __entry->arg1, __entry->arg2)
);

DECLARE_EVENT_CLASS(uffd_event,
	TP_PROTO(u64 ctx, u64 event),
	TP_ARGS(ctx, event),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, event)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->event = event;
	),
	TP_printk("ctx=%llu event=%llu", __entry->ctx, __entry->event)
);

DEFINE_EVENT(uffd_event, uffd_event_read, TP_PROTO(u64 ctx, u64 event), TP_ARGS(ctx, event));
DEFINE_EVENT(uffd_event, uffd_event_unread, TP_PROTO(u64 ctx, u64 event), TP_ARGS(ctx, event));

TRACE_EVENT(uffd_event_done,
	TP_PROTO(u64 ctx, u64 event, u32 how),
	TP_ARGS(ctx, event, how),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u64, event)
		__field(u32, how)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->event = event;
		__entry->how = how;
	),
	TP_printk("ctx=%llu event=%llu how=%s", __entry->ctx, __entry->event,
		  __print_symbolic(__entry->how, UFFD_TRACE_EVENT_ENDS))
);

TRACE_EVENT(uffd_changing,
	TP_PROTO(u64 ctx, int count),
	TP_ARGS(ctx, count),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(int, count)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->count = count;
	),
	TP_printk("ctx=%llu count=%d", __entry->ctx, __entry->count)
);

TRACE_EVENT(uffd_lock_drop,
	TP_PROTO(u64 ctx, u32 what, unsigned long address),
	TP_ARGS(ctx, what, address),
	TP_STRUCT__entry(
		__field(u64, ctx)
		__field(u32, what)
		__field(unsigned long, address)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->what = what;
		__entry->address = address;
	),
	TP_printk("ctx=%llu what=%s address=0x%lx", __entry->ctx,
		  __print_symbolic(__entry->what, UFFD_TRACE_LOCKS), __entry->address)
);

#undef EM
#undef EMe

#endif /* _TRACE_USERFAULTFD_H */

/* This part must be outside the guard. */
#include <trace/define_trace.h>
