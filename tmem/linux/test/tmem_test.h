/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The conformance suite of the tmem ABI. It shares the ABI's layout with the driver, and
 * nothing else, so that a mistake in the driver's calls is not repeated here.
 */
#ifndef TMEM_TEST_H
#define TMEM_TEST_H

#include <linux/mm.h>
#include <linux/types.h>

#include "../abi.h"

#define INDEX_MAX	U32_MAX
#define FRAME_NONE	(~0ull)

/* One test case: a failed check is noted and ends the case; its pools are destroyed afterwards. */
struct test_case {
	const char *name;
	void (*run)(void);
};

extern const struct test_case page_cases[], handle_cases[], pool_cases[], frame_cases[],
	limit_cases[], race_cases[], content_cases[];

#define CASE(_name)	{ .name = #_name, .run = _name }
#define END_OF_CASES	{ }

__printf(2, 3) void note_failure(int line, const char *format, ...);
__printf(1, 2) void note_skip(const char *format, ...);
__printf(1, 2) void comment(const char *format, ...);

#define CHECK(_condition, _format, ...)					\
	do {								\
		if (!(_condition)) {					\
			note_failure(__LINE__, _format, ##__VA_ARGS__);	\
			return;						\
		}							\
	} while (0)

/* Expect a call to answer @_expected. */
#define EXPECT(_call, _expected)					\
	do {								\
		int _rc = (_call), _want = (_expected);			\
									\
		if (_rc != _want) {					\
			note_failure(__LINE__, "%s: %d, expected %d", #_call, _rc, _want); \
			return;						\
		}							\
	} while (0)

/* Two pages to put from and get into, for cases that need no more. */
extern struct page *source, *target;

struct handle {
	s32 pool;
	u32 index;
	struct tmem_object_id object;
};

#define HANDLE(_pool, _object, _index)					\
	((struct handle){ .pool = (_pool), .object.word[0] = (_object), .index = (_index) })

/* runner.c: the hypercall in its parts. */
int raw_call(void *op);
int raw_sysctl(void *op);
int new_pool_raw(u32 flags, u64 uuid0, u64 uuid1);
int new_pool(u32 flags);		/* current version; destroyed when the case ends */
int destroy_pool(s32 pool);
struct tmem_request page_request(u32 command, const struct handle *handle, u64 frame);
int page_call(u32 command, const struct handle *handle, u64 frame);
int put_frame(const struct handle *handle, u64 frame);
int get_frame(const struct handle *handle, u64 frame);
u64 frame_of(struct page *page);		/* as Xen counts frames */
int put_page_from(const struct handle *handle, struct page *page);
int get_page_into(const struct handle *handle, struct page *page);
int flush_page(const struct handle *handle);
int flush_object(const struct handle *handle);

/* runner.c: contents. Every seed makes another page, wrong in every word. */
void fill(struct page *page, u64 seed);
bool holds(struct page *page, u64 seed);
/*
 * Put a page made from @seed, and get it back: 1 and right, 0 a miss, negative an error;
 * -EILSEQ wrong.
 */
int put_seed(const struct handle *handle, u64 seed);
int get_seed(const struct handle *handle, u64 seed);

/* contents.c: pages of several sorts. */
enum content {
	CONTENT_ZERO, CONTENT_TAIL, CONTENT_LAST, CONTENT_TEXT, CONTENT_MIXED, CONTENT_NOISE,
	NR_CONTENTS
};
void fill_content(struct page *page, enum content content, u64 seed);
void hold_pages(void);
void verify_held(unsigned int *right, unsigned int *missed, unsigned int *wrong);
void drop_held(void);

/* runner.c: how many persistent pages Xen's rule leaves this guest: max_pages - tot_pages. */
long allowance_left(void);

extern unsigned int pools_in_use;
extern char *content;
extern unsigned int copies;
extern bool hold_persistent;
/* Parameters of the module; see there. */
extern unsigned int samples, pages_held, seconds;
extern unsigned long start_at;

/* runner.c: parameters of run_fuzz(); a case that sets keep_pools leaves its pools. */
extern unsigned int fuzz_seed, fuzz_operations;
extern bool keep_pools;

/* frames.c: of a PV guest, which sees machine frames. */
unsigned long frames_of_machine(void);
bool frame_is_ours(u64 frame);
bool frame_is_shared(u64 frame);	/* Xen shares it with us; no page of Linux has it */

void run_bench(void);
void run_load(void);

struct dentry;
/* serve.c: do what is written to files in @dir. */
void serve(struct dentry *dir);
/* fuzz.c: of a PV guest; false: Xen refused. */
bool unmap_everywhere(struct page *page);
void run_fuzz(void);
void put_secrets(void);
void verify_secrets(void);
void hunt_secrets(void);
void forget_secrets(void);
/* map.c */
void map_frames(void);

#endif /* TMEM_TEST_H */
