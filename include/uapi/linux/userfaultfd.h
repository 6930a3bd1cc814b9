/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * userfaultfd(2): page faults handled by user space.
 *
 * A descriptor comes from the system call or from /dev/userfaultfd. After one
 * handshake (UFFDIO_API) ranges of memory are registered with it. A fault in
 * such a range puts the thread to sleep and a message into the descriptor; the
 * program reads the message, makes the page what it should be with one of the
 * calls below, and the thread goes on.
 *
 * Names, values and layouts are those of Linux 7.3: programs built against the
 * one header run on the other implementation.
 */
#ifndef _UAPI_LINUX_USERFAULTFD_H
#define _UAPI_LINUX_USERFAULTFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ----------------------------------------------------------------------
 * Making a descriptor
 */

/*
 * Flag of the system call and of USERFAULTFD_IOC_NEW, next to O_CLOEXEC and
 * O_NONBLOCK: only faults of user mode are handed over. One that the kernel
 * takes itself, in read(2) into a registered range say, fails instead (EFAULT).
 * With this flag the system call needs no privilege.
 */
#define UFFD_USER_MODE_ONLY		1

/*
 * On an open /dev/userfaultfd: returns a new descriptor; the argument is the
 * flags. The right to open the device is the only one needed.
 */
#define USERFAULTFD_IOC			0xAA
#define USERFAULTFD_IOC_NEW		_IO(USERFAULTFD_IOC, 0x00)

/* ----------------------------------------------------------------------
 * Ranges
 */

/* Both numbers are multiples of the page size, and @len is not zero. */
struct uffdio_range {
	__u64 start;
	__u64 len;
};

/* ----------------------------------------------------------------------
 * Request numbers
 *
 * UFFDIO_API and UFFDIO_REGISTER answer with bitmaps of them: bit N stands for
 * the request with the number N. 0x00 to 0x3F is all there can be.
 */
#define UFFDIO				0xAA

#define _UFFDIO_REGISTER		(0x00)
#define _UFFDIO_UNREGISTER		(0x01)
#define _UFFDIO_WAKE			(0x02)
#define _UFFDIO_COPY			(0x03)
#define _UFFDIO_ZEROPAGE		(0x04)
#define _UFFDIO_MOVE			(0x05)
#define _UFFDIO_WRITEPROTECT		(0x06)
#define _UFFDIO_CONTINUE		(0x07)
#define _UFFDIO_POISON			(0x08)
#define _UFFDIO_RWPROTECT		(0x09)
#define _UFFDIO_SET_MODE		(0x0A)
#define _UFFDIO_API			(0x3F)

/* ----------------------------------------------------------------------
 * UFFDIO_API: the handshake
 *
 * Comes first on every descriptor and succeeds once. All other requests, and
 * read(2), answer EINVAL until then.
 *
 * EINVAL	another version than UFFD_API, a feature the kernel lacks, a
 *		feature without the one it builds on, or done already; the
 *		structure is zeroed
 * EPERM	UFFD_FEATURE_EVENT_FORK without CAP_SYS_PTRACE; zeroed as well
 */

/* The only version there is. */
#define UFFD_API			((__u64)0xAA)

/* Messages about write-protect faults carry UFFD_PAGEFAULT_FLAG_WP. */
#define UFFD_FEATURE_PAGEFAULT_FLAG_WP	(1<<0)
/*
 * Events other than faults. The call that causes one (fork, mremap, madvise,
 * munmap) waits until the message has been read, and while it waits the
 * requests that fill memory answer EAGAIN.
 */
#define UFFD_FEATURE_EVENT_FORK		(1<<1)	/* UFFD_EVENT_FORK */
#define UFFD_FEATURE_EVENT_REMAP	(1<<2)	/* UFFD_EVENT_REMAP */
#define UFFD_FEATURE_EVENT_REMOVE	(1<<3)	/* UFFD_EVENT_REMOVE */
/*
 * UFFDIO_REGISTER_MODE_MISSING works on hugetlbfs and on shared memory (tmpfs,
 * memfd). Asking for them switches nothing on: it is a way to fail early on a
 * kernel that cannot do it.
 */
#define UFFD_FEATURE_MISSING_HUGETLBFS	(1<<4)
#define UFFD_FEATURE_MISSING_SHMEM	(1<<5)
#define UFFD_FEATURE_EVENT_UNMAP	(1<<6)	/* UFFD_EVENT_UNMAP */
/* A fault gives the thread SIGBUS. There is no message and nobody sleeps. */
#define UFFD_FEATURE_SIGBUS		(1<<7)
/* Fault messages name the thread; without it that field is 0. */
#define UFFD_FEATURE_THREAD_ID		(1<<8)
/* UFFDIO_REGISTER_MODE_MINOR works on hugetlbfs and on shared memory. */
#define UFFD_FEATURE_MINOR_HUGETLBFS	(1<<9)
#define UFFD_FEATURE_MINOR_SHMEM	(1<<10)
/* Fault messages carry the address itself, not the start of its page. */
#define UFFD_FEATURE_EXACT_ADDRESS	(1<<11)
/* UFFDIO_REGISTER_MODE_WP works on hugetlbfs and on shared memory. */
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1<<12)
/*
 * Write protection also takes hold where an anonymous mapping has no page yet.
 * Shared memory and hugetlbfs do that anyway.
 */
#define UFFD_FEATURE_WP_UNPOPULATED	(1<<13)
/* There is UFFDIO_POISON. */
#define UFFD_FEATURE_POISON		(1<<14)
/*
 * A write to a protected page drops the protection by itself: no message, no
 * sleep. What was written is found with PAGEMAP_SCAN. Brings
 * UFFD_FEATURE_WP_UNPOPULATED along.
 */
#define UFFD_FEATURE_WP_ASYNC		(1<<15)
/* There is UFFDIO_MOVE. */
#define UFFD_FEATURE_MOVE		(1<<16)
/* There are UFFDIO_RWPROTECT and UFFDIO_REGISTER_MODE_RWP. */
#define UFFD_FEATURE_RWP		(1<<17)
/*
 * The same as UFFD_FEATURE_WP_ASYNC for it; needs UFFD_FEATURE_RWP. Can be
 * switched later, see UFFDIO_SET_MODE.
 */
#define UFFD_FEATURE_RWP_ASYNC		(1<<18)

/* Every feature of this header; what a kernel has is in its answer. */
#define UFFD_API_FEATURES						\
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_FORK |	\
	 UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |		\
	 UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MISSING_SHMEM |	\
	 UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_SIGBUS |		\
	 UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MINOR_HUGETLBFS |	\
	 UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_EXACT_ADDRESS |	\
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | \
	 UFFD_FEATURE_POISON | UFFD_FEATURE_WP_ASYNC |			\
	 UFFD_FEATURE_MOVE | UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC)

/* What UFFDIO_API answers in @ioctls. */
#define UFFD_API_IOCTLS							\
	((__u64)1 << _UFFDIO_REGISTER | (__u64)1 << _UFFDIO_UNREGISTER | \
	 (__u64)1 << _UFFDIO_SET_MODE | (__u64)1 << _UFFDIO_API)

struct uffdio_api {
	__u64 api;		/* in and out: UFFD_API */
	__u64 features;		/* in: wanted; out: all that the kernel has */
	__u64 ioctls;		/* out: UFFD_API_IOCTLS */
};
#define UFFDIO_API		_IOWR(UFFDIO, _UFFDIO_API, struct uffdio_api)

/* ----------------------------------------------------------------------
 * UFFDIO_REGISTER, UFFDIO_UNREGISTER
 *
 * A range may span mappings but must begin to overlap one, and all it meets
 * must be memory that the mode works on. With hugetlbfs it begins and ends at
 * huge pages.
 *
 * EINVAL	no mode, an unknown one, one that the memory cannot do, WP and
 *		RWP together; a range with no mapping in it
 * EPERM	a shared file that this process may not write
 * EBUSY	memory of another descriptor, or a WP or RWP mode that would be
 *		lost by registering anew: unregister first
 */

/* Catch accesses to pages that are not there. */
#define UFFDIO_REGISTER_MODE_MISSING	((__u64)1<<0)
/* Catch writes to pages that UFFDIO_WRITEPROTECT has protected. */
#define UFFDIO_REGISTER_MODE_WP		((__u64)1<<1)
/* Catch accesses to pages that the file has but the process does not map. */
#define UFFDIO_REGISTER_MODE_MINOR	((__u64)1<<2)
/* Catch all accesses to pages that UFFDIO_RWPROTECT has protected. */
#define UFFDIO_REGISTER_MODE_RWP	((__u64)1<<3)

#define UFFD_API_REGISTER_MODES						\
	(UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP |	\
	 UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_RWP)

/* The most that UFFDIO_REGISTER answers in @ioctls if hugetlbfs is met... */
#define UFFD_API_RANGE_IOCTLS_BASIC					\
	((__u64)1 << _UFFDIO_WAKE | (__u64)1 << _UFFDIO_COPY |		\
	 (__u64)1 << _UFFDIO_WRITEPROTECT | (__u64)1 << _UFFDIO_CONTINUE | \
	 (__u64)1 << _UFFDIO_POISON | (__u64)1 << _UFFDIO_RWPROTECT)
/* ...and if not. WRITEPROTECT, CONTINUE and RWPROTECT depend on the mode. */
#define UFFD_API_RANGE_IOCTLS						\
	(UFFD_API_RANGE_IOCTLS_BASIC |					\
	 (__u64)1 << _UFFDIO_ZEROPAGE | (__u64)1 << _UFFDIO_MOVE)

struct uffdio_register {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_REGISTER_MODE_* */
	__u64 ioctls;		/* out, never read */
};
#define UFFDIO_REGISTER							\
	_IOWR(UFFDIO, _UFFDIO_REGISTER, struct uffdio_register)

/*
 * Also wakes whoever sleeps on a missing page of the range. Memory that is not
 * registered is passed over; that of another descriptor is EINVAL.
 *
 * The direction bits of this request and of UFFDIO_WAKE are the wrong way
 * round and stay so: the kernel reads the structure.
 */
#define UFFDIO_UNREGISTER						\
	_IOR(UFFDIO, _UFFDIO_UNREGISTER, struct uffdio_range)

/* ----------------------------------------------------------------------
 * UFFDIO_WAKE: let the sleepers of a range look again
 *
 * The requests below wake the range they have changed, unless told not to
 * (DONTWAKE), so this one is for batches and for faults that have gone stale.
 */
#define UFFDIO_WAKE		_IOR(UFFDIO, _UFFDIO_WAKE, struct uffdio_range)

/* ----------------------------------------------------------------------
 * Filling
 *
 * These return 0 if all of the range was done, and then the last field has its
 * length. If not, the last field has the bytes that were done (the request
 * answers EAGAIN) or a negated errno (the request answers that errno). The
 * last field is never read. The range lies in one mapping.
 *
 * EAGAIN	a part was done; or an event is being delivered or the mapping
 *		has changed meanwhile: try again
 * EEXIST	there is something already
 * ENOENT	the range is not in one registered mapping
 * EFAULT	the source is not readable, the file has no such page, or the
 *		range is beyond its end
 * EINVAL	range, mode, or memory that cannot do it
 * ENOMEM	no memory, or a shared file is filled beyond its end
 * ESRCH	the process is gone
 */

/* UFFDIO_COPY: missing pages become a copy. @src need not be aligned. */
#define UFFDIO_COPY_MODE_DONTWAKE	((__u64)1<<0)
/* The new pages are write-protected; only in a range with mode WP. */
#define UFFDIO_COPY_MODE_WP		((__u64)1<<1)

struct uffdio_copy {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;		/* UFFDIO_COPY_MODE_* */
	__s64 copy;		/* out: bytes or -errno */
};
#define UFFDIO_COPY		_IOWR(UFFDIO, _UFFDIO_COPY, struct uffdio_copy)

/* UFFDIO_ZEROPAGE: missing pages become zeroes. Not for hugetlbfs. */
#define UFFDIO_ZEROPAGE_MODE_DONTWAKE	((__u64)1<<0)

struct uffdio_zeropage {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_ZEROPAGE_MODE_* */
	__s64 zeropage;		/* out: bytes or -errno */
};
#define UFFDIO_ZEROPAGE							\
	_IOWR(UFFDIO, _UFFDIO_ZEROPAGE, struct uffdio_zeropage)

/*
 * UFFDIO_MOVE: private anonymous pages move to where they are missing, without
 * a copy, and are gone at the source. Only within the calling process.
 *
 * EBUSY	a source page is pinned or shared with another process
 * ENOENT	a source page is not there
 */
#define UFFDIO_MOVE_MODE_DONTWAKE	((__u64)1<<0)
/* A source page that is not there counts as moved. */
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES	((__u64)1<<1)

struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;		/* UFFDIO_MOVE_MODE_* */
	__s64 move;		/* out: bytes or -errno */
};
#define UFFDIO_MOVE		_IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)

/* UFFDIO_CONTINUE: map pages that the file has. The answer to a minor fault. */
#define UFFDIO_CONTINUE_MODE_DONTWAKE	((__u64)1<<0)
/* The mapping is write-protected; only in a range with mode WP. */
#define UFFDIO_CONTINUE_MODE_WP		((__u64)1<<1)

struct uffdio_continue {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_CONTINUE_MODE_* */
	__s64 mapped;		/* out: bytes or -errno */
};
#define UFFDIO_CONTINUE							\
	_IOWR(UFFDIO, _UFFDIO_CONTINUE, struct uffdio_continue)

/*
 * UFFDIO_POISON: touching the pages becomes a memory error, that is SIGBUS with
 * BUS_MCEERR_AR. madvise(MADV_DONTNEED) takes it back.
 */
#define UFFDIO_POISON_MODE_DONTWAKE	((__u64)1<<0)

struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_POISON_MODE_* */
	__s64 updated;		/* out: bytes or -errno */
};
#define UFFDIO_POISON							\
	_IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)

/* ----------------------------------------------------------------------
 * Protecting
 *
 * All or nothing: there is no result field. All of the range must be registered
 * with the mode.
 *
 * EAGAIN	an event is being delivered: try again
 * EINVAL	range or mode
 * ENOENT	a part of the range is not registered so
 * ESRCH	the process is gone
 */

/* UFFDIO_WRITEPROTECT: with MODE_WP protect, without it unprotect and wake. */
#define UFFDIO_WRITEPROTECT_MODE_WP		((__u64)1<<0)
/* Do not wake; an error together with MODE_WP, which never does. */
#define UFFDIO_WRITEPROTECT_MODE_DONTWAKE	((__u64)1<<1)

struct uffdio_writeprotect {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_WRITEPROTECT_MODE_* */
};
#define UFFDIO_WRITEPROTECT						\
	_IOWR(UFFDIO, _UFFDIO_WRITEPROTECT, struct uffdio_writeprotect)

/* UFFDIO_RWPROTECT: the same against reads as well. */
#define UFFDIO_RWPROTECT_MODE_RWP		((__u64)1<<0)
#define UFFDIO_RWPROTECT_MODE_DONTWAKE		((__u64)1<<1)

struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;		/* UFFDIO_RWPROTECT_MODE_* */
};
#define UFFDIO_RWPROTECT						\
	_IOWR(UFFDIO, _UFFDIO_RWPROTECT, struct uffdio_rwprotect)

/* ----------------------------------------------------------------------
 * UFFDIO_SET_MODE: switch features after the handshake
 *
 * Only UFFD_FEATURE_RWP_ASYNC. On return no fault is under way that has seen
 * the old setting; switching it on wakes every sleeper.
 *
 * EINVAL	another feature, one in both fields, or no UFFD_FEATURE_RWP
 * ESRCH	the process is gone
 */
struct uffdio_set_mode {
	__u64 enable;		/* features to switch on */
	__u64 disable;		/* features to switch off */
};
#define UFFDIO_SET_MODE							\
	_IOW(UFFDIO, _UFFDIO_SET_MODE, struct uffdio_set_mode)

/* ----------------------------------------------------------------------
 * Messages
 *
 * read(2) gives whole messages, as many as there are and fit. It waits for the
 * first one only, and not even for that on an O_NONBLOCK descriptor (EAGAIN).
 * A buffer too short for one is EINVAL. Fields that an event does not use are 0.
 */

/* The numbers start where a stray 0 or 1 means nothing. */
#define UFFD_EVENT_PAGEFAULT	0x12	/* arg.pagefault: a thread sleeps */
#define UFFD_EVENT_FORK		0x13	/* arg.fork: the process has a child */
#define UFFD_EVENT_REMAP	0x14	/* arg.remap: mremap(2) moved a range */
#define UFFD_EVENT_REMOVE	0x15	/* arg.remove: its pages are dropped */
#define UFFD_EVENT_UNMAP	0x16	/* arg.remove: the range is gone */

/* Bits of arg.pagefault.flags. None of the last three: the page is missing. */
#define UFFD_PAGEFAULT_FLAG_WRITE	(1<<0)	/* the access is a write */
#define UFFD_PAGEFAULT_FLAG_WP		(1<<1)	/* write-protected */
#define UFFD_PAGEFAULT_FLAG_MINOR	(1<<2)	/* in the file, not mapped */
#define UFFD_PAGEFAULT_FLAG_RWP		(1<<3)	/* protected */

struct uffd_msg {
	__u8 event;		/* UFFD_EVENT_* */
	__u8 reserved1;
	__u16 reserved2;
	__u32 reserved3;

	union {
		struct {
			__u64 flags;		/* UFFD_PAGEFAULT_FLAG_* */
			__u64 address;
			union {
				__u32 ptid;	/* the thread's number */
			} feat;
		} pagefault;

		/* @ufd is a new descriptor of the reader, for the child. */
		struct {
			__u32 ufd;
		} fork;

		struct {
			__u64 from;
			__u64 to;
			__u64 len;
		} remap;

		/* @end is the first byte after the range. */
		struct {
			__u64 start;
			__u64 end;
		} remove;

		/* All of it, so that every message has the same length. */
		struct {
			__u64 reserved1;
			__u64 reserved2;
			__u64 reserved3;
		} reserved;
	} arg;
} __attribute__((packed));

#endif /* _UAPI_LINUX_USERFAULTFD_H */
