// SPDX-License-Identifier: GPL-2.0
/* What tells pages apart: pool, the three words of the object's id, and the index. */
#include <linux/kernel.h>
#include <linux/random.h>
#include <linux/sched.h>

#include "tmem_test.h"

/* All three words count, in their low, middle and high bits. */
static void object_id_words_all_count(void)
{
	static const u64 bits[] = { 1, 1ull << 31, 1ull << 32, 1ull << 63, ~0ull };
	struct handle handles[1 + 3 * ARRAY_SIZE(bits)] = { };
	unsigned int word, bit, i, n = 1;
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	handles[0].pool = pool;	/* the object whose words are 0 */
	for (word = 0; word < 3; word++)
		for (bit = 0; bit < ARRAY_SIZE(bits); bit++, n++) {
			handles[n].pool = pool;
			handles[n].object.word[word] = bits[bit];
		}
	for (i = 0; i < n; i++)
		EXPECT(put_seed(&handles[i], 100 + i), 1);
	for (i = 0; i < n; i++)
		EXPECT(get_seed(&handles[i], 100 + i), 1);
	/* Flushing every other object leaves those between. */
	for (i = 0; i < n; i += 2)
		EXPECT(flush_object(&handles[i]), 1);
	for (i = 0; i < n; i++)
		EXPECT(get_seed(&handles[i], 100 + i), i % 2);
}

/* The same words in another order are another object. */
static void object_id_order_counts(void)
{
	static const u8 orders[][3] = {
		{ 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 },
	};
	struct handle handles[ARRAY_SIZE(orders)] = { };
	unsigned int i, word;
	int pool = new_pool(0);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		handles[i].pool = pool;
		for (word = 0; word < 3; word++)
			handles[i].object.word[word] = orders[i][word];
		EXPECT(put_seed(&handles[i], i), 1);
	}
	for (i = 0; i < ARRAY_SIZE(orders); i++)
		EXPECT(get_seed(&handles[i], i), 1);
}

static void index_has_32_bits(void)
{
	static const u32 indices[] = {
		0, 1, 63, 64, 65, 4095, 4096, 65535, 65536, 1u << 24, S32_MAX, 1u << 31,
		INDEX_MAX - 1, INDEX_MAX,
	};
	unsigned int i;
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	/* Alone in its object, and beside all the others. */
	for (i = 0; i < ARRAY_SIZE(indices); i++) {
		EXPECT(put_seed(&HANDLE(pool, 1, indices[i]), i), 1);
		EXPECT(put_seed(&HANDLE(pool, 100 + i, indices[i]), 50 + i), 1);
	}
	for (i = 0; i < ARRAY_SIZE(indices); i++) {
		EXPECT(get_seed(&HANDLE(pool, 1, indices[i]), i), 1);
		EXPECT(get_seed(&HANDLE(pool, 100 + i, indices[i]), 50 + i), 1);
	}
	for (i = ARRAY_SIZE(indices); i-- > 0;) {
		EXPECT(flush_page(&HANDLE(pool, 1, indices[i])), 1);
		EXPECT(get_seed(&HANDLE(pool, 1, indices[i]), i), 0);
		EXPECT(get_seed(&HANDLE(pool, 100 + i, indices[i]), 50 + i), 1);
	}
}

static void many_objects(void)
{
	const unsigned int objects = 2000;
	unsigned int i;
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < objects; i++)
		EXPECT(put_seed(&HANDLE(pool, i * 0x100000001ull, i), i), 1);
	cond_resched();
	for (i = 0; i < objects; i++)
		EXPECT(get_seed(&HANDLE(pool, i * 0x100000001ull, i), i), 1);
	for (i = 0; i < objects; i += 3)
		EXPECT(flush_object(&HANDLE(pool, i * 0x100000001ull, 0)), 1);
	for (i = 0; i < objects; i++)
		EXPECT(get_seed(&HANDLE(pool, i * 0x100000001ull, i), i), i % 3 ? 1 : 0);
}

/* Indices all over the place in one object, some of them flushed and put again. */
static void scattered_indices(void)
{
	const unsigned int pages = 2000;
	unsigned int i;
	int pool = new_pool(TMEM_POOL_PERSIST);

	CHECK(pool >= 0, "new pool: %d", pool);
	/* An odd factor makes a permutation of the 32-bit numbers. */
	for (i = 0; i < pages; i++)
		EXPECT(put_seed(&HANDLE(pool, 1, i * 2654435761u), i), 1);
	cond_resched();
	for (i = 0; i < pages; i += 2)
		EXPECT(flush_page(&HANDLE(pool, 1, i * 2654435761u)), 1);
	for (i = 0; i < pages; i += 4)
		EXPECT(put_seed(&HANDLE(pool, 1, i * 2654435761u), 5000 + i), 1);
	cond_resched();
	for (i = 0; i < pages; i++) {
		u64 seed = i % 4 ? i : 5000 + i;

		EXPECT(get_seed(&HANDLE(pool, 1, i * 2654435761u), seed), i % 4 != 2);
	}
}

static void pools_are_apart(void)
{
	int a = new_pool(TMEM_POOL_PERSIST), b = new_pool(TMEM_POOL_PERSIST), c = new_pool(0);

	CHECK(a >= 0 && b >= 0 && c >= 0, "new pools: %d %d %d", a, b, c);
	EXPECT(put_seed(&HANDLE(a, 1, 1), 1), 1);
	EXPECT(put_seed(&HANDLE(b, 1, 1), 2), 1);
	EXPECT(put_seed(&HANDLE(c, 1, 1), 3), 1);
	EXPECT(get_seed(&HANDLE(a, 1, 1), 1), 1);
	EXPECT(get_seed(&HANDLE(b, 1, 1), 2), 1);
	EXPECT(flush_object(&HANDLE(a, 1, 0)), 1);
	EXPECT(get_seed(&HANDLE(b, 1, 1), 2), 1);
	EXPECT(get_seed(&HANDLE(c, 1, 1), 3), 1);
	EXPECT(get_seed(&HANDLE(a, 1, 1), 1), 0);
}

const struct test_case handle_cases[] = {
	CASE(object_id_words_all_count),
	CASE(object_id_order_counts),
	CASE(index_has_32_bits),
	CASE(many_objects),
	CASE(scattered_indices),
	CASE(pools_are_apart),
	END_OF_CASES
};
