// SPDX-License-Identifier: GPL-2.0
/*
 * Operations per second: pages go into an ephemeral pool, and come back or are flushed, for some
 * seconds. Guests that do this at the same time tell whether they hinder each other; so that
 * they begin together, they wait for a second of the wall clock, which is Xen's in all of them.
 */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "tmem_test.h"

#define PAGES		64	/* that go in and out in turn */
#define START_MS	60000	/* to wait at most until start_at */

/* All pages in and out once; how many operations that were, or an error. */
static int turn(int pool, struct page *page)
{
	unsigned int i;
	int rc;

	for (i = 0; i < PAGES; i++) {
		const struct handle handle = HANDLE(pool, 0, i);

		rc = put_page_from(&handle, page);
		if (rc != 1)
			return rc ? rc : -ENOENT;
	}
	for (i = 0; i < PAGES; i++) {
		const struct handle handle = HANDLE(pool, 0, i);

		rc = i % 2 ? get_page_into(&handle, page) : flush_page(&handle);
		if (rc != 1)
			return rc ? rc : -ENOENT;
	}
	return 2 * PAGES;
}

void run_load(void)
{
	int pool = new_pool(0), rc = 0;
	u64 done = 0, late = 0, end;

	if (pool < 0) {
		comment("load error=%d", pool);
		return;
	}
	if (start_at) {
		u64 now = ktime_get_real_ns(), start = start_at * NSEC_PER_SEC;

		if (start > now)
			msleep(min_t(u64, (start - now) / NSEC_PER_MSEC, START_MS));
		else
			late = (now - start) / NSEC_PER_MSEC;
	}
	fill(source, 1);
	end = ktime_get_ns() + seconds * NSEC_PER_SEC;
	while (ktime_get_ns() < end) {
		rc = turn(pool, source);
		if (rc < 0)
			break;
		done += rc;
		cond_resched();
	}
	if (rc < 0)
		comment("load error=%d", rc);
	else
		comment("load operations=%llu seconds=%u late_ms=%llu", done, seconds, late);
	destroy_pool(pool);
}
