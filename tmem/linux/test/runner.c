// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the cases when the module is loaded and reports in KTAP, to the kernel log and, whole,
 * to debugfs tmem_test/results. Loading succeeds whatever the results are, so that they can be
 * read; remove the module and load it again to run once more.
 *
 * Persistent pages are charged to the guest, which has nothing left to be charged when it has
 * all its memory. So the runner first lowers the balloon's target, and puts it back at the end.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_buf.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <asm/xen/hypercall.h>
#include <xen/balloon.h>
#include <xen/interface/memory.h>
#include <xen/interface/xen.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "tmem_test.h"

#define REPORT_BYTES	(128 * 1024)
#define ROOM_PAGES	4096	/* 16 MB for persistent pages */
#define ROOM_WAIT_MS	60000

static char *mode = "conformance";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "conformance (default), bench, hold, load, serve, fuzz, secrets, verify, hunt, forget or map");

char *content = "noise";
module_param(content, charp, 0444);
MODULE_PARM_DESC(content, "hold: zero, tail, last, text, mixed or noise (default)");

unsigned int copies = 1;
module_param(copies, uint, 0444);
MODULE_PARM_DESC(copies, "hold: pages of the same content (default: 1)");

bool hold_persistent;
module_param_named(persistent, hold_persistent, bool, 0444);
MODULE_PARM_DESC(persistent, "hold: in a persistent pool (default: ephemeral)");

static char *only = "";
module_param(only, charp, 0444);
MODULE_PARM_DESC(only, "Run this case alone");

unsigned int pools_in_use;
module_param(pools_in_use, uint, 0444);
MODULE_PARM_DESC(pools_in_use, "Pools that somebody else in this guest has (default: 0)");

unsigned int samples = 2000;
module_param(samples, uint, 0444);
MODULE_PARM_DESC(samples, "bench: how many batches of each operation are timed; hold: pages (default: 2000)");

unsigned int pages_held;
module_param_named(held, pages_held, uint, 0444);
MODULE_PARM_DESC(held, "bench: pages that the pool holds besides (default: 0)");

unsigned int seconds = 10;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "load: for how long (default: 10)");

unsigned long start_at;
module_param(start_at, ulong, 0444);
MODULE_PARM_DESC(start_at, "load: when to begin, in seconds since 1970 (default: at once)");

unsigned int fuzz_seed = 1;
module_param_named(seed, fuzz_seed, uint, 0444);
MODULE_PARM_DESC(seed, "fuzz: of the random operations (default: 1)");

unsigned int fuzz_operations = 20000;
module_param_named(operations, fuzz_operations, uint, 0444);
MODULE_PARM_DESC(operations, "fuzz: how many, of all threads (default: 20000)");

bool keep_pools;
struct page *source, *target;

static struct seq_buf report;
static struct dentry *report_dir;
static DECLARE_BITMAP(case_pools, TMEM_MAX_POOLS);
static DEFINE_SPINLOCK(note_lock);
static char failure[200], skip[200];
static unsigned long held_target;

__printf(1, 2) static void print(const char *format, ...)
{
	va_list args;
	char line[256];

	va_start(args, format);
	vscnprintf(line, sizeof(line), format, args);
	va_end(args);
	pr_info("%s\n", line);
	seq_buf_printf(&report, "%s\n", line);
}

void comment(const char *format, ...)
{
	va_list args;
	char line[200];

	va_start(args, format);
	vscnprintf(line, sizeof(line), format, args);
	va_end(args);
	print("# %s", line);
}

/* The first failure of a case is the one that is told. */
void note_failure(int line, const char *format, ...)
{
	va_list args;
	int used;

	spin_lock(&note_lock);
	if (!failure[0]) {
		used = scnprintf(failure, sizeof(failure), "line %d: ", line);
		va_start(args, format);
		vscnprintf(failure + used, sizeof(failure) - used, format, args);
		va_end(args);
	}
	spin_unlock(&note_lock);
}

void note_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vscnprintf(skip, sizeof(skip), format, args);
	va_end(args);
}

int raw_call(void *op)
{
	return _hypercall1(int, tmem_op, op);
}

int raw_sysctl(void *op)
{
	return _hypercall1(int, sysctl, op);
}

int new_pool_raw(u32 flags, u64 uuid0, u64 uuid1)
{
	struct tmem_request op = {
		.command = TMEM_NEW_POOL,
		.create.flags = flags,
		.create.uuid = { uuid0, uuid1 },
	};
	int pool = raw_call(&op);

	if (pool >= 0 && pool < TMEM_MAX_POOLS)
		set_bit(pool, case_pools);
	return pool;
}

int new_pool(u32 flags)
{
	return new_pool_raw(flags | TMEM_ABI_VERSION << TMEM_POOL_VERSION_SHIFT, 0, 0);
}

int destroy_pool(s32 pool)
{
	struct tmem_request op = { .command = TMEM_DESTROY_POOL, .pool_id = pool };

	if (pool >= 0 && pool < TMEM_MAX_POOLS)
		clear_bit(pool, case_pools);
	return raw_call(&op);
}

struct tmem_request page_request(u32 command, const struct handle *handle, u64 frame)
{
	return (struct tmem_request) {
		.command = command,
		.pool_id = handle->pool,
		.page.object = handle->object,
		.page.index = handle->index,
		.page.frame = frame,
	};
}

int page_call(u32 command, const struct handle *handle, u64 frame)
{
	struct tmem_request op = page_request(command, handle, frame);

	return raw_call(&op);
}

int put_frame(const struct handle *handle, u64 frame)
{
	return page_call(TMEM_PUT_PAGE, handle, frame);
}

int get_frame(const struct handle *handle, u64 frame)
{
	return page_call(TMEM_GET_PAGE, handle, frame);
}

u64 frame_of(struct page *page)
{
	return xen_page_to_gfn(page);
}

int put_page_from(const struct handle *handle, struct page *page)
{
	return put_frame(handle, frame_of(page));
}

int get_page_into(const struct handle *handle, struct page *page)
{
	return get_frame(handle, frame_of(page));
}

int flush_page(const struct handle *handle)
{
	return page_call(TMEM_FLUSH_PAGE, handle, FRAME_NONE);
}

int flush_object(const struct handle *handle)
{
	return page_call(TMEM_FLUSH_OBJECT, handle, FRAME_NONE);
}

static u64 word_of(u64 seed, unsigned int position)
{
	u64 x = (seed << 9 | position) + 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 27;
}

void fill(struct page *page, u64 seed)
{
	u64 *words = page_address(page);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		words[i] = word_of(seed, i);
}

bool holds(struct page *page, u64 seed)
{
	const u64 *words = page_address(page);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		if (words[i] != word_of(seed, i))
			return false;
	return true;
}

int put_seed(const struct handle *handle, u64 seed)
{
	fill(source, seed);
	return put_page_from(handle, source);
}

int get_seed(const struct handle *handle, u64 seed)
{
	int rc;

	fill(target, ~seed);
	rc = get_page_into(handle, target);
	if (rc == 1)
		return holds(target, seed) ? 1 : -EILSEQ;
	/* A get that finds nothing, or fails, leaves the page alone. */
	return holds(target, ~seed) ? rc : -EILSEQ;
}

long allowance_left(void)
{
	domid_t self = DOMID_SELF;
	long most = HYPERVISOR_memory_op(XENMEM_maximum_reservation, &self);
	long now = HYPERVISOR_memory_op(XENMEM_current_reservation, &self);

	return most < 0 || now < 0 ? 0 : most - now;
}

static void make_room(void)
{
	long short_of = ROOM_PAGES - allowance_left();
	unsigned int waited = 0;

	if (short_of <= 0)
		return;
	balloon_set_new_target(balloon_stats.current_pages - short_of);
	while (balloon_stats.current_pages > balloon_stats.target_pages && waited < ROOM_WAIT_MS) {
		msleep(100);
		waited += 100;
	}
	comment("ballooned %ld pages out; allowance left: %ld pages", short_of, allowance_left());
}

static void destroy_pools(void)
{
	unsigned int pool;

	for_each_set_bit(pool, case_pools, TMEM_MAX_POOLS)
		destroy_pool(pool);
}

static bool run_case(const struct test_case *test, unsigned int number)
{
	failure[0] = 0;
	skip[0] = 0;
	keep_pools = false;
	test->run();
	if (!keep_pools)
		destroy_pools();
	if (failure[0])
		print("not ok %u %s # %s", number, test->name, failure);
	else if (skip[0])
		print("ok %u %s # SKIP %s", number, test->name, skip);
	else
		print("ok %u %s", number, test->name);
	return !failure[0];
}

static bool wanted(const struct test_case *test)
{
	return !*only || !strcmp(only, test->name);
}

static void run_cases(void)
{
	static const struct test_case * const groups[] = {
		page_cases, handle_cases, pool_cases, frame_cases, limit_cases, race_cases,
		content_cases,
	};
	unsigned int group, number = 0, total = 0, failed = 0;
	const struct test_case *test;

	for (group = 0; group < ARRAY_SIZE(groups); group++)
		for (test = groups[group]; test->run; test++)
			total += wanted(test);
	print("KTAP version 1");
	print("1..%u", total);
	for (group = 0; group < ARRAY_SIZE(groups); group++)
		for (test = groups[group]; test->run; test++) {
			if (!wanted(test))
				continue;
			if (!run_case(test, ++number))
				failed++;
			cond_resched();
		}
	comment("total %u, failed %u", total, failed);
}

static int results_show(struct seq_file *file, void *unused)
{
	seq_write(file, report.buffer, seq_buf_used(&report));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(results);

static int verified_show(struct seq_file *file, void *unused)
{
	unsigned int right, missed, wrong;

	verify_held(&right, &missed, &wrong);
	seq_printf(file, "right=%u missed=%u wrong=%u\n", right, missed, wrong);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(verified);

static void release(void)
{
	if (source)
		__free_page(source);
	if (target)
		__free_page(target);
	vfree(report.buffer);
}

/* Modes that are one case of their own, reported as the suite's are. */
static const struct test_case single_cases[] = {
	{ .name = "fuzz", .run = run_fuzz },
	{ .name = "secrets", .run = put_secrets },
	{ .name = "verify", .run = verify_secrets },
	{ .name = "hunt", .run = hunt_secrets },
	{ .name = "forget", .run = forget_secrets },
	{ .name = "map", .run = map_frames },
	END_OF_CASES
};

static void run_single(void)
{
	const struct test_case *test;

	print("KTAP version 1");
	print("1..1");
	for (test = single_cases; test->run; test++)
		if (!strcmp(mode, test->name))
			run_case(test, 1);
}

/* What the module is loaded for. */
static const struct mode {
	const char *name;
	void (*run)(void);	/* NULL: it does what it is told later */
} modes[] = {
	{ "conformance", run_cases },
	{ "bench", run_bench },
	{ "hold", hold_pages },
	{ "load", run_load },
	{ "serve", NULL },
	{ "fuzz", run_single },
	{ "secrets", run_single },
	{ "verify", run_single },
	{ "hunt", run_single },
	{ "forget", run_single },
	{ "map", run_single },
};

static const struct mode *find_mode(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(mode, modes[i].name))
			return &modes[i];
	return NULL;
}

static int __init tmem_test_init(void)
{
	unsigned long target_pages = balloon_stats.target_pages;
	const struct mode *chosen = find_mode();
	bool hold;
	char *buffer;

	if (!xen_domain()) {
		pr_err("this is no Xen guest\n");
		return -ENODEV;
	}
	if (!chosen) {
		pr_err("there is no mode \"%s\"; see modinfo\n", mode);
		return -EINVAL;
	}
	hold = chosen->run == hold_pages;
	buffer = vzalloc(REPORT_BYTES);
	if (!buffer)
		return -ENOMEM;
	seq_buf_init(&report, buffer, REPORT_BYTES);
	source = alloc_page(GFP_KERNEL);
	target = alloc_page(GFP_KERNEL);
	if (!source || !target) {
		release();
		return -ENOMEM;
	}
	report_dir = debugfs_create_dir("tmem_test", NULL);
	if (!chosen->run) {
		serve(report_dir);
		return 0;
	}
	make_room();
	chosen->run();
	/* Pages that are held need their allowance. */
	if (hold)
		held_target = target_pages;
	else if (!keep_pools)
		balloon_set_new_target(target_pages);
	debugfs_create_file("results", 0444, report_dir, NULL, &results_fops);
	if (hold)
		debugfs_create_file("verified", 0400, report_dir, NULL, &verified_fops);
	return 0;
}
module_init(tmem_test_init);

static void __exit tmem_test_exit(void)
{
	debugfs_remove_recursive(report_dir);
	if (!keep_pools)
		destroy_pools();
	drop_held();
	if (held_target)
		balloon_set_new_target(held_target);
	release();
}
module_exit(tmem_test_exit);

MODULE_DESCRIPTION("Conformance suite and micro-benchmark of Xen's tmem ABI");
MODULE_LICENSE("GPL");
