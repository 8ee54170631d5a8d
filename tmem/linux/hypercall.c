// SPDX-License-Identifier: GPL-2.0
/*
 * tmem operations as Linux wants them: pages in, outcomes out, everything counted.
 *
 * The page cache calls in with interrupts off and its tree locked, so nothing here sleeps,
 * allocates or takes a lock. The operation lives on the stack; Xen reads it through the guest's
 * own page tables, which a vmalloc'ed stack satisfies as well.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>

#include <asm/xen/hypercall.h>
#include <xen/interface/xen.h>
#include <xen/page.h>

#include "tmem.h"

DEFINE_PER_CPU(struct tmem_counters, tmem_counters);

/* How often that came out so, on all processors. */
u64 tmem_count(enum tmem_kind kind, enum tmem_verb verb, enum tmem_outcome outcome)
{
	unsigned int cpu;
	u64 sum = 0;

	for_each_possible_cpu(cpu)
		sum += per_cpu(tmem_counters, cpu).count[kind][verb][outcome];
	return sum;
}

static int tmem_call(struct tmem_request *op)
{
	return _hypercall1(int, tmem_op, op);
}

/**
 * tmem_probe() - Ask whether this Xen has tmem and has it switched on.
 *
 * A pool of an impossible version is asked for: -EPERM says that somebody read the request, and
 * nothing was created. Without tmem in the hypervisor the answer is -ENOSYS, with tmem switched
 * off -ENODEV.
 *
 * Return: 0, -ENOSYS or -ENODEV.
 */
int tmem_probe(void)
{
	struct tmem_request op = {
		.command = TMEM_NEW_POOL,
		.create.flags = 0xffu << TMEM_POOL_VERSION_SHIFT,
	};
	int rc = tmem_call(&op);

	return rc == -ENOSYS || rc == -ENODEV ? rc : 0;
}

/**
 * tmem_new_pool() - Create a pool, or join a shared one.
 * @flags: TMEM_POOL_PERSIST, TMEM_POOL_SHARED or neither
 * @uuid: names a shared pool; NULL for a private one
 *
 * Return: the pool's id, not negative, or Xen's error.
 */
int tmem_new_pool(u32 flags, const u64 uuid[2])
{
	struct tmem_request op = {
		.command = TMEM_NEW_POOL,
		.create.flags = flags |
			(PAGE_SHIFT - 12) << TMEM_POOL_PAGESIZE_SHIFT |
			TMEM_ABI_VERSION << TMEM_POOL_VERSION_SHIFT,
	};

	/* Frames below are handed over as page frames of Linux. */
	BUILD_BUG_ON(PAGE_SIZE != XEN_PAGE_SIZE);

	if (uuid) {
		op.create.uuid[0] = uuid[0];
		op.create.uuid[1] = uuid[1];
	}
	return tmem_call(&op);
}

int tmem_destroy_pool(s32 pool)
{
	struct tmem_request op = {
		.command = TMEM_DESTROY_POOL,
		.pool_id = pool,
	};

	return tmem_call(&op);
}

static int tmem_page_call(enum tmem_command command, const struct tmem_key *key, struct page *page)
{
	struct tmem_request op = {
		.command = command,
		.pool_id = key->pool,
		.page.object = key->object,
		.page.index = key->index,
		/* The machine frame in a PV guest, the guest's own frame otherwise. */
		.page.frame = page ? xen_page_to_gfn(page) : 0,
	};

	return tmem_call(&op);
}

/*
 * Tell Xen whether the guest has copies of all that a pool holds. As long as it has not, Xen does not
 * suspend it. Where Xen does not know that, nothing depends on it.
 */
void tmem_set_drained(s32 pool, bool drained)
{
	const struct tmem_key key = { .pool = pool, .index = drained };

	tmem_page_call(TMEM_DRAINED, &key, NULL);
}

static enum tmem_outcome tmem_note(enum tmem_kind kind, enum tmem_verb verb, int rc,
				   enum tmem_outcome outcome)
{
	this_cpu_inc(tmem_counters.count[kind][verb][outcome]);
	/* Xen's tmem can vanish below a guest that is migrated; don't say so a million times. */
	if (unlikely(outcome == TMEM_FAILED))
		pr_warn_ratelimited("unexpected answer %d to operation %d on %s pool\n", rc, verb,
				    kind == TMEM_PERSISTENT ? "the persistent" : "an ephemeral");
	return outcome;
}

static enum tmem_outcome tmem_refusal(int rc)
{
	switch (rc) {
	case -ENOMEM:
		return TMEM_NO_MEMORY;
	case -TMEM_EFROZEN:
		return TMEM_FROZEN;
	default:
		return TMEM_FAILED;
	}
}

/*
 * Offer a copy of a page to Xen.
 *
 * Anything but TMEM_DONE means that Xen does not hold this content. An older page under the
 * same key is gone after TMEM_NO_MEMORY, which the ABI promises; after other refusals the
 * caller has to flush.
 */
enum tmem_outcome tmem_put(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	int rc = tmem_page_call(TMEM_PUT_PAGE, key, page);

	return tmem_note(kind, TMEM_VERB_PUT, rc, rc == 1 ? TMEM_DONE : tmem_refusal(rc));
}

static enum tmem_outcome tmem_note_get(enum tmem_kind kind, int rc)
{
	enum tmem_outcome outcome;

	if (rc == 1)
		outcome = TMEM_DONE;
	else if (rc == 0 || rc == -TMEM_EEMPTY)
		outcome = TMEM_MISSED;
	else if (rc == -TMEM_EFROZEN)
		outcome = TMEM_FROZEN;
	else
		outcome = TMEM_FAILED;
	return tmem_note(kind, TMEM_VERB_GET, rc, outcome);
}

/* Fill @page from Xen. In a private ephemeral pool the page is gone from Xen afterwards. */
enum tmem_outcome tmem_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	return tmem_note_get(kind, tmem_page_call(TMEM_GET_PAGE, key, page));
}

/* The same of a pool that this domain may not have, which is a miss and none that Xen has counted. */
enum tmem_outcome tmem_try_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page)
{
	int rc = tmem_page_call(TMEM_GET_PAGE, key, page);

	return rc == -ENODEV || rc == -ENOSYS ? TMEM_MISSED : tmem_note_get(kind, rc);
}

static enum tmem_outcome tmem_flush(enum tmem_kind kind, enum tmem_verb verb, int rc)
{
	/* Flushing what is absent succeeds: 1 of late, 0 once. */
	return tmem_note(kind, verb, rc, rc >= 0 ? TMEM_DONE : tmem_refusal(rc));
}

enum tmem_outcome tmem_flush_page(enum tmem_kind kind, const struct tmem_key *key)
{
	return tmem_flush(kind, TMEM_VERB_FLUSH_PAGE,
			  tmem_page_call(TMEM_FLUSH_PAGE, key, NULL));
}

/* Drop every page of the object; the key's index does not matter. */
enum tmem_outcome tmem_flush_object(enum tmem_kind kind, const struct tmem_key *key)
{
	return tmem_flush(kind, TMEM_VERB_FLUSH_OBJECT,
			  tmem_page_call(TMEM_FLUSH_OBJECT, key, NULL));
}
