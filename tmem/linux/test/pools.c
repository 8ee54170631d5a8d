// SPDX-License-Identifier: GPL-2.0
/* Making and destroying pools, and calls that name no pool or no command that there is. */
#include <linux/bitmap.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "tmem_test.h"

#define VERSION	(TMEM_ABI_VERSION << TMEM_POOL_VERSION_SHIFT)

static void pool_ids_are_distinct(void)
{
	int a = new_pool(0), b = new_pool(TMEM_POOL_PERSIST), c = new_pool(0);

	CHECK(a >= 0 && a < TMEM_MAX_POOLS, "ephemeral pool: %d", a);
	CHECK(b >= 0 && b < TMEM_MAX_POOLS, "persistent pool: %d", b);
	CHECK(c >= 0 && c < TMEM_MAX_POOLS, "ephemeral pool: %d", c);
	CHECK(a != b && b != c && a != c, "pools %d %d %d", a, b, c);
}

/* 16 pools; the next one is refused; a destroyed one makes place for another, which is empty. */
static void pool_limit(void)
{
	const unsigned int most = TMEM_MAX_POOLS - pools_in_use;
	int pools[TMEM_MAX_POOLS + 1];
	unsigned int i, round;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < most; i++) {
			pools[i] = new_pool(i % 2 ? TMEM_POOL_PERSIST : 0);
			CHECK(pools[i] >= 0, "pool %u of %u: %d", i + 1, most, pools[i]);
			EXPECT(put_seed(&HANDLE(pools[i], 1, 1), i), 1);
		}
		EXPECT(new_pool(0), -EPERM);
		EXPECT(new_pool(TMEM_POOL_PERSIST), -EPERM);
		for (i = 0; i < most; i++)
			EXPECT(get_seed(&HANDLE(pools[i], 1, 1), i), 1);

		CHECK(destroy_pool(pools[most / 2]) >= 0, "pool could not be destroyed");
		pools[most / 2] = new_pool(0);
		CHECK(pools[most / 2] >= 0, "no pool in the place of another: %d", pools[most / 2]);
		EXPECT(get_seed(&HANDLE(pools[most / 2], 1, 1), 0), -TMEM_EEMPTY);
		for (i = 0; i < most; i++)
			CHECK(destroy_pool(pools[i]) >= 0, "pool %u could not be destroyed", i);
	}
}

static void destroy_takes_the_pages(void)
{
	static const u32 kinds[] = { 0, TMEM_POOL_PERSIST };
	unsigned int kind, i;

	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		int pool = new_pool(kinds[kind]), again;

		CHECK(pool >= 0, "new pool: %d", pool);
		for (i = 0; i < 1000; i++)
			EXPECT(put_seed(&HANDLE(pool, i % 10, i), i), 1);
		CHECK(destroy_pool(pool) >= 0, "pool %d could not be destroyed", pool);
		EXPECT(get_seed(&HANDLE(pool, 0, 0), 0), -ENODEV);
		again = new_pool(kinds[kind]);
		CHECK(again >= 0, "new pool: %d", again);
		EXPECT(put_seed(&HANDLE(again, 100, 0), 0), 1);
		for (i = 0; i < 1000; i++)
			EXPECT(get_seed(&HANDLE(again, i % 10, i), i), 0);
		CHECK(destroy_pool(again) >= 0, "pool %d could not be destroyed", again);
	}
}

static void destroying_an_absent_pool_is_nothing(void)
{
	int pool = new_pool(0);

	CHECK(pool >= 0, "new pool: %d", pool);
	CHECK(destroy_pool(pool) >= 0, "pool %d could not be destroyed", pool);
	EXPECT(destroy_pool(pool), 0);
	EXPECT(destroy_pool(pool), 0);
}

static void unknown_pool(void)
{
	static const s32 strange[] = {
		-1, TMEM_MAX_POOLS, TMEM_MAX_POOLS + 1, 255, 256, 65536, S32_MAX, S32_MIN,
	};
	unsigned int i;
	int gone = new_pool(0);

	CHECK(gone >= 0, "new pool: %d", gone);
	CHECK(destroy_pool(gone) >= 0, "pool %d could not be destroyed", gone);
	for (i = 0; i <= ARRAY_SIZE(strange); i++) {
		s32 pool = i < ARRAY_SIZE(strange) ? strange[i] : gone;
		int rc;

		rc = put_seed(&HANDLE(pool, 1, 1), 1);
		CHECK(rc == -ENODEV, "put to pool %d: %d", pool, rc);
		rc = get_seed(&HANDLE(pool, 1, 1), 1);
		CHECK(rc == -ENODEV, "get from pool %d: %d", pool, rc);
		rc = flush_page(&HANDLE(pool, 1, 1));
		CHECK(rc == -ENODEV, "flush of a page in pool %d: %d", pool, rc);
		rc = flush_object(&HANDLE(pool, 1, 1));
		CHECK(rc == -ENODEV, "flush of an object in pool %d: %d", pool, rc);
	}
	/* What lies outside the range of ids is absent, too. */
	for (i = 0; i < ARRAY_SIZE(strange); i++) {
		int rc = destroy_pool(strange[i]);

		CHECK(rc == 0 || rc == -ENODEV, "destroying pool %d: %d", strange[i], rc);
	}
}

static void impossible_pools_are_refused(void)
{
	static const u32 flags[] = {
		/* version */
		0,
		(TMEM_ABI_VERSION + 1) << TMEM_POOL_VERSION_SHIFT,
		0xffu << TMEM_POOL_VERSION_SHIFT,
		/* page size */
		VERSION | 1 << TMEM_POOL_PAGESIZE_SHIFT,
		VERSION | 4 << TMEM_POOL_PAGESIZE_SHIFT,
		VERSION | 15 << TMEM_POOL_PAGESIZE_SHIFT,
		/* reserved bits */
		VERSION | 0x00000100,
		VERSION | 0x00800000,
		VERSION | TMEM_POOL_RESERVED,
		/* both */
		VERSION | TMEM_POOL_PERSIST | TMEM_POOL_SHARED,
		0xffffffff,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		int rc = new_pool_raw(flags[i], 1, 2);

		CHECK(rc == -EPERM, "new pool with flags %#x: %d", flags[i], rc);
	}
}

static void unknown_commands(void)
{
	static const u32 commands[] = { 3, 8, 9, 10, 11, 99, 1000, 0x7fffffff, 0xffffffff };
	unsigned int i;
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_seed(&HANDLE(pool, 1, 1), 1), 1);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		int rc = page_call(commands[i], &HANDLE(pool, 1, 1), frame_of(source));

		CHECK(rc == -ENOSYS, "command %u: %d", commands[i], rc);
	}
	EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), 1);
}

/* Control is the toolstack's, and no guest's: XEN_SYSCTL_tmem_op of tmem_control.h. */
static void control_is_refused(void)
{
	struct tmem_request op = { .command = 0 };
	struct {
		u32 command, interface_version;
		u32 version, operation, domain, pad;
		u64 rest[14];
	} sysctl = { .command = 24, .interface_version = 0x15, .version = 4, .operation = 6 };

	EXPECT(raw_call(&op), -ENOSYS);
	EXPECT(raw_sysctl(&sysctl), -EPERM);
}

/*
 * The operation itself lies where the guest can't read it: nowhere, in Xen, or half beyond a
 * page.
 */
static void unreadable_operations(void)
{
	static const unsigned long addresses[] = {
		0,
		8,
		0x0000800000000000ul,	/* not canonical */
		0xffff7ffffffffff8ul,	/* the last such */
		0xffff800000000000ul,	/* Xen's, in a PV guest: the machine-to-physical table */
		0xffff82d080000000ul,	/* Xen's text */
		0xffff830000000000ul,	/* Xen's map of all memory */
		0xffffffffffffffe0ul,	/* wraps around */
		~0ul,
	};
	struct tmem_request *op;
	unsigned int i;
	void *area;
	int pool = new_pool(TMEM_POOL_PERSIST), rc;

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		rc = raw_call((void *)addresses[i]);
		CHECK(rc == -EFAULT, "operation at %#lx: %d", addresses[i], rc);
	}
	/* An area of vmalloc is followed by a page that is not mapped. */
	area = vmalloc(PAGE_SIZE);
	CHECK(area, "no memory");
	memset(area, 0, PAGE_SIZE);
	op = area + PAGE_SIZE - offsetof(struct tmem_request, page.frame);
	op->command = TMEM_FLUSH_PAGE;
	op->pool_id = pool;
	rc = raw_call(op);
	vfree(area);
	EXPECT(rc, -EFAULT);
}

const struct test_case pool_cases[] = {
	CASE(pool_ids_are_distinct),
	CASE(pool_limit),
	CASE(destroy_takes_the_pages),
	CASE(destroying_an_absent_pool_is_nothing),
	CASE(unknown_pool),
	CASE(impossible_pools_are_refused),
	CASE(unknown_commands),
	CASE(control_is_refused),
	CASE(unreadable_operations),
	END_OF_CASES
};
