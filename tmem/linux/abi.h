/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Xen's tmem ABI, version 1, as seen by a 64-bit guest.
 *
 * The numbers are those of Xen's public/tmem.h with __XEN_INTERFACE_VERSION__ of
 * 0x00040600 or later; the layout is the same for every older version.
 */
#ifndef TMEM_ABI_H
#define TMEM_ABI_H

#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define TMEM_ABI_VERSION	1

enum tmem_command {
	TMEM_NEW_POOL		= 1,
	TMEM_DESTROY_POOL	= 2,
	TMEM_PUT_PAGE		= 4,
	TMEM_GET_PAGE		= 5,
	TMEM_FLUSH_PAGE		= 6,
	TMEM_FLUSH_OBJECT	= 7,

	/*
	 * Not in version 1, and -ENOSYS where it is unknown: whether the guest has copies of
	 * all that a pool holds (page.index), so that it may be suspended.
	 */
	TMEM_DRAINED		= 0x1001,
};

/* tmem_request.create.flags */
#define TMEM_POOL_PERSIST		0x00000001u
#define TMEM_POOL_SHARED		0x00000002u
#define TMEM_POOL_PAGESIZE_SHIFT	4	/* 4 bits: log2(page size) - 12 */
#define TMEM_POOL_RESERVED		0x00ffff00u
#define TMEM_POOL_VERSION_SHIFT		24	/* 8 bits: TMEM_ABI_VERSION */

#define TMEM_MAX_POOLS		16	/* of one guest */

/* Errors that only tmem has; both come back negated. */
#define TMEM_EFROZEN		1000	/* the toolstack has frozen this guest's tmem */
#define TMEM_EEMPTY		1001	/* get from a pool that never held a page */

struct tmem_object_id {
	u64 word[3];
};

struct tmem_request {
	u32 command;
	s32 pool_id;
	union {
		struct {			/* TMEM_NEW_POOL */
			u64 uuid[2];
			u32 flags;
			u32 reserved;
		} create;
		struct {			/* everything else */
			struct tmem_object_id object;
			u32 index;
			u32 tmem_offset;	/* these three are ignored by Xen */
			u32 pfn_offset;
			u32 length;
			u64 frame;		/* the guest's frame as Xen counts frames */
		} page;
	};
};

static_assert(sizeof(struct tmem_object_id) == 24);
static_assert(sizeof(struct tmem_request) == 56);
static_assert(offsetof(struct tmem_request, pool_id) == 4);
static_assert(offsetof(struct tmem_request, create.uuid) == 8);
static_assert(offsetof(struct tmem_request, create.flags) == 24);
static_assert(offsetof(struct tmem_request, create.reserved) == 28);
static_assert(offsetof(struct tmem_request, page.object) == 8);
static_assert(offsetof(struct tmem_request, page.index) == 32);
static_assert(offsetof(struct tmem_request, page.tmem_offset) == 36);
static_assert(offsetof(struct tmem_request, page.pfn_offset) == 40);
static_assert(offsetof(struct tmem_request, page.length) == 44);
static_assert(offsetof(struct tmem_request, page.frame) == 48);

#endif /* TMEM_ABI_H */
