// SPDX-License-Identifier: GPL-2.0
/* What persistent pages cost the guest: they are refused once it has all the memory it may have. */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sched.h>

#include "tmem_test.h"

#define SLACK	32	/* pages that may come and go meanwhile */
#define BACKED	16384	/* 64 MB: a host that runs this has so much */
#define MOST	262144	/* 1 GB: more than that is not filled */

/* Fill the guest's allowance with pages of @pool; how many it took, or a negative error. */
static int fill_allowance(int pool)
{
	unsigned int i;
	int rc;

	for (i = 0; i < MOST; i++) {
		rc = put_seed(&HANDLE(pool, i / 1000, i), i);
		if (rc == -ENOMEM)
			return i;
		if (rc != 1)
			return rc < 0 ? rc : -EPROTO;
		if (i % 256 == 0)
			cond_resched();
	}
	return -E2BIG;
}

static void persistent_pages_are_charged(void)
{
	long left = allowance_left();
	int pool = new_pool(TMEM_POOL_PERSIST), held, again, i, rc;

	CHECK(pool >= 0, "new pool: %d", pool);
	held = fill_allowance(pool);
	comment("%s: allowance %ld, %d pages accepted", __func__, left, held);
	CHECK(held > 0, "filling the allowance: %d", held);
	CHECK(held <= left + SLACK, "%d pages accepted where %ld are allowed", held, left);
	/* A large allowance may be more than Xen has. */
	CHECK(left > BACKED || held >= left - SLACK, "%d pages accepted where %ld are allowed",
	      held, left);

	/* Full is full, for another handle and another pool; ephemeral pages are nobody's. */
	EXPECT(put_seed(&HANDLE(pool, 1000000, 0), 1), -ENOMEM);
	EXPECT(put_seed(&HANDLE(new_pool(TMEM_POOL_PERSIST), 1, 1), 1), -ENOMEM);
	EXPECT(put_seed(&HANDLE(new_pool(0), 1, 1), 1), 1);

	/* Refusals did no harm to what was accepted. */
	for (i = 0; i < held; i += 37) {
		rc = get_seed(&HANDLE(pool, i / 1000, i), i);
		CHECK(rc == 1, "page %d of %d: %d", i, held, rc);
	}
	/* Whatever becomes of a duplicate put now, the old content is not got again. */
	rc = put_seed(&HANDLE(pool, 0, 0), 12345);
	CHECK(rc == 1 || rc == -ENOMEM, "duplicate put: %d", rc);
	EXPECT(get_seed(&HANDLE(pool, 0, 0), 12345), rc == 1);

	/* Each page flushed is a page that can be put. */
	for (i = 500; i < 510; i++)
		EXPECT(flush_page(&HANDLE(pool, 0, i)), 1);
	for (i = 500; i < 510; i++)
		EXPECT(put_seed(&HANDLE(pool, 0, i), i), 1);

	/* All of it comes back, with the pool or with its objects. */
	CHECK(destroy_pool(pool) >= 0, "pool could not be destroyed");
	pool = new_pool(TMEM_POOL_PERSIST);
	CHECK(pool >= 0, "new pool: %d", pool);
	again = fill_allowance(pool);
	CHECK(abs(again - held) <= SLACK, "%d pages accepted, then %d", held, again);
	for (i = 0; i <= again / 1000; i++)
		EXPECT(flush_object(&HANDLE(pool, i, 0)), 1);
	again = fill_allowance(pool);
	CHECK(abs(again - held) <= SLACK, "%d pages accepted, %d after flushes", held, again);
}

/* However many ephemeral pages there are, persistent ones stay. */
static void persistent_pages_stay(void)
{
	const int kept = 64, thrown = 8192;
	int persistent = new_pool(TMEM_POOL_PERSIST), ephemeral = new_pool(0), i, rc;

	CHECK(persistent >= 0 && ephemeral >= 0, "new pools: %d %d", persistent, ephemeral);
	for (i = 0; i < kept; i++)
		EXPECT(put_seed(&HANDLE(persistent, 1, i), i), 1);
	for (i = 0; i < thrown; i++) {
		rc = put_seed(&HANDLE(ephemeral, 1, i), i);
		CHECK(rc == 1 || rc == -ENOMEM, "ephemeral put %d: %d", i, rc);
		if (i % 256 == 0)
			cond_resched();
	}
	for (i = 0; i < kept; i++)
		EXPECT(get_seed(&HANDLE(persistent, 1, i), i), 1);
}

const struct test_case limit_cases[] = {
	CASE(persistent_pages_are_charged),
	CASE(persistent_pages_stay),
	END_OF_CASES
};
