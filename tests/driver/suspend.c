// SPDX-License-Identifier: GPL-2.0
/*
 * suspend SEED ROUNDS: frontswap's back end against a model, with suspensions of every outcome at random times.
 *
 * The model is Linux's swap code: it knows what it stored where and stores nothing twice. Xen is a table of pages that refuses at
 * random, and in which naming a pool that is not there is an error of the driver's. Says what was wrong, and exits with 1.
 */
#include <sys/resource.h>

#include "shim.h"
#include "slots.h"
#include "tmem.h"

#define TYPES 2
#define OFFSETS 300UL		/* of each device, in two places, so that they reach several chunks */
#define FAR_OFFSET 40000UL
#define POOLS TMEM_MAX_POOLS

struct tmem_counters tmem_counters;
unsigned long jiffies;

static u64 state;
static unsigned int chance(unsigned int of)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(state >> 33) % of;
}

#define CHECK(condition, ...)							\
	do {									\
		if (!(condition)) {						\
			fprintf(stderr, "line %d: ", __LINE__);			\
			fprintf(stderr, __VA_ARGS__);				\
			fprintf(stderr, "\n");					\
			exit(1);						\
		}								\
	} while (0)

/* Xen: one list of pages, searched from end to end. */
static struct { bool used, drained; } pools[POOLS];
struct kept { struct kept *next; struct tmem_key key; u64 content; };
static struct kept *store[1024];
static bool has_tmem = true, frozen, losing, draining, refilling;
static void invalidate_meanwhile(const struct tmem_key *key);
static unsigned int refuse_percent = 10;

static struct kept **find(const struct tmem_key *key)
{
	struct kept **at = &store[(key->object.word[0] * 31 + key->index) % 1024];

	CHECK(key->pool >= 0 && key->pool < POOLS && pools[key->pool].used, "pool %d is none", key->pool);
	while (*at && ((*at)->key.pool != key->pool || (*at)->key.index != key->index ||
		       memcmp(&(*at)->key.object, &key->object, sizeof(key->object))))
		at = &(*at)->next;
	return at;
}

static void drop(struct kept **at)
{
	struct kept *old = *at;

	*at = old->next;
	free(old);
}

static unsigned long drop_all(s32 pool, const struct tmem_object_id *object)
{
	unsigned long count = 0;

	for (unsigned int i = 0; i < 1024; i++)
		for (struct kept **at = &store[i]; *at;) {
			if ((*at)->key.pool == pool && (!object || !memcmp(object, &(*at)->key.object, sizeof(*object)))) {
				drop(at);
				count++;
			} else {
				at = &(*at)->next;
			}
		}
	return count;
}

int tmem_new_pool(u32 flags, const u64 uuid[2])
{
	CHECK(flags == TMEM_POOL_PERSIST && !uuid, "an odd pool");
	if (!has_tmem)
		return -ENODEV;
	for (int i = 0; i < POOLS; i++)
		if (!pools[i].used) {
			pools[i].used = true;
			pools[i].drained = false;
			return i;
		}
	return -EPERM;
}

void tmem_set_drained(s32 pool, bool drained)
{
	CHECK(pool >= 0 && pools[pool].used, "pool %d is none", pool);
	pools[pool].drained = drained;
}

int tmem_destroy_pool(s32 pool)
{
	CHECK(pool >= 0 && pool < POOLS, "pool %d", pool);
	if (!pools[pool].used)
		return -ENODEV;
	drop_all(pool, NULL);
	pools[pool].used = false;
	return 0;
}

enum tmem_outcome tmem_put(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	struct kept **at = find(key);

	(void)kind;
	if (*at)
		drop(at);
	if (frozen)
		return TMEM_FROZEN;
	if (chance(100) < refuse_percent)
		return TMEM_NO_MEMORY;
	if (refilling && !chance(20))
		invalidate_meanwhile(key);
	at = find(key);
	*at = malloc(sizeof(**at));
	**at = (struct kept) { .key = *key };
	memcpy(&(*at)->content, page->content, sizeof(u64));
	if (refilling && !chance(20))
		invalidate_meanwhile(key);
	return TMEM_DONE;
}

enum tmem_outcome tmem_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	struct kept **at;

	(void)kind;
	if (draining && !chance(20))
		invalidate_meanwhile(key);
	at = find(key);
	if (!*at || (losing && !chance(40)))
		return TMEM_MISSED;
	memcpy(page->content, &(*at)->content, sizeof(u64));
	if (draining && !chance(20))
		invalidate_meanwhile(key);
	return TMEM_DONE;
}

enum tmem_outcome tmem_try_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	if (!pools[key->pool].used)
		return TMEM_MISSED;
	return frozen ? TMEM_FROZEN : tmem_get(kind, key, page);
}

enum tmem_outcome tmem_flush_page(enum tmem_kind kind, const struct tmem_key *key)
{
	struct kept **at = find(key);

	(void)kind;
	if (*at)
		drop(at);
	return TMEM_DONE;
}

enum tmem_outcome tmem_flush_object(enum tmem_kind kind, const struct tmem_key *key)
{
	(void)kind;
	find(key);
	drop_all(key->pool, &key->object);
	return TMEM_DONE;
}

u64 tmem_count(enum tmem_kind kind, enum tmem_verb verb, enum tmem_outcome outcome)
{
	(void)kind, (void)verb, (void)outcome;
	return 0;
}

static unsigned long in_xen(void)
{
	unsigned long count = 0;

	for (unsigned int i = 0; i < 1024; i++)
		for (struct kept *at = store[i]; at; at = at->next)
			count++;
	return count;
}

/* Shared memory: at most `room' pages. */
static struct address_space mapping;
static struct file file = { &mapping };
static struct { pgoff_t index; struct page *page; } *shared;
static unsigned long shared_count, room;

struct file *shmem_file_setup(const char *name, loff_t size, unsigned long flags)
{
	(void)name, (void)size, (void)flags;
	return &file;
}

struct page *shmem_read_mapping_page_gfp(struct address_space *of, pgoff_t index, gfp_t gfp)
{
	(void)gfp;
	for (unsigned long i = 0; i < shared_count; i++)
		if (shared[i].index == index)
			return shared[i].page;
	if (shared_count >= room)
		return ERR_PTR(-ENOMEM);
	shared = realloc(shared, (shared_count + 1) * sizeof(*shared));
	shared[shared_count].index = index;
	shared[shared_count].page = calloc(1, sizeof(struct page));
	shared[shared_count].page->mapping = of;
	return shared[shared_count++].page;
}

void shmem_truncate_range(struct inode *inode, loff_t start, loff_t end)
{
	(void)inode;
	for (unsigned long i = 0; i < shared_count; i++)
		if (shared[i].index == (pgoff_t)start >> PAGE_SHIFT && end == start + (loff_t)PAGE_SIZE - 1) {
			free(shared[i].page);
			shared[i] = shared[--shared_count];
			return;
		}
}

/* Linux. */
static struct frontswap_ops *ops;
static u64 stored[TYPES][OFFSETS];	/* 0: nothing there */
static unsigned long refusals, accepted;
static bool suspended;			/* nothing but invalidations and loads can come */

void frontswap_register_ops(struct frontswap_ops *given) { ops = given; }

void msleep(unsigned int milliseconds)
{
	(void)milliseconds;
	room += 10;
	frozen = false;
}

static pgoff_t place(unsigned long offset) { return offset < OFFSETS / 2 ? offset : offset + FAR_OFFSET; }

static void operate(void)
{
	unsigned int type = chance(TYPES);
	unsigned long offset = chance(OFFSETS);
	struct page page = { 0 };
	u64 content = state | 1;
	bool was_accepted;

	switch (chance(suspended ? 7 : 10)) {
	case 0 ... 3:
		CHECK(tmem_swap_has(type, place(offset)) == !!stored[type][offset], "it does not know what it has");
		if (!stored[type][offset])
			break;
		CHECK(!ops->load(type, place(offset), &page), "a load failed");
		CHECK(!memcmp(page.content, &stored[type][offset], sizeof(u64)), "a load found another page");
		break;
	case 4 ... 5:
		if (stored[type][offset])
			ops->invalidate_page(type, place(offset));
		stored[type][offset] = 0;
		break;
	case 6:
		if (chance(200))
			break;
		ops->invalidate_area(type);
		memset(stored[type], 0, sizeof(stored[type]));
		ops->init(type);
		break;
	default:
		if (stored[type][offset])
			ops->invalidate_page(type, place(offset));
		memcpy(page.content, &content, sizeof(content));
		was_accepted = !ops->store(type, place(offset), &page);
		accepted += was_accepted;
		refusals += !was_accepted;
		stored[type][offset] = was_accepted ? content : 0;
	}
}

static unsigned long in_linux(void)
{
	unsigned long count = 0;

	for (unsigned int i = 0; i < TYPES * OFFSETS; i++)
		count += !!((u64 *)stored)[i];
	return count;
}

static void new_domain(void)
{
	for (s32 i = 0; i < POOLS; i++) {
		drop_all(i, NULL);
		pools[i].used = false;
	}
}

/*
 * A guest that hibernated goes on where the kernel that read its image had a pool of the same number,
 * and has told Xen that it needs it no more.
 */
static unsigned long strangers;
static void pool_of_another_kernel(s32 number)
{
	struct page page = { 0 };
	struct tmem_key key = { .pool = number, .index = 0 };
	unsigned int percent = refuse_percent;

	pools[number].used = pools[number].drained = true;
	strangers++;
	memcpy(page.content, &state, sizeof(state));
	refuse_percent = 0;
	for (unsigned int type = 0; type < TYPES && !frozen; type++)
		for (unsigned long offset = 0; offset < OFFSETS && !chance(2); offset++) {
			key.object.word[0] = (u64)type << 32 | (place(offset) & 0xff);
			key.index = place(offset) >> 8;
			tmem_put(TMEM_PERSISTENT, &key, &page);
		}
	refuse_percent = percent;
}

/* While the driver drains or refills, swap slots are freed: the one that it is at, or another. */
static unsigned long invalidated;
static void invalidate_meanwhile(const struct tmem_key *key)
{
	pgoff_t at = (pgoff_t)key->index << 8 | (key->object.word[0] & 0xff);
	unsigned int type = key->object.word[0] >> 32;
	unsigned long offset = at < FAR_OFFSET ? at : at - FAR_OFFSET;

	if (!chance(3))
		offset = chance(OFFSETS);
	if (stored[type][offset]) {
		ops->invalidate_page(type, place(offset));
		invalidated++;
	}
	stored[type][offset] = 0;
}

static unsigned long again;

static void resume(void)
{
	refilling = true;
	again = tmem_swap_resume();
	refilling = false;
}

/* A suspension, which may be refused, cancelled, or end in another domain, with or without tmem. */
static void suspend(unsigned long outcomes[4])
{
	unsigned long pages, before = in_xen();
	s32 number = -1;
	int rc;

	room = chance(3) ? 10000 : shared_count + chance(200);
	losing = !chance(10);
	draining = true;
	invalidated = 0;
	rc = tmem_swap_drain(40, &pages);
	draining = false;
	CHECK(!rc || rc == -ENOMEM || (rc == -EIO && losing), "refused for %d", rc);
	losing = false;
	room = 10000;
	if (rc) {
		/* What was in the stash already is not in Xen. */
		CHECK(in_xen() <= before && in_xen() + invalidated >= before, "a refusal lost a page");
		outcomes[0]++;
		again = 1;
		return;
	}
	/* Hibernation may ask once more before anybody resumes. */
	if (!chance(3))
		CHECK(!tmem_swap_drain(40, &pages) && !pages, "it drained what is in the stash already");
	/* Else Xen refuses to suspend the guest. */
	for (unsigned int i = 0; i < POOLS; i++)
		CHECK(!pools[i].used || pools[i].drained, "pool %u is drained, and Xen does not know", i);
	for (unsigned int i = 0; i < POOLS; i++)
		number = pools[i].used ? (s32)i : number;
	suspended = true;
	for (unsigned int i = chance(50); i; i--)
		operate();
	if (chance(2)) {
		has_tmem = chance(5);
		new_domain();
		if (has_tmem && number >= 0 && chance(2))
			pool_of_another_kernel(number);
		outcomes[has_tmem ? 1 : 2]++;
	} else {
		outcomes[3]++;
	}
	for (unsigned int i = chance(50); i; i--)
		operate();
	/* Processes are thawed just before the driver goes on. */
	suspended = false;
	for (unsigned int i = chance(50); i; i--)
		operate();
	resume();
	for (unsigned int i = 0; i < POOLS; i++)
		CHECK(!pools[i].used || !pools[i].drained || frozen, "pool %u holds pages again, and Xen does not know", i);
}

int main(int count, char **arguments)
{
	unsigned long rounds, outcomes[4] = { 0 };

	/* A driver that goes on for good is ended by the processor time that it takes. */
	const struct rlimit limit = { 5, 5 };

	if (count != 3 || setrlimit(RLIMIT_CPU, &limit))
		return 2;
	state = strtoull(arguments[1], NULL, 10) * 2654435761u + 1;
	rounds = strtoul(arguments[2], NULL, 10);
	room = 10000;
	CHECK(!tmem_stash_init() && !tmem_frontswap_register(), "no registration");
	for (unsigned int type = 0; type < TYPES; type++)
		ops->init(type);
	for (unsigned long round = 0; round < rounds; round++) {
		refuse_percent = chance(4) ? 10 : 100;
		frozen = !chance(20);
		for (unsigned int i = chance(2000); i; i--) {
			operate();
			if (again && !chance(20))
				resume();
		}
		suspend(outcomes);
		CHECK(again || in_xen() == in_linux(), "Xen has %lu pages, Linux knows %lu", in_xen(), in_linux());
	}
	CHECK(rounds < 50 || strangers, "no kernel had a pool of the same number");
	/* Everything can go back to Xen, and everything can go. */
	has_tmem = true;
	frozen = false;
	refuse_percent = 0;
	for (unsigned int i = 0; (i < 100 && again) || i < 2; i++)
		again = tmem_swap_resume();
	CHECK(!again && !tmem_stash_count(), "the stash is never empty");
	CHECK(in_xen() == in_linux(), "Xen has %lu pages, Linux knows %lu", in_xen(), in_linux());
	CHECK(tmem_swap_pages() == in_linux(), "the driver counts %lu pages, Linux %lu", tmem_swap_pages(), in_linux());
	for (unsigned int i = 0; i < 20000; i++)
		operate();
	for (unsigned int type = 0; type < TYPES; type++)
		for (unsigned long offset = 0; offset < OFFSETS; offset++)
			if (stored[type][offset])
				ops->invalidate_page(type, place(offset));
	CHECK(!in_xen() && !tmem_swap_pages() && !shared_count, "left behind: %lu in Xen, %lu counted, %lu in memory",
	      in_xen(), tmem_swap_pages(), shared_count);
	printf("accepted %lu refused %lu; suspensions: refused %lu, elsewhere %lu, elsewhere without tmem %lu, cancelled %lu\n",
	       accepted, refusals, outcomes[0], outcomes[1], outcomes[2], outcomes[3]);
	return 0;
}
