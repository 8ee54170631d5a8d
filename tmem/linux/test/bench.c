// SPDX-License-Identifier: GPL-2.0
/*
 * What the operations cost, in cycles as the guest reads them: each is timed on its own, some
 * thousand times, and the median is told beside the tenth and the ninetieth percentile. What
 * the reading of the counter itself takes is measured first and taken off. Where Xen emulates
 * the counter, a cycle is a nanosecond; only ratios within a run mean anything.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include <asm/msr.h>
#include <asm/xen/hypercall.h>
#include <xen/interface/version.h>

#include "tmem_test.h"

/* Puts and gets go round these, so that not everything is in the first cache. */
#define BUFFERS		64
#define OBJECT_PAGES	16	/* in each object that is flushed whole */

static struct page *buffers[BUFFERS];
static u64 *cycles;
static u64 overhead;
static const char *filled;	/* with what the buffers are */

struct operation {
	const char *name;
	/* Untimed, before each; NULL: nothing to do. */
	int (*before)(int pool, unsigned int i);
	int (*timed)(int pool, unsigned int i);
	int expected;
};

static struct handle bench_handle(int pool, unsigned int i)
{
	return HANDLE(pool, i / 1024, i);
}

static int nothing(int pool, unsigned int i)
{
	return 0;
}

static int empty_hypercall(int pool, unsigned int i)
{
	return HYPERVISOR_xen_version(XENVER_version, NULL) > 0;
}

static int copy(int pool, unsigned int i)
{
	copy_page(page_address(buffers[i % BUFFERS]), page_address(buffers[(i + 1) % BUFFERS]));
	return 0;
}

static int put(int pool, unsigned int i)
{
	const struct handle handle = bench_handle(pool, i);

	return put_page_from(&handle, buffers[i % BUFFERS]);
}

static int get(int pool, unsigned int i)
{
	const struct handle handle = bench_handle(pool, i);

	return get_page_into(&handle, buffers[i % BUFFERS]);
}

static int flush(int pool, unsigned int i)
{
	const struct handle handle = bench_handle(pool, i);

	return flush_page(&handle);
}

/* An object of several pages, apart from those of the others. */
static int put_object(int pool, unsigned int i)
{
	unsigned int page;
	int rc = 1;

	for (page = 0; page < OBJECT_PAGES && rc == 1; page++)
		rc = put_page_from(&HANDLE(pool, 1u << 20, page), buffers[page % BUFFERS]);
	return rc;
}

static int flush_whole(int pool, unsigned int i)
{
	return flush_object(&HANDLE(pool, 1u << 20, 0));
}

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 net(unsigned int n, unsigned int percent)
{
	u64 value = cycles[(n - 1) * percent / 100];

	return value > overhead ? value - overhead : 0;
}

static void measure(const char *kind, int pool, const struct operation *operation)
{
	unsigned int i;

	for (i = 0; i < samples; i++) {
		u64 start;
		int rc;

		if (operation->before) {
			rc = operation->before(pool, i);
			if (rc != 1) {
				comment("bench name=%s kind=%s content=%s error=%d",
					operation->name, kind, filled, rc);
				return;
			}
		}
		start = rdtsc_ordered();
		rc = operation->timed(pool, i);
		cycles[i] = rdtsc_ordered() - start;
		if (rc != operation->expected) {
			comment("bench name=%s kind=%s content=%s error=%d", operation->name,
				kind, filled, rc);
			return;
		}
		cond_resched();
	}
	sort(cycles, samples, sizeof(*cycles), by_size, NULL);
	comment("bench name=%s kind=%s content=%s median=%llu p10=%llu p90=%llu samples=%u unit=cycles",
		operation->name, kind, filled, net(samples, 50), net(samples, 10),
		net(samples, 90), samples);
}

/* In this order: each finds what the ones before it left. */
static const struct operation operations[] = {
	{ "put_new", NULL, put, 1 },
	{ "put_duplicate", NULL, put, 1 },
	{ "get_hit", NULL, get, 1 },
	{ "flush_page", put, flush, 1 },
	{ "flush_absent_page", NULL, flush, 1 },
	{ "get_miss", NULL, get, 0 },
	{ "flush_object_16_pages", put_object, flush_whole, 1 },
	{ "flush_absent_object", NULL, flush_whole, 1 },
};

static void bench_pool(const char *kind, u32 flags, enum content content)
{
	unsigned int i;
	int pool = new_pool(flags);

	for (i = 0; i < BUFFERS; i++)
		fill_content(buffers[i], content, i);
	filled = content == CONTENT_TEXT ? "text" : "noise";

	if (pool < 0) {
		comment("bench kind=%s error=%d", kind, pool);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		measure(kind, pool, &operations[i]);
	destroy_pool(pool);
}

void run_bench(void)
{
	static const struct operation baselines[] = {
		{ "empty_hypercall", NULL, empty_hypercall, 1 },
		{ "copy_4096", NULL, copy, 0 },
	};
	static const struct operation timer = { "timer", NULL, nothing, 0 };
	unsigned int i;

	samples = clamp(samples, 10u, 1000000u);
	cycles = vmalloc(array_size(samples, sizeof(*cycles)));
	for (i = 0; i < BUFFERS; i++) {
		buffers[i] = alloc_page(GFP_KERNEL);
		if (!buffers[i] || !cycles) {
			comment("bench error=-ENOMEM");
			goto out;
		}
		fill_content(buffers[i], CONTENT_NOISE, i);
	}
	/* Twice, as the first run warms up. */
	overhead = 0;
	filled = "noise";
	measure("none", 0, &timer);
	measure("none", 0, &timer);
	overhead = cycles[samples / 2];
	for (i = 0; i < ARRAY_SIZE(baselines); i++)
		measure("none", 0, &baselines[i]);
	/* Whether Xen compresses is the control domain's choice: run once with, once without. */
	bench_pool("ephemeral", 0, CONTENT_NOISE);
	bench_pool("ephemeral", 0, CONTENT_TEXT);
	bench_pool("persistent", TMEM_POOL_PERSIST, CONTENT_NOISE);
	bench_pool("persistent", TMEM_POOL_PERSIST, CONTENT_TEXT);
out:
	for (i = 0; i < BUFFERS; i++)
		if (buffers[i])
			__free_page(buffers[i]);
	vfree(cycles);
}
