// SPDX-License-Identifier: GPL-2.0
/*
 * mode=serve: operations by the thousand, as a test outside asks for them, so that one test can
 * drive several guests and look at Xen in between.
 *
 * A line written to debugfs tmem_test/command is done at once; tmem_test/answer then tells how
 * often which number was answered, as "1:4096 -12:3". Numbers are those of the ABI; a get whose
 * content is wrong answers -EILSEQ.
 *
 *   pool FLAGS UUID0 UUID1              (hexadecimal) make a pool; answers its number
 *   destroy POOL
 *   put POOL OBJECT FIRST COUNT SEED    the page at index i is made from SEED + i
 *   get POOL OBJECT FIRST COUNT SEED
 *   flush POOL OBJECT FIRST COUNT
 *   flush_object POOL OBJECT
 *   reserve BITS                        ask Xen for a frame whose address has so many bits at
 *                                       most; answers how many there were, and gives it back
 *
 * tmem_test/rings tells how often a timer rang, every RING_US as far as Xen let it, while the
 * last destroy or flush_object went on. In an operation that Xen does in one go it rings once, late.
 *
 * Pools are destroyed when the module is removed.
 */
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <asm/xen/hypercall.h>
#include <xen/interface/memory.h>

#include "tmem_test.h"

#define LINE_BYTES	128
#define RING_US		200
#define ANSWERS		8	/* different numbers that are told apart */

static DEFINE_MUTEX(busy);	/* the answers, and the two pages */
static struct answer {
	int rc;
	unsigned int count;
} answers[ANSWERS];
static unsigned int nr_answers;
static unsigned int rings;

static void note_answer(int rc)
{
	unsigned int i;

	for (i = 0; i < nr_answers && answers[i].rc != rc; i++)
		;
	if (i == ANSWERS)
		return;
	if (i == nr_answers)
		answers[nr_answers++] = (struct answer){ .rc = rc };
	answers[i].count++;
}

enum verb { PUT, GET, FLUSH };

static int one(enum verb verb, const struct handle *handle, u64 seed)
{
	switch (verb) {
	case PUT:
		return put_seed(handle, seed);
	case GET:
		return get_seed(handle, seed);
	default:
		return flush_page(handle);
	}
}

static int many(enum verb verb, int pool, u64 object, u32 first, u32 count, u64 seed)
{
	u32 i;

	for (i = 0; i < count; i++) {
		note_answer(one(verb, &HANDLE(pool, object, first + i), seed + first + i));
		if (i % 64 == 0)
			cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static enum hrtimer_restart ring(struct hrtimer *timer)
{
	WRITE_ONCE(rings, rings + 1);
	hrtimer_forward_now(timer, ns_to_ktime(RING_US * NSEC_PER_USEC));
	return HRTIMER_RESTART;
}

/* Do what may take long, on this processor. */
static void note_long(int (*call)(const struct handle *handle), const struct handle *handle)
{
	struct hrtimer timer;

	hrtimer_init_on_stack(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	timer.function = ring;
	rings = 0;
	hrtimer_start(&timer, ns_to_ktime(RING_US * NSEC_PER_USEC), HRTIMER_MODE_REL_PINNED);
	note_answer(call(handle));
	hrtimer_cancel(&timer);
	destroy_hrtimer_on_stack(&timer);
}

static int destroy(const struct handle *handle)
{
	return destroy_pool(handle->pool);
}

static int reserve(unsigned int bits)
{
	xen_pfn_t frame = 0;
	struct xen_memory_reservation reservation = {
		.nr_extents = 1,
		.address_bits = bits,
		.domid = DOMID_SELF,
	};
	int got;

	set_xen_guest_handle(reservation.extent_start, &frame);
	got = HYPERVISOR_memory_op(XENMEM_increase_reservation, &reservation);
	if (got == 1)
		HYPERVISOR_memory_op(XENMEM_decrease_reservation, &reservation);
	return got;
}

static int obey(const char *line)
{
	u64 object, seed, uuid0, uuid1;
	u32 first, count, flags, bits;
	int pool;

	if (sscanf(line, "pool %x %llx %llx", &flags, &uuid0, &uuid1) == 3) {
		note_answer(new_pool_raw(flags | TMEM_ABI_VERSION << TMEM_POOL_VERSION_SHIFT,
					 uuid0, uuid1));
		return 0;
	}
	if (sscanf(line, "destroy %d", &pool) == 1) {
		note_long(destroy, &HANDLE(pool, 0, 0));
		return 0;
	}
	if (sscanf(line, "put %d %llu %u %u %llu", &pool, &object, &first, &count, &seed) == 5)
		return many(PUT, pool, object, first, count, seed);
	if (sscanf(line, "get %d %llu %u %u %llu", &pool, &object, &first, &count, &seed) == 5)
		return many(GET, pool, object, first, count, seed);
	if (sscanf(line, "flush %d %llu %u %u", &pool, &object, &first, &count) == 4)
		return many(FLUSH, pool, object, first, count, 0);
	if (sscanf(line, "reserve %u", &bits) == 1) {
		note_answer(reserve(bits));
		return 0;
	}
	if (sscanf(line, "flush_object %d %llu", &pool, &object) == 2) {
		note_long(flush_object, &HANDLE(pool, object, 0));
		return 0;
	}
	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char line[LINE_BYTES];
	int rc;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = 0;
	if (mutex_lock_interruptible(&busy))
		return -EINTR;
	nr_answers = 0;
	rc = obey(line);
	mutex_unlock(&busy);
	return rc ? rc : size;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.write = command_write,
};

static int answer_show(struct seq_file *file, void *unused)
{
	unsigned int i;

	mutex_lock(&busy);
	for (i = 0; i < nr_answers; i++)
		seq_printf(file, "%s%d:%u", i ? " " : "", answers[i].rc, answers[i].count);
	mutex_unlock(&busy);
	seq_puts(file, "\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(answer);

static int rings_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%u\n", READ_ONCE(rings));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rings);

void serve(struct dentry *dir)
{
	debugfs_create_file("command", 0200, dir, NULL, &command_fops);
	debugfs_create_file("answer", 0400, dir, NULL, &answer_fops);
	debugfs_create_file("rings", 0400, dir, NULL, &rings_fops);
}
