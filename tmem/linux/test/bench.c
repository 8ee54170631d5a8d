// SPDX-License-Identifier: GPL-2.0
/*
 * What the operations cost, in cycles as the guest reads them. Reading them may be emulated and
 * cost as much as an operation, so BATCH operations in a row are timed together, and what an
 * empty batch takes is taken off. All operations have their turn in each of many rounds, so that
 * noise of the machine hits them alike; the median of all batches is told, for one operation,
 * beside the tenth and the ninetieth percentile. Requests are written before the clock starts: what
 * is timed is what Xen does, and how the guest gets there and back. Where Xen emulates the counter,
 * a cycle is a nanosecond; only ratios within a run mean anything.
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
#define BATCH		16	/* operations that are timed together */
/* Batches of an operation in a round: 1 MiB of pages, hardly more than caches hold. */
#define ROUND		16
#define ROUND_PAGES	(ROUND * BATCH)
#define OBJECT_PAGES	16	/* in each object that is flushed whole */
/* Numbers of objects: of single pages from 0, flushed whole, held throughout. */
#define WHOLE_OBJECTS	(1ull << 20)
#define HELD_OBJECTS	(1ull << 40)
/* Puts that are timed one by one, and the first of their numbers. */
#define EACH		8192
#define EACH_FIRST	(1u << 24)

static struct page *buffers[BUFFERS];
static const char *filled;	/* with what the buffers are */
/* Where the plain copy goes: as many pages as a round of puts fills, so that the caches hit alike. */
static struct page *targets[ROUND_PAGES];

struct operation {
	const char *name;
	/* What is timed: a request that this writes, or else this function. */
	void (*request)(struct tmem_request *request, int pool, unsigned int i);
	int (*timed)(int pool, unsigned int i);
	int expected;
	/* Untimed, for every operation of a batch, or of a round; expected to return 1. */
	int (*before_batch)(int pool, unsigned int i);
	int (*before_round)(int pool, unsigned int i);
	u64 *cycles;		/* of every batch */
};

#define bench_handle(pool, i)	HANDLE(pool, (i) / 64, i)

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
	copy_page(page_address(targets[i % ROUND_PAGES]), page_address(buffers[i % BUFFERS]));
	return 0;
}

static int put(int pool, unsigned int i)
{
	return put_page_from(&bench_handle(pool, i), buffers[i % BUFFERS]);
}

static void ask_put(struct tmem_request *request, int pool, unsigned int i)
{
	*request = page_request(TMEM_PUT_PAGE, &bench_handle(pool, i), frame_of(buffers[i % BUFFERS]));
}

static void ask_get(struct tmem_request *request, int pool, unsigned int i)
{
	*request = page_request(TMEM_GET_PAGE, &bench_handle(pool, i), frame_of(buffers[i % BUFFERS]));
}

static void ask_flush(struct tmem_request *request, int pool, unsigned int i)
{
	*request = page_request(TMEM_FLUSH_PAGE, &bench_handle(pool, i), FRAME_NONE);
}

/* An object of several pages, apart from those of the others. */
static int put_whole(int pool, unsigned int i)
{
	unsigned int page;
	int rc = 1;

	for (page = 0; page < OBJECT_PAGES && rc == 1; page++)
		rc = put_page_from(&HANDLE(pool, WHOLE_OBJECTS + i, page), buffers[page]);
	return rc;
}

static void ask_flush_whole(struct tmem_request *request, int pool, unsigned int i)
{
	*request = page_request(TMEM_FLUSH_OBJECT, &HANDLE(pool, WHOLE_OBJECTS + i, 0), FRAME_NONE);
}

/* In this order: each finds what the ones before it left. The first is the timing itself. */
static struct operation operations[] = {
	{ "timer", .timed = nothing, .expected = 0 },
	{ "empty_hypercall", .timed = empty_hypercall, .expected = 1 },
	{ "copy_4096", .timed = copy, .expected = 0 },
	{ "put_new", ask_put, .expected = 1 },
	{ "put_duplicate", ask_put, .expected = 1 },
	{ "get_hit", ask_get, .expected = 1 },
	{ "flush_page", ask_flush, .expected = 1, .before_round = put },
	{ "flush_absent_page", ask_flush, .expected = 1 },
	{ "get_miss", ask_get, .expected = 0 },
	{ "flush_object_16_pages", ask_flush_whole, .expected = 1, .before_batch = put_whole },
	{ "flush_absent_object", ask_flush_whole, .expected = 1 },
};

static int prepare(int (*before)(int pool, unsigned int i), int pool, unsigned int nr)
{
	unsigned int i;
	int rc = 1;

	for (i = 0; before && i < nr && rc == 1; i++)
		rc = before(pool, i);
	return rc == 1 ? 0 : rc ? rc : -ENOENT;
}

static int time_batch(int pool, const struct operation *operation, unsigned int first, u64 *result)
{
	static struct tmem_request requests[BATCH];
	unsigned int i;
	u64 start;
	int rc = operation->expected;

	for (i = 0; i < BATCH && operation->request; i++)
		operation->request(&requests[i], pool, first + i);
	start = rdtsc_ordered();
	for (i = 0; i < BATCH && rc == operation->expected; i++)
		rc = operation->request ? raw_call(&requests[i]) :
					  operation->timed(pool, first + i);
	*result = rdtsc_ordered() - start;
	if (rc == operation->expected)
		return 0;
	return rc ? rc : -ENOENT;
}

/* The turns of all operations; from their results on. */
static int time_round(const char *kind, int pool, unsigned int results)
{
	unsigned int i, batch;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *operation = &operations[i];
		int rc = prepare(operation->before_round, pool, ROUND_PAGES);

		for (batch = 0; batch < ROUND && !rc; batch++) {
			rc = prepare(operation->before_batch, pool, BATCH);
			if (!rc)
				rc = time_batch(pool, operation,
						operation->before_batch ? 0 : batch * BATCH,
						&operation->cycles[results + batch]);
			cond_resched();
		}
		if (rc) {
			comment("bench name=%s kind=%s error=%d", operation->name, kind, rc);
			return rc;
		}
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Of one operation, without the timing. */
static u64 net(const u64 *sorted, unsigned int percent, u64 timing)
{
	u64 value = sorted[(samples - 1) * percent / 100];

	return value > timing ? (value - timing + BATCH / 2) / BATCH : 0;
}

static void report(const char *kind, unsigned int holds)
{
	u64 timing = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		const u64 *sorted = operations[i].cycles;

		sort(operations[i].cycles, samples, sizeof(*sorted), by_size, NULL);
		comment("bench name=%s kind=%s content=%s held=%u median=%llu p10=%llu p90=%llu samples=%u unit=cycles",
			operations[i].name, kind, filled, holds, net(sorted, 50, timing),
			net(sorted, 10, timing), net(sorted, 90, timing), samples);
		if (!i)
			timing = sorted[(samples - 1) / 2];
	}
}

/* Put the pages that are to be held meanwhile; how many went in. */
static unsigned int hold(int pool)
{
	unsigned int i;

	for (i = 0; i < pages_held; i++) {
		if (put_page_from(&HANDLE(pool, HELD_OBJECTS + i / 1024, i), buffers[i % BUFFERS]) != 1)
			break;
		if (!(i % 1024))
			cond_resched();
	}
	return i;
}

/*
 * Puts of new pages one by one, each timed by itself, into a pool that does not stop growing: now and
 * then one has to get frames or pages of the index, or the index grows. Which is how long one
 * takes at the worst, and so not to be averaged away.
 */
static int time_each(const char *kind, int pool)
{
	u64 *cycles = vmalloc(array_size(EACH, sizeof(u64)));
	u64 timing;
	unsigned int i;
	int rc = 1;

	if (!cycles)
		return -ENOMEM;
	for (i = 0; i < EACH; i++) {
		cycles[i] = rdtsc_ordered();
		cycles[i] = rdtsc_ordered() - cycles[i];
	}
	sort(cycles, EACH, sizeof(u64), by_size, NULL);
	timing = cycles[EACH / 2];
	for (i = 0; i < EACH && rc == 1; i++) {
		struct tmem_request request;

		ask_put(&request, pool, EACH_FIRST + i);
		cycles[i] = rdtsc_ordered();
		rc = raw_call(&request);
		cycles[i] = rdtsc_ordered() - cycles[i];
		cycles[i] -= min(cycles[i], timing);
		cond_resched();
	}
	if (rc == 1) {
		sort(cycles, EACH, sizeof(u64), by_size, NULL);
		comment("each name=put_new kind=%s median=%llu p90=%llu p99=%llu most=%llu samples=%u unit=cycles",
			kind, cycles[EACH / 2], cycles[EACH * 90 / 100], cycles[EACH * 99 / 100],
			cycles[EACH - 1], EACH);
	}
	vfree(cycles);
	return rc == 1 ? 0 : rc ? rc : -ENOENT;
}

static void bench_pool(const char *kind, u32 flags, enum content content)
{
	int pool = new_pool(flags);
	unsigned int i, results, holds;
	int rc;

	for (i = 0; i < BUFFERS; i++)
		fill_content(buffers[i], content, i);
	filled = content == CONTENT_TEXT ? "text" : "noise";

	if (pool < 0) {
		comment("bench kind=%s error=%d", kind, pool);
		return;
	}
	holds = hold(pool);
	/* The first round warms up. */
	if (!time_round(kind, pool, 0)) {
		for (results = 0; results < samples; results += ROUND)
			if (time_round(kind, pool, results))
				break;
		if (results >= samples)
			report(kind, holds);
	}
	if (!pages_held && content == CONTENT_NOISE) {
		rc = time_each(kind, pool);
		if (rc)
			comment("bench name=put_new kind=%s each=%u error=%d", kind, EACH, rc);
	}
	destroy_pool(pool);
}

static int allocate(void)
{
	unsigned int i;

	for (i = 0; i < BUFFERS; i++) {
		buffers[i] = alloc_page(GFP_KERNEL);
		if (!buffers[i])
			return -ENOMEM;
	}
	for (i = 0; i < ROUND_PAGES; i++) {
		targets[i] = alloc_page(GFP_KERNEL);
		if (!targets[i])
			return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		operations[i].cycles = vmalloc(array_size(samples, sizeof(u64)));
		if (!operations[i].cycles)
			return -ENOMEM;
	}
	return 0;
}

void run_bench(void)
{
	unsigned int i;

	samples = round_up(clamp(samples, 1u, 100000u), ROUND);
	if (allocate()) {
		comment("bench error=%d", -ENOMEM);
	} else {
		/* Whether Xen compresses is the control domain's choice: run once with, once without. */
		bench_pool("ephemeral", 0, CONTENT_NOISE);
		/* What the guest has an allowance for is not worth holding. */
		if (!pages_held) {
			bench_pool("ephemeral", 0, CONTENT_TEXT);
			bench_pool("persistent", TMEM_POOL_PERSIST, CONTENT_NOISE);
			bench_pool("persistent", TMEM_POOL_PERSIST, CONTENT_TEXT);
		}
	}
	for (i = 0; i < BUFFERS; i++)
		if (buffers[i])
			__free_page(buffers[i]);
	for (i = 0; i < ROUND_PAGES; i++)
		if (targets[i])
			__free_page(targets[i]);
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		vfree(operations[i].cycles);
}
