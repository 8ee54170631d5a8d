// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of all sorts: of zeros, with a tail of zeros, of text, of noise, and of both. However Xen
 * stores them, each comes back as it was. Here are also the pages that a test holds while the
 * control domain looks at Xen's counters (mode=hold).
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "tmem_test.h"

#define WORDS	(PAGE_SIZE / sizeof(u64))
#define BATCH	64

static u64 mix(u64 x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void fill_text(char *at, size_t bytes, u64 seed)
{
	static const char * const words[] = {
		"static ", "int ", "struct ", "page", "->", "return ", "if (", ")\n\t", "unsigned ",
		"char ", "while (", "NULL", ";\n", " = ", "list", "_head ", "client", "lock", "(&",
		"index", "object", "frame", "0x", "1", "hash", "next", "count++", "size_t ", "void ",
		"error", "const ", "break;\n\n"
	};
	char *end = at + bytes;

	while (at < end) {
		const char *word = words[(seed = mix(seed)) % ARRAY_SIZE(words)];
		size_t length = min_t(size_t, strlen(word), end - at);

		memcpy(at, word, length);
		at += length;
	}
}

void fill_content(struct page *page, enum content content, u64 seed)
{
	u64 *words = page_address(page);
	unsigned int nr = 0, i;

	memset(words, 0, PAGE_SIZE);
	switch (content) {
	case CONTENT_ZERO:
		return;
	case CONTENT_TAIL:
		nr = 1 + mix(seed) % (WORDS - 1);
		break;
	case CONTENT_LAST:
		((u8 *)words)[PAGE_SIZE - 1] = 1 + seed % 255;
		return;
	case CONTENT_TEXT:
		fill_text((char *)words, PAGE_SIZE, seed);
		return;
	case CONTENT_MIXED:
		nr = mix(seed) % WORDS;
		fill_text((char *)(words + nr), PAGE_SIZE - nr * sizeof(*words), seed);
		break;
	case CONTENT_NOISE:
	default:
		nr = WORDS;
		break;
	}
	for (i = 0; i < nr; i++)
		words[i] = mix(seed << 9 | i) | 1;
}

/* What a get brought, or a negative error: -EILSEQ, another page. Uses both pages. */
static int get_content(const struct handle *handle, enum content content, u64 seed)
{
	int rc;

	memset(page_address(target), 0xa5, PAGE_SIZE);
	rc = get_page_into(handle, target);
	if (rc != 1)
		return rc;
	fill_content(source, content, seed);
	return memcmp(page_address(source), page_address(target), PAGE_SIZE) ? -EILSEQ : 1;
}

static int put_content(const struct handle *handle, enum content content, u64 seed)
{
	fill_content(source, content, seed);
	return put_page_from(handle, source);
}

static void round_trips(u32 flags)
{
	const unsigned int nr = 640;
	unsigned int i, round;
	int pool = new_pool(flags);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < nr; i++)
		EXPECT(put_content(&HANDLE(pool, i % 3, i), i % NR_CONTENTS, i), 1);
	/* A persistent page stays. Gets in another order leave gaps, which puts then fill. */
	for (round = 0; round < 3; round++) {
		for (i = round; i < nr; i += 3) {
			struct handle handle = HANDLE(pool, i % 3, i);

			EXPECT(get_content(&handle, i % NR_CONTENTS, i), 1);
			if (flags & TMEM_POOL_PERSIST)
				EXPECT(get_content(&handle, i % NR_CONTENTS, i), 1);
			EXPECT(flush_page(&handle), 1);
		}
		for (i = round; i < nr; i += 3)
			EXPECT(put_content(&HANDLE(pool, i % 3, i), (i + 1) % NR_CONTENTS, i), 1);
		cond_resched();
	}
	for (i = 0; i < nr; i++)
		EXPECT(get_content(&HANDLE(pool, i % 3, i), (i + 1) % NR_CONTENTS, i), 1);
}

static void ephemeral_contents_round_trip(void)
{
	round_trips(0);
}

static void persistent_contents_round_trip(void)
{
	round_trips(TMEM_POOL_PERSIST);
}

/* Every sort of page over every other: what was there before is gone, and does not shine through. */
static void replacements(u32 flags)
{
	unsigned int before, after, i = 0;
	int pool = new_pool(flags);

	CHECK(pool >= 0, "new pool: %d", pool);
	for (before = 0; before < NR_CONTENTS; before++)
		for (after = 0; after < NR_CONTENTS; after++, i++) {
			EXPECT(put_content(&HANDLE(pool, 1, i), before, i), 1);
			EXPECT(put_content(&HANDLE(pool, 1, i), after, i + 1000), 1);
		}
	for (before = i = 0; before < NR_CONTENTS; before++)
		for (after = 0; after < NR_CONTENTS; after++, i++)
			EXPECT(get_content(&HANDLE(pool, 1, i), after, i + 1000), 1);
}

static void ephemeral_contents_replace(void)
{
	replacements(0);
}

static void persistent_contents_replace(void)
{
	replacements(TMEM_POOL_PERSIST);
}

/* Equal pages in many places are still each one's own. */
static void equal_pages_are_independent(void)
{
	static const u32 kinds[] = { 0, TMEM_POOL_PERSIST };
	unsigned int kind, content;

	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		int one = new_pool(kinds[kind]), two = new_pool(kinds[kind]);

		CHECK(one >= 0 && two >= 0, "new pools: %d %d", one, two);
		for (content = 0; content < NR_CONTENTS; content++) {
			EXPECT(put_content(&HANDLE(one, 1, content), content, 7), 1);
			EXPECT(put_content(&HANDLE(one, 2, content), content, 7), 1);
			EXPECT(put_content(&HANDLE(two, 1, content), content, 7), 1);
			EXPECT(put_content(&HANDLE(two, 9, content), content, 7), 1);
			EXPECT(flush_page(&HANDLE(one, 1, content)), 1);
			EXPECT(put_content(&HANDLE(one, 2, content), CONTENT_NOISE, 8), 1);
			EXPECT(get_content(&HANDLE(one, 1, content), content, 7), 0);
			EXPECT(get_content(&HANDLE(one, 2, content), CONTENT_NOISE, 8), 1);
			EXPECT(get_content(&HANDLE(two, 1, content), content, 7), 1);
		}
		EXPECT(destroy_pool(one), 1);
		for (content = 0; content < NR_CONTENTS; content++)
			EXPECT(get_content(&HANDLE(two, 9, content), content, 7), 1);
	}
}

/* Pages that differ in one bit, wherever it is, are not taken for each other. */
static void nearly_equal_pages_differ(void)
{
	unsigned int bit, i = 0;
	int pool = new_pool(0);
	u8 *bytes = page_address(source);

	CHECK(pool >= 0, "new pool: %d", pool);
	EXPECT(put_content(&HANDLE(pool, 1, 0), CONTENT_TEXT, 7), 1);
	for (bit = 0; bit < PAGE_SIZE * 8; bit += 509) {
		fill_content(source, CONTENT_TEXT, 7);
		bytes[bit / 8] ^= 1 << bit % 8;
		EXPECT(put_page_from(&HANDLE(pool, 1, ++i), source), 1);
	}
	for (bit = i = 0; bit < PAGE_SIZE * 8; bit += 509) {
		EXPECT(get_page_into(&HANDLE(pool, 1, ++i), target), 1);
		fill_content(source, CONTENT_TEXT, 7);
		bytes[bit / 8] ^= 1 << bit % 8;
		CHECK(!memcmp(bytes, page_address(target), PAGE_SIZE), "bit %u", bit);
	}
	EXPECT(get_content(&HANDLE(pool, 1, 0), CONTENT_TEXT, 7), 1);
}

const struct test_case content_cases[] = {
	CASE(ephemeral_contents_round_trip),
	CASE(persistent_contents_round_trip),
	CASE(ephemeral_contents_replace),
	CASE(persistent_contents_replace),
	CASE(equal_pages_are_independent),
	CASE(nearly_equal_pages_differ),
	END_OF_CASES
};

/*
 * mode=hold: a pool of pages of one sort, there until the module goes. Every group of `copies`
 * has the same content, which depends on nothing but its number: other guests have it, too.
 */
static int held_pool = -1;
static unsigned int held;

static enum content held_content(void)
{
	static const char * const names[NR_CONTENTS] = {
		[CONTENT_ZERO] = "zero", [CONTENT_TAIL] = "tail", [CONTENT_LAST] = "last",
		[CONTENT_TEXT] = "text", [CONTENT_MIXED] = "mixed", [CONTENT_NOISE] = "noise",
	};
	int found = match_string(names, NR_CONTENTS, content);

	return found < 0 ? NR_CONTENTS : found;
}

void hold_pages(void)
{
	enum content sort = held_content();

	held_pool = new_pool(hold_persistent ? TMEM_POOL_PERSIST : 0);
	if (sort == NR_CONTENTS || held_pool < 0 || !copies) {
		comment("hold error=%d", held_pool < 0 ? held_pool : -EINVAL);
		return;
	}
	for (held = 0; held < samples; held++) {
		int rc = put_content(&HANDLE(held_pool, held / 512, held), sort, held / copies);

		if (rc != 1) {
			comment("hold refused=%d", rc);
			break;
		}
		cond_resched();
	}
	comment("hold held=%u", held);
}

/* Gets them all, which empties an ephemeral pool. */
void verify_held(unsigned int *right, unsigned int *missed, unsigned int *wrong)
{
	enum content sort = held_content();
	unsigned int i;

	*right = *missed = *wrong = 0;
	for (i = 0; i < held; i++) {
		int rc = get_content(&HANDLE(held_pool, i / 512, i), sort, i / copies);

		if (rc == 1)
			++*right;
		else if (!rc)
			++*missed;
		else
			++*wrong;
		cond_resched();
	}
}

void drop_held(void)
{
	if (held_pool >= 0)
		destroy_pool(held_pool);
}
