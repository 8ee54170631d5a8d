// SPDX-License-Identifier: GPL-2.0
/* Several threads at once; on a guest of one vCPU they alternate, which is less of a test. */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "tmem_test.h"

#define THREADS	4
#define ROUNDS	2000

struct racer {
	struct completion done;
	struct page *page;
	unsigned int number;
	int pool;
	int (*round)(struct racer *racer, unsigned int round);
	int rc;			/* of the round that failed */
	unsigned int failed_round;
};

static int race_thread(void *data)
{
	struct racer *racer = data;
	unsigned int round;

	for (round = 0; round < ROUNDS && !racer->rc; round++) {
		racer->rc = racer->round(racer, round);
		racer->failed_round = round;
		cond_resched();
	}
	complete(&racer->done);
	return 0;
}

/* Run @round in every thread; the first failure is noted. */
static void race(int pool, int (*round)(struct racer *racer, unsigned int round))
{
	struct racer racers[THREADS] = { };
	unsigned int i, started = 0;

	CHECK(pool >= 0, "new pool: %d", pool);
	for (i = 0; i < THREADS; i++, started++) {
		struct task_struct *task;

		racers[i].number = i;
		racers[i].pool = pool;
		racers[i].round = round;
		init_completion(&racers[i].done);
		racers[i].page = alloc_page(GFP_KERNEL);
		if (!racers[i].page)
			break;
		task = kthread_create(race_thread, &racers[i], "tmem_race/%u", i);
		if (IS_ERR(task)) {
			__free_page(racers[i].page);
			break;
		}
		kthread_bind(task, i % num_online_cpus());
		wake_up_process(task);
	}
	for (i = 0; i < started; i++) {
		wait_for_completion(&racers[i].done);
		if (racers[i].rc)
			note_failure(__LINE__, "thread %u, round %u: %d", i,
				     racers[i].failed_round, racers[i].rc);
		__free_page(racers[i].page);
	}
	CHECK(started == THREADS, "only %u threads could be started", started);
}

/* Put, get, check, flush: each thread in its own object, where nobody interferes. */
static int own_object_round(struct racer *racer, unsigned int round)
{
	const struct handle handle = HANDLE(racer->pool, racer->number, round % 97);
	u64 seed = (u64)racer->number << 32 | round;
	int rc;

	fill(racer->page, seed);
	rc = put_page_from(&handle, racer->page);
	if (rc != 1)
		return rc ? rc : -EPROTO;
	fill(racer->page, ~seed);
	rc = get_page_into(&handle, racer->page);
	if (rc != 1)
		return rc ? rc : -ENOENT;
	if (!holds(racer->page, seed))
		return -EILSEQ;
	if (round % 3)
		return 0;
	rc = round % 2 ? flush_page(&handle) : flush_object(&handle);
	return rc == 1 ? 0 : -EPROTO;
}

static void threads_in_their_own_objects(void)
{
	race(new_pool(TMEM_POOL_PERSIST), own_object_round);
}

static bool holds_some_threads_page(struct page *page)
{
	unsigned int number;

	for (number = 0; number < THREADS; number++)
		if (holds(page, 7000 + number))
			return true;
	return false;
}

/* All on a few handles: a get may find any thread's page, but a whole one. */
static int same_handle_round(struct racer *racer, unsigned int round)
{
	const struct handle handle = HANDLE(racer->pool, 1, round % 3);
	int rc;

	fill(racer->page, 7000 + racer->number);
	rc = put_page_from(&handle, racer->page);
	if (rc != 1 && rc != -ENOMEM)
		return rc ? rc : -EPROTO;
	rc = get_page_into(&handle, racer->page);
	if (rc < 0)
		return rc;
	if (rc == 1 && !holds_some_threads_page(racer->page))
		return -EILSEQ;
	if (round % 5 == 0)
		rc = flush_page(&handle);
	else if (round % 7 == 0)
		rc = flush_object(&handle);
	return rc < 0 ? rc : 0;
}

static void threads_on_the_same_handles(void)
{
	race(new_pool(TMEM_POOL_PERSIST), same_handle_round);
}

static void threads_on_the_same_ephemeral_handles(void)
{
	race(new_pool(0), same_handle_round);
}

const struct test_case race_cases[] = {
	CASE(threads_in_their_own_objects),
	CASE(threads_on_the_same_handles),
	CASE(threads_on_the_same_ephemeral_handles),
	END_OF_CASES
};
