// SPDX-License-Identifier: GPL-2.0
/*
 * Swapped pages in one persistent pool, which all swap devices share.
 *
 * Who calls (frontswap.c, swap.c) knows which pages are here, and flushes a page before it stores
 * it anew: a store that is refused leaves nothing behind that could be loaded. A page that was
 * accepted exists nowhere else, so a load that fails is the loss of somebody's memory.
 *
 * Loads leave the page in Xen (the ABI's persistent get does), and Linux is told nothing of
 * exclusive gets: a page that is evicted again unchanged costs nothing, and the slot is flushed
 * when swap frees it.
 *
 * A pool belongs to the domain, and a guest that is saved and restored, or migrated, goes on in
 * another one. So before the guest is suspended tmem_swap_drain() copies what the pool has
 * into the stash (stash.c) and sets the pool aside: from then on no operation names it. When the
 * guest goes on, tmem_swap_resume() finds out whether the pool is still there. If so, the
 * suspension was cancelled, or was a checkpoint, and the stash is dropped, else the pages go
 * into a new pool. Whoever reads the pool's number uses it within the same RCU read-side section,
 * so that after synchronize_rcu() nobody uses the last one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "slots.h"
#include "tmem.h"

/*
 * Neighbouring offsets go to different objects: each swap device has 256 objects, and whatever
 * Xen locks or looks up by object is spread over them. invalidate_area has to flush them all.
 */
#define OBJECT_BITS	8
#define OBJECTS		BIT(OBJECT_BITS)

#define RETRY_MS	10

/* How many pages go back to Xen before others may have a say: a freezer waits for that long. */
#define REFILL_BATCH	512

static int pool = -1;			/* -1: none, or set aside */
static int pool_aside = -1;		/* while the guest is, or may be, suspended */
static bool accepting;			/* stores go to the pool; never while the stash has pages */
static bool wanting;			/* there is, or was, a swap device */
static unsigned int generation;		/* counts that the pool is set aside, or used again */
static DEFINE_MUTEX(pool_lock);		/* for changing these */
static bool begun;			/* somebody stores pages here */
static bool only_stash;			/* what is not there is wanted no more, whatever is in `held' */

/* Slots whose pages are in the pool, or in the one that is set aside. */
static DEFINE_TMEM_SLOTS(held);

/*
 * A page of the stash goes back to the pool only while it is wanted: for that, and for wanting it
 * no more. Else its slot would be in `held' for a moment though the page is another's by now.
 */
static DEFINE_RAW_SPINLOCK(moving_lock);

static void object_key(struct tmem_key *key, unsigned int type, unsigned int object)
{
	*key = (struct tmem_key) {
		.pool = READ_ONCE(pool),
		.object.word[0] = (u64)type << 32 | object,
	};
}

/* The key of a slot, in the pool of now. */
static void slot_key(struct tmem_key *key, tmem_slot_t slot)
{
	object_key(key, slot >> TMEM_SLOT_TYPE_SHIFT, slot & (OBJECTS - 1));
	key->index = (u32)slot >> OBJECT_BITS;
}

/* Beyond 16 TiB of swap the index is too narrow: such pages are never accepted. */
static bool addressable(pgoff_t offset)
{
	return likely(offset <= U32_MAX);
}

/**
 * tmem_swap_store() - Keep a page. What was stored for the slot before has to be flushed already.
 * @type: number of the swap device
 * @offset: number of the page in it
 * @page: what to keep
 *
 * Return: 0, or -1 when it is not kept.
 */
int tmem_swap_store(unsigned int type, pgoff_t offset, struct page *page)
{
	tmem_slot_t slot = tmem_slot(type, offset);
	enum tmem_outcome outcome;
	struct tmem_key key;

	if (!addressable(offset) || !READ_ONCE(accepting) ||
	    tmem_slots_reserve(&held, slot, GFP_NOWAIT | __GFP_NOWARN))
		return -1;
	rcu_read_lock();
	slot_key(&key, slot);
	/* Once more, now that draining waits for us. */
	if (unlikely(!READ_ONCE(accepting))) {
		rcu_read_unlock();
		return -1;
	}
	outcome = tmem_put(TMEM_PERSISTENT, &key, page);
	if (likely(outcome == TMEM_DONE))
		tmem_slots_add(&held, slot);
	else if (outcome != TMEM_NO_MEMORY)
		/*
		 * After other refusals nothing is promised about an older page; don't let it
		 * take up memory.
		 */
		tmem_flush_page(TMEM_PERSISTENT, &key);
	rcu_read_unlock();
	return outcome == TMEM_DONE ? 0 : -1;
}

static enum tmem_outcome load_from_pool(tmem_slot_t slot, struct page *page)
{
	enum tmem_outcome outcome = TMEM_MISSED;
	struct tmem_key key;

	rcu_read_lock();
	slot_key(&key, slot);
	if (likely(key.pool >= 0))
		outcome = tmem_get(TMEM_PERSISTENT, &key, page);
	rcu_read_unlock();
	return outcome;
}

/**
 * tmem_swap_has() - Whether a page is kept, in Xen or in the stash.
 * @type: number of the swap device
 * @offset: number of the page in it
 *
 * For who has no book of its own, and holds the slot.
 */
bool tmem_swap_has(unsigned int type, pgoff_t offset)
{
	tmem_slot_t slot = tmem_slot(type, offset);
	unsigned int before;

	if (!addressable(offset))
		return false;
	do {
		before = READ_ONCE(generation);
		smp_rmb();	/* before looking for the page; below, after */
		if (tmem_stash_has(slot))
			return true;
		smp_rmb();	/* pages go from the stash to the pool, while somebody looks */
		if (!READ_ONCE(only_stash) && tmem_slots_has(&held, slot))
			return true;
		smp_rmb();	/* see above */
	} while (unlikely(before != READ_ONCE(generation)));
	return false;
}

/*
 * Fill @page with what is kept. This is process context, with nothing but sleeping locks held.
 * Return: 0, or -1 when such a page is never kept.
 */
int tmem_swap_load(unsigned int type, pgoff_t offset, struct page *page)
{
	tmem_slot_t slot = tmem_slot(type, offset);
	enum tmem_outcome outcome;
	unsigned int before;
	int rc;

	if (!addressable(offset))
		return -1;
	for (;;) {
		before = READ_ONCE(generation);
		smp_rmb();	/* before looking for the page; below, after */
		if (unlikely(tmem_stash_has(slot))) {
			rc = tmem_stash_read(slot, page);
			if (!rc)
				return 0;
			/* Memory comes back, and what has left the stash is in the pool. */
			if (rc == -ENOMEM)
				msleep(RETRY_MS);
			else if (rc != -ENOENT)
				break;
			continue;
		}
		outcome = load_from_pool(slot, page);
		if (likely(outcome == TMEM_DONE))
			return 0;
		if (outcome == TMEM_FROZEN)	/* which ends */
			msleep(RETRY_MS);
		/* A miss is one, unless the page was on its way to the stash or back. */
		smp_rmb();	/* see above */
		if (outcome != TMEM_FROZEN && !tmem_stash_has(slot) &&
		    before == READ_ONCE(generation))
			break;
	}
	/*
	 * Returning an error would make the kernel read the swap device, where this page was
	 * never written: the process would go on with whatever lies there. Stopping it is all
	 * that is left.
	 */
	pr_crit("swap %u page %lu is lost: Xen does not have it any more\n", type, offset);
	BUG();
}

/* The slot is free, or about to be stored anew. In any context. */
void tmem_swap_flush(unsigned int type, pgoff_t offset)
{
	tmem_slot_t slot = tmem_slot(type, offset);
	struct tmem_key key;
	unsigned long flags;

	if (!addressable(offset))
		return;
	rcu_read_lock();
	if (unlikely(tmem_stash_count())) {
		raw_spin_lock_irqsave(&moving_lock, flags);
		tmem_stash_forget(slot);
		raw_spin_unlock_irqrestore(&moving_lock, flags);
	}
	slot_key(&key, slot);
	/* With the pool set aside the slot stays in `held': what it has there is flushed later. */
	if (likely(key.pool >= 0) && tmem_slots_remove(&held, slot)) {
		tmem_flush_page(TMEM_PERSISTENT, &key);
		/* Draining may have put a copy into the stash before it could see that. */
		tmem_stash_forget(slot);
	}
	rcu_read_unlock();
}

/* A swap device is switched off. */
void tmem_swap_flush_device(unsigned int type)
{
	tmem_slot_t last = tmem_slot(type, U32_MAX), slot;
	unsigned int object;
	struct tmem_key key;

	mutex_lock(&pool_lock);
	for (slot = tmem_slot(type, 0); tmem_stash_next(&slot, last); slot++)
		tmem_stash_forget(slot);
	tmem_stash_tidy();
	if (pool >= 0) {
		for (object = 0; object < OBJECTS; object++) {
			object_key(&key, type, object);
			tmem_flush_object(TMEM_PERSISTENT, &key);
		}
		tmem_slots_clear(&held, tmem_slot(type, 0), last);
	}
	mutex_unlock(&pool_lock);
}

static void make_pool(void)
{
	static bool told;
	int rc = tmem_new_pool(TMEM_POOL_PERSIST, NULL);

	if (rc >= 0)
		WRITE_ONCE(pool, rc);
	else if (!told)
		pr_warn("no pool for swap, which goes to the disk: %d\n", rc);
	told = rc < 0;
}

/* There is a swap device: the first one brings the pool, which stays. */
void tmem_swap_wanted(void)
{
	mutex_lock(&pool_lock);
	wanting = true;
	if (pool < 0 && pool_aside < 0 && !tmem_stash_count()) {
		make_pool();
		WRITE_ONCE(accepting, pool >= 0);
	}
	mutex_unlock(&pool_lock);
}

static int fetch(const struct tmem_key *key, struct page *page)
{
	switch (tmem_get(TMEM_PERSISTENT, key, page)) {
	case TMEM_DONE:
		return 0;
	case TMEM_FROZEN:
		return -EBUSY;
	default:
		return -EIO;
	}
}

static int offer(const struct tmem_key *key, struct page *page)
{
	return tmem_put(TMEM_PERSISTENT, key, page) == TMEM_DONE ? 0 : -ENOMEM;
}

/*
 * What was wanted no more while the pool was set aside is dropped from it; then what is in the pool
 * is dropped from the stash. In between, who asks for a page finds it in either.
 */
static void forget_copies(void)
{
	tmem_slot_t slot;
	struct tmem_key key;

	for (slot = 0; tmem_slots_next(&held, &slot, TMEM_SLOT_LAST); slot++) {
		if (tmem_stash_has(slot) || !tmem_slots_remove(&held, slot))
			continue;
		slot_key(&key, slot);
		tmem_flush_page(TMEM_PERSISTENT, &key);
	}
	WRITE_ONCE(only_stash, false);
	WRITE_ONCE(generation, generation + 1);
	smp_mb();	/* who misses a page in the stash sees this */
	for (slot = 0; tmem_slots_next(&held, &slot, TMEM_SLOT_LAST); slot++)
		tmem_stash_forget(slot);
	tmem_stash_tidy();
}

/*
 * Copy one page into the stash. Invalidations go on meanwhile. Of this one and an invalidation of
 * the slot each first says what it has done and then looks what the other did, so that no copy
 * stays of what nobody wants; nor is a page that was flushed one that Xen has lost.
 * Return: 1, 0 when it was invalidated, or an error.
 */
static int drain_page(tmem_slot_t slot)
{
	struct tmem_key key;
	int rc;

	slot_key(&key, slot);
	rc = tmem_stash_fill(slot, fetch, &key);
	smp_mb();
	if (unlikely(!tmem_slots_has(&held, slot))) {
		tmem_stash_forget(slot);
		return 0;
	}
	return rc ? rc : 1;
}

/**
 * tmem_swap_drain() - Copy into the stash what Xen holds; leave the pool alone from now on.
 * @seconds: for how long at most
 * @pages: how many there were
 *
 * No process runs meanwhile, and the kernel stops none for want of memory.
 *
 * Return: 0; -ENOMEM or -ENOSPC: no room in memory and swap; -EBUSY: frozen by the toolstack;
 * -ETIME; -EIO: Xen lost a page. After an error everything is as before.
 */
int tmem_swap_drain(unsigned int seconds, unsigned long *pages)
{
	unsigned long end = jiffies + seconds * HZ;
	tmem_slot_t slot;
	int rc = 0;

	*pages = 0;
	if (!begun)
		return 0;
	mutex_lock(&pool_lock);
	/* Once more, as hibernation may ask before anybody has resumed: all is in the stash. */
	if (pool_aside >= 0) {
		mutex_unlock(&pool_lock);
		return 0;
	}
	WRITE_ONCE(accepting, false);
	/* Stores that began before that are done, and their slots in `held'. */
	synchronize_rcu();
	for (slot = 0; rc >= 0 && tmem_slots_next(&held, &slot, TMEM_SLOT_LAST); slot++) {
		rc = time_after(jiffies, end) ? -ETIME : drain_page(slot);
		*pages += rc > 0;
		cond_resched();
	}
	if (rc < 0) {
		*pages = tmem_slots_count(&held);
		/* Everything is in the pool still: a get leaves a persistent page there. */
		for (slot = 0; tmem_slots_next(&held, &slot, TMEM_SLOT_LAST); slot++)
			tmem_stash_forget(slot);
		tmem_stash_tidy();
		WRITE_ONCE(accepting, pool >= 0 && !tmem_stash_count());
	} else {
		if (pool >= 0)
			tmem_set_drained(pool, true);
		pool_aside = pool;
		WRITE_ONCE(only_stash, pool >= 0);
		WRITE_ONCE(pool, -1);
		WRITE_ONCE(generation, generation + 1);
		synchronize_rcu();
	}
	mutex_unlock(&pool_lock);
	return rc < 0 ? rc : 0;
}

/* A page of the stash is in the pool, too, by now. Return: whether it is wanted still. */
static bool move(tmem_slot_t slot)
{
	unsigned long flags;
	bool wanted;

	raw_spin_lock_irqsave(&moving_lock, flags);
	wanted = tmem_stash_has(slot);
	if (wanted) {
		/* In this order: who looks for it looks there first, and then here. */
		tmem_slots_add(&held, slot);
		tmem_stash_forget(slot);
	}
	raw_spin_unlock_irqrestore(&moving_lock, flags);
	return wanted;
}

/* Bring pages of the stash back to Xen, a batch of them. Return: whether it took them all. */
static bool refill(void)
{
	unsigned int batch = REFILL_BATCH;
	tmem_slot_t slot;
	struct tmem_key key;

	for (slot = 0; tmem_stash_next(&slot, TMEM_SLOT_LAST) && batch--; slot++) {
		if (tmem_slots_reserve(&held, slot, GFP_KERNEL))
			return false;
		slot_key(&key, slot);
		if (tmem_stash_use(slot, offer, &key))
			return false;
		if (!move(slot))
			tmem_flush_page(TMEM_PERSISTENT, &key);
		cond_resched();
	}
	return true;
}

/**
 * tmem_swap_resume() - Go on after tmem_swap_drain(), in whatever domain.
 *
 * To be called before anything else makes a pool, and again for as long as it asks for it.
 *
 * Return: jiffies until it wants to be called again; 0: never.
 */
unsigned long tmem_swap_resume(void)
{
	unsigned long again = 0;

	if (!begun)
		return 0;
	mutex_lock(&pool_lock);
	if (pool_aside >= 0) {
		int there = tmem_stash_is_in(pool_aside, slot_key);

		if (there < 0) {
			mutex_unlock(&pool_lock);
			return HZ;
		}
		if (there) {
			tmem_set_drained(pool_aside, false);	/* before the copies go */
			WRITE_ONCE(pool, pool_aside);
			WRITE_ONCE(generation, generation + 1);
			synchronize_rcu();	/* invalidations that did not flush are done */
			forget_copies();
		} else {
			/* What it held is in the stash where it is wanted; what is there is not ours. */
			tmem_slots_clear(&held, 0, TMEM_SLOT_LAST);
			tmem_destroy_pool(pool_aside);
			make_pool();
			WRITE_ONCE(only_stash, false);
			WRITE_ONCE(generation, generation + 1);
		}
		pool_aside = -1;
	} else if (pool < 0 && wanting) {
		make_pool();
	}
	if (tmem_stash_count()) {
		again = pool >= 0 && refill() ? 1 : 5 * HZ;
		tmem_stash_tidy();
	} else if (pool < 0 && wanting) {
		again = 60 * HZ;
	}
	WRITE_ONCE(accepting, pool >= 0 && !tmem_stash_count());
	if (accepting)
		again = 0;
	mutex_unlock(&pool_lock);
	return again;
}

/* Pages that frontswap keeps, in Xen or in the stash; 0 when this is not its back end. */
unsigned long tmem_swap_pages(void)
{
	return (READ_ONCE(pool) >= 0 ? tmem_slots_count(&held) : 0) + tmem_stash_count();
}

/* Loads that succeeded, ever: a sign that something comes back. */
u64 tmem_swap_loads(void)
{
	return tmem_count(TMEM_PERSISTENT, TMEM_VERB_GET, TMEM_DONE);
}

/* Before the first page is stored, and for good. */
void tmem_swap_begin(void)
{
	begun = true;
}
