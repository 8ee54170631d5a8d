// SPDX-License-Identifier: GPL-2.0
/*
 * Bringing pages back from frontswap.
 *
 * frontswap_shrink() looks through all processes for so and so many pages, over and over until
 * it has found them. It counts on their being there. But processes end meanwhile, and slots that
 * swap has freed are kept back for the next use, up to 64 by each processor: such pages count,
 * nobody has them, and the search goes on for good. To end it, the kernel lets a signal pend. So it
 * runs in a thread of its own, which gets one as soon as it has done enough, or nothing for a
 * while, or the system freezes.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/freezer.h>
#include <linux/frontswap.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "tmem.h"

#ifdef TMEM_CAN_SHRINK

#define POLL_JIFFIES	max(HZ / 20, 1)
#define IDLE_POLLS	10	/* so many without a page make it futile */
#define MOST_POLLS	200	/* others may load pages, too: enough for one step */

struct shrinking {
	unsigned long target;	/* pages */
	struct completion done;
};

static int shrink_thread(void *argument)
{
	struct shrinking *shrinking = argument;

	allow_signal(SIGINT);
	frontswap_shrink(shrinking->target);
	complete(&shrinking->done);
	return 0;
}

/**
 * tmem_frontswap_shrink() - Bring pages back into memory until @target are left.
 * @target: in pages
 *
 * Sleeps, for as long as it makes progress.
 *
 * Return: whether any page came back.
 */
bool tmem_frontswap_shrink(unsigned long target)
{
	struct shrinking shrinking = { .target = target };
	u64 loads = tmem_swap_loads(), before = loads;
	unsigned long pages = tmem_swap_pages(), first = pages;
	unsigned int idle = 0, polls = 0;
	struct task_struct *thread;

	init_completion(&shrinking.done);
	thread = kthread_create(shrink_thread, &shrinking, "tmem_shrink");
	if (IS_ERR(thread))
		return false;
	get_task_struct(thread);
	wake_up_process(thread);
	while (!wait_for_completion_timeout(&shrinking.done, POLL_JIFFIES)) {
		u64 loads_now = tmem_swap_loads();
		unsigned long pages_now = tmem_swap_pages();

		idle = loads_now == loads && pages_now == pages ? idle + 1 : 0;
		loads = loads_now;
		pages = pages_now;
		if (pages <= target || idle >= IDLE_POLLS || ++polls >= MOST_POLLS ||
		    atomic_read(&system_freezing_cnt))
			send_sig(SIGINT, thread, 1);
	}
	/* It ends now, and this waits for that. */
	kthread_stop(thread);
	put_task_struct(thread);
	return tmem_swap_loads() != before || tmem_swap_pages() < first;
}

#endif /* TMEM_CAN_SHRINK */
