/* SPDX-License-Identifier: GPL-2.0 */
/* mode=fuzz: what its files share. */
#ifndef TMEM_TEST_FUZZ_H
#define TMEM_TEST_FUZZ_H

#include <linux/atomic.h>
#include <linux/completion.h>

#include "tmem_test.h"

#define OWN_PAGES	4	/* frames that only their thread writes to, and gets into */
#define OWN_INDEXES	64
#define RACING		8	/* frames that come and go */
#define FUZZ_COMMANDS	9

struct fuzzer {
	struct completion done;
	struct page *page[OWN_PAGES];
	u64 random, version[OWN_INDEXES];	/* 0: not there */
	unsigned int number, operations;
	unsigned long calls;
	unsigned long outcomes[FUZZ_COMMANDS][3];	/* done, nothing, refused */
};

/* What the threads share. */
struct fuzz_state {
	int ledger;			/* the pool that nothing hostile names */
	bool stop;
	atomic_t changes;		/* of which frames are the guest's */
	struct page *page[RACING];
	u64 top_table;			/* of the process that loads the module, and waits */
	unsigned long frame[RACING];	/* the last one known; may be gone */
	char *fence;			/* a page with nothing mapped behind it */
};

extern struct fuzz_state fuzz;

static inline u64 next_random(struct fuzzer *f)
{
	u64 x = f->random += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline u32 below(struct fuzzer *f, u32 limit)
{
	return (next_random(f) >> 32) * limit >> 32;
}

/* fuzz_own.c: a thread's own pages are there, right, until it drops them. */
void own_page(struct fuzzer *f);
void check_own_pages(struct fuzzer *f);

#endif /* TMEM_TEST_FUZZ_H */
