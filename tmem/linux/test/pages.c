// SPDX-License-Identifier: GPL-2.0
/* What becomes of a page: round trips, exclusive and repeatable gets, coherency, flushes. */
#include <linux/errno.h>
#include <linux/sched.h>

#include "tmem_test.h"

#define MANY	4096

/*
 * Ephemeral pages may vanish at any time, so a miss is no error. But when nobody is short of
 * memory most pages that were put a moment ago are there.
 */
static void ephemeral_round_trip(void)
{
	const unsigned int batch = 64;
	unsigned int first, i, found = 0;
	int pool = new_pool(0);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (first = 0; first < MANY; first += batch) {
		for (i = first; i < first + batch; i++) {
			int rc = put_seed(&HANDLE(pool, 1, i), i);

			CHECK(rc == 1 || rc == -ENOMEM, "put %u: %d", i, rc);
		}
		for (i = first; i < first + batch; i++) {
			int rc = get_seed(&HANDLE(pool, 1, i), i);

			CHECK(rc == 0 || rc == 1, "get %u: %d", i, rc);
			found += rc;
		}
		cond_resched();
	}
	comment("%s: %u of %u pages found", __func__, found, MANY);
	CHECK(found >= MANY / 2, "only %u of %u pages were found", found, MANY);
}

/* Each page that was accepted is there, however often it is asked for. */
static void persistent_round_trip(void)
{
	unsigned int i, round, held = 0;
	int rc, pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < MANY; i++) {
		rc = put_seed(&HANDLE(pool, 1, i), i);
		if (rc == -ENOMEM)
			break;
		CHECK(rc == 1, "put %u: %d", i, rc);
		held++;
	}
	comment("%s: %u of %u pages accepted", __func__, held, MANY);
	CHECK(held >= MANY / 4, "only %u pages accepted: no allowance left?", held);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < held; i++) {
			rc = get_seed(&HANDLE(pool, 1, i), i);
			CHECK(rc == 1, "get %u in round %u: %d", i, round, rc);
		}
		cond_resched();
	}
}

static void ephemeral_get_is_exclusive(void)
{
	int pool = new_pool(0);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_seed(&HANDLE(pool, 1, 0), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 0);
	EXPECT(put_seed(&HANDLE(pool, 1, 0), 2), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 2), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 2), 0);
}

static void persistent_get_repeats(void)
{
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_seed(&HANDLE(pool, 1, 0), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
}

/* Xen keeps a copy: what the guest writes to its page afterwards does not reach it. */
static void put_copies(void)
{
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_seed(&HANDLE(pool, 1, 0), 1), 1);
	fill(source, 2);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
	/* And the page that was got is a copy as well. */
	fill(target, 3);
	EXPECT(get_seed(&HANDLE(pool, 1, 0), 1), 1);
}

static void duplicate_put(u32 flags)
{
	unsigned int i;
	int pool = new_pool(flags);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < 256; i++) {
		EXPECT(put_seed(&HANDLE(pool, 1, i), i), 1);
		EXPECT(put_seed(&HANDLE(pool, 1, i), 1000 + i), 1);
	}
	for (i = 0; i < 256; i++)
		EXPECT(get_seed(&HANDLE(pool, 1, i), 1000 + i), 1);
}

static void ephemeral_duplicate_put_replaces(void)
{
	duplicate_put(0);
}

static void persistent_duplicate_put_replaces(void)
{
	duplicate_put(TMEM_POOL_PERSIST);
}

static void flush_page_case(u32 flags)
{
	int pool = new_pool(flags);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_seed(&HANDLE(pool, 1, 1), 1), 1);
	EXPECT(put_seed(&HANDLE(pool, 1, 2), 2), 1);
	EXPECT(put_seed(&HANDLE(pool, 1, 3), 3), 1);
	EXPECT(put_seed(&HANDLE(pool, 2, 2), 4), 1);
	EXPECT(flush_page(&HANDLE(pool, 1, 2)), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 2), 2), 0);
	/* The neighbours, and the page of the same index in another object, stay. */
	EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 3), 3), 1);
	EXPECT(get_seed(&HANDLE(pool, 2, 2), 4), 1);
	/* A handle can be used again. */
	EXPECT(put_seed(&HANDLE(pool, 1, 2), 5), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 2), 5), 1);
}

static void ephemeral_flush_page(void)
{
	flush_page_case(0);
}

static void persistent_flush_page(void)
{
	flush_page_case(TMEM_POOL_PERSIST);
}

static void flush_object_case(u32 flags)
{
	const unsigned int pages = 600;
	unsigned int i;
	int pool = new_pool(flags);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < pages; i++)
		EXPECT(put_seed(&HANDLE(pool, 1, i * 7919), i), 1);
	EXPECT(put_seed(&HANDLE(pool, 2, 0), 1), 1);
	EXPECT(flush_object(&HANDLE(pool, 1, 12345)), 1);
	for (i = 0; i < pages; i++)
		EXPECT(get_seed(&HANDLE(pool, 1, i * 7919), i), 0);
	EXPECT(get_seed(&HANDLE(pool, 2, 0), 1), 1);
	EXPECT(put_seed(&HANDLE(pool, 1, 7919), 5), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 7919), 5), 1);
}

static void ephemeral_flush_object(void)
{
	flush_object_case(0);
}

static void persistent_flush_object(void)
{
	flush_object_case(TMEM_POOL_PERSIST);
}

static void flush_absent_succeeds(void)
{
	static const u32 kinds[] = { 0, TMEM_POOL_PERSIST };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		int pool = new_pool(kinds[i]);

		CHECK(pool >= 0, "new pool: %d", pool);
		/*
		 * In a pool that never held a page; then beside a page; then what has just been
		 * flushed.
		 */
		EXPECT(flush_page(&HANDLE(pool, 1, 1)), 1);
		EXPECT(flush_object(&HANDLE(pool, 1, 1)), 1);
		EXPECT(put_seed(&HANDLE(pool, 1, 1), 1), 1);
		EXPECT(flush_page(&HANDLE(pool, 1, 2)), 1);
		EXPECT(flush_page(&HANDLE(pool, 2, 1)), 1);
		EXPECT(flush_object(&HANDLE(pool, 2, 1)), 1);
		EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), 1);
		EXPECT(flush_page(&HANDLE(pool, 1, 1)), 1);
		EXPECT(flush_page(&HANDLE(pool, 1, 1)), 1);
		EXPECT(flush_object(&HANDLE(pool, 1, 1)), 1);
	}
}

static void get_misses(void)
{
	static const u32 kinds[] = { 0, TMEM_POOL_PERSIST };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		int pool = new_pool(kinds[i]);

		CHECK(pool >= 0, "new pool: %d", pool);
		EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), -TMEM_EEMPTY);
		EXPECT(put_seed(&HANDLE(pool, 1, 1), 1), 1);
		EXPECT(get_seed(&HANDLE(pool, 1, 2), 1), 0);
		EXPECT(get_seed(&HANDLE(pool, 2, 1), 1), 0);
		/* Once it held a page, it never is "empty" again. */
		EXPECT(flush_object(&HANDLE(pool, 1, 0)), 1);
		EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), 0);
	}
}

/* tmem_offset, pfn_offset and length have no effect: whole pages are moved. */
static void offsets_are_ignored(void)
{
	int pool = new_pool(TMEM_POOL_PERSIST);
	struct tmem_request op = {
		.command = TMEM_PUT_PAGE,
		.pool_id = pool,
		.page.index = 1,
		.page.object.word[0] = 1,
		.page.tmem_offset = 17,
		.page.pfn_offset = 0xffffffff,
		.page.length = 3,
	};

	CHECK(pool >= 0, "new pool: %d", pool);
	fill(source, 1);
	op.page.frame = frame_of(source);
	EXPECT(raw_call(&op), 1);
	EXPECT(get_seed(&HANDLE(pool, 1, 1), 1), 1);
	op.command = TMEM_GET_PAGE;
	op.page.frame = frame_of(target);
	fill(target, 2);
	EXPECT(raw_call(&op), 1);
	CHECK(holds(target, 1), "the page was not got whole");
}

const struct test_case page_cases[] = {
	CASE(ephemeral_round_trip),
	CASE(persistent_round_trip),
	CASE(ephemeral_get_is_exclusive),
	CASE(persistent_get_repeats),
	CASE(put_copies),
	CASE(ephemeral_duplicate_put_replaces),
	CASE(persistent_duplicate_put_replaces),
	CASE(ephemeral_flush_page),
	CASE(persistent_flush_page),
	CASE(ephemeral_flush_object),
	CASE(persistent_flush_object),
	CASE(flush_absent_succeeds),
	CASE(get_misses),
	CASE(offsets_are_ignored),
	END_OF_CASES
};
