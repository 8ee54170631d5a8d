// SPDX-License-Identifier: GPL-2.0
/*
 * Secrets: one guest puts pages that carry a mark (mode=secrets) and later sees whether it still
 * has them (mode=verify), or destroys its pools (mode=forget); another looks for the mark (mode=hunt) under every pool and object
 * number, and in the frames that Xen gives it when its balloon goes up.
 *
 * A word of a secret page is the mark in its upper half; the hunter never makes such a word. The
 * objects have a mark of their own, which so is in Xen's records of them.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include <xen/mem-reservation.h>

#include "tmem_test.h"

#define MARK		(~0x5ec7a61bu)	/* inverted, so that this module's text does not have it */
#define OBJECT_MARK	0x0b1ec75ec4e75a1eull
#define SECRETS		512		/* in each of the two pools */
#define OBJECTS		8
#define FRESH		2048		/* frames exchanged with Xen, per hunt */
#define BATCH		64

static int secret_pools[2] = { 0, 1 };

/* Ephemeral ones, which are odd, have their content in common with another: it may be shared. */
static u64 secret_word(unsigned int nr, unsigned int position)
{
	unsigned int content = nr % 2 ? nr & ~2u : nr;

	return (u64)~MARK << 32 | content << 9 | position;
}

static struct handle secret_handle(unsigned int nr)
{
	struct handle handle = HANDLE(secret_pools[nr % 2], nr / 2 % OBJECTS, nr / 2);

	handle.object.word[1] = OBJECT_MARK;
	return handle;
}

static void make_secret(struct page *page, unsigned int nr)
{
	u64 *words = page_address(page);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		words[i] = secret_word(nr, i);
}

static bool is_secret(struct page *page, unsigned int nr)
{
	const u64 *words = page_address(page);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		if (words[i] != secret_word(nr, i))
			return false;
	return true;
}

/* The mark, at whatever offset: content may have been packed. */
static bool has_mark(struct page *page)
{
	const u8 *bytes = page_address(page);
	unsigned int i;

	for (i = 0; i + sizeof(u32) <= PAGE_SIZE; i++)
		if (*(const u32 *)(bytes + i) == ~MARK)
			return true;
	return false;
}

/* The pools stay when the module goes. */
void put_secrets(void)
{
	unsigned int nr, put = 0;
	struct handle handle;
	int rc;

	keep_pools = true;
	EXPECT(new_pool(TMEM_POOL_PERSIST), secret_pools[0]);
	EXPECT(new_pool(0), secret_pools[1]);
	for (nr = 0; nr < 2 * SECRETS; nr++) {
		make_secret(source, nr);
		handle = secret_handle(nr);
		rc = put_page_from(&handle, source);
		CHECK(rc == 1 || rc == -ENOMEM, "put of secret %u: %d", nr, rc);
		put += rc == 1;
		CHECK(rc == 1 || nr % 2, "no memory for persistent page %u", nr);
	}
	clear_highpage(source);
	comment("%u of %u secrets put", put, 2 * SECRETS);
}

/* The persistent ones are all there, and of the others none is wrong. */
void verify_secrets(void)
{
	unsigned int nr, found = 0;
	struct handle handle;
	int rc;

	keep_pools = true;
	for (nr = 0; nr < 2 * SECRETS; nr++) {
		handle = secret_handle(nr);
		clear_highpage(target);
		rc = get_page_into(&handle, target);
		CHECK(rc == 1 || (nr % 2 && rc == 0), "get of secret %u: %d", nr, rc);
		CHECK(rc != 1 || is_secret(target, nr), "secret %u is another page", nr);
		found += rc == 1;
	}
	clear_highpage(target);
	comment("%u of %u secrets found", found, 2 * SECRETS);
}

/* Somebody else may get the frames now. */
void forget_secrets(void)
{
	EXPECT(destroy_pool(secret_pools[0]), 1);
	EXPECT(destroy_pool(secret_pools[1]), 1);
}

/* Under all names that the other guest used, and others, in all pools that may be there. */
static void hunt_names(const char *when, bool pools_are_ours)
{
	unsigned int nr, pool, object;
	struct handle handle;
	int rc;

	for (pool = 0; pool < TMEM_MAX_POOLS + 4; pool++)
		for (nr = 0; nr < 2 * SECRETS; nr += pool < 2 ? 1 : 37) {
			handle = secret_handle(nr);
			handle.pool = pool;
			rc = get_page_into(&handle, target);
			CHECK(rc == 0 || rc == -TMEM_EEMPTY || rc == -ENODEV,
			      "%s: get from pool %u: %d", when, pool, rc);
			CHECK(pools_are_ours || rc == -ENODEV, "%s: pool %u is there", when, pool);
			CHECK(!has_mark(target), "%s: a secret from pool %u", when, pool);
		}
	for (object = 0; object < 4096; object++) {
		rc = get_page_into(&HANDLE(object % 2, object, object % SECRETS), target);
		CHECK(rc != 1 && !has_mark(target), "%s: a secret in object %u", when, object);
		if (object % 256 == 0)
			cond_resched();
	}
}

/* Give frames to Xen, take others, look what is in them. */
static void hunt_frames(void)
{
	static struct page *pages[BATCH];
	static xen_pfn_t frames[BATCH];
	unsigned int round, i, n, marked = 0, seen = 0;

	for (round = 0; round < FRESH / BATCH; round++) {
		for (n = 0; n < BATCH; n++) {
			pages[n] = alloc_page(GFP_KERNEL);
			if (!pages[n])
				break;
			clear_highpage(pages[n]);
			frames[n] = frame_of(pages[n]);
			if (!unmap_everywhere(pages[n])) {
				note_failure(__LINE__, "a page can't be unmapped");
				return;
			}
		}
		xenmem_reservation_va_mapping_reset(n, pages);
		if (xenmem_reservation_decrease(n, frames) != n) {
			note_failure(__LINE__, "frames can't be given up");
			return;
		}
		for (i = 0; i < n; i++) {
			frames[i] = page_to_xen_pfn(pages[i]);
			if (xenmem_reservation_increase(1, &frames[i]) != 1) {
				note_failure(__LINE__, "frames did not come back");
				return;
			}
			xenmem_reservation_va_mapping_update(1, &pages[i], &frames[i]);
			marked += has_mark(pages[i]);
			seen++;
		}
		for (i = 0; i < n; i++)
			__free_page(pages[i]);
		cond_resched();
	}
	comment("%u frames from Xen looked at", seen);
	CHECK(!marked, "%u frames from Xen have another guest's data in them", marked);
}

void hunt_secrets(void)
{
	int pool, rc;

	clear_highpage(source);
	clear_highpage(target);
	CHECK(!has_mark(target), "the mark is in an empty page");
	hunt_names("without a pool", false);
	for (pool = 0; pool < 4; pool++) {
		EXPECT(new_pool(pool % 2 ? 0 : TMEM_POOL_PERSIST), pool);
	}
	hunt_names("with empty pools", true);
	for (pool = 0; pool < 4; pool++) {
		rc = put_page_from(&HANDLE(pool, ~0ull, 1), source);
		CHECK(rc == 1 || rc == -ENOMEM, "put: %d", rc);
	}
	hunt_names("with used pools", true);
	hunt_frames();
}
