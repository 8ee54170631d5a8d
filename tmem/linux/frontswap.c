// SPDX-License-Identifier: GPL-2.0
/*
 * Frontswap on one persistent pool, which all swap devices share.
 *
 * The swap code's own bitmap says which pages are here, and it flushes a page before it stores
 * it anew: a store that is refused leaves nothing behind that could be loaded. A page that was
 * accepted exists nowhere else, so a load that fails is the loss of somebody's memory.
 *
 * Loads leave the page in Xen (the ABI's persistent get does), and Linux is told nothing of
 * exclusive gets: a page that is evicted again unchanged costs nothing, and the slot is flushed
 * when swap frees it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/frontswap.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/swap.h>

#include "tmem.h"

/*
 * Neighbouring offsets go to different objects: each swap device has 256 objects, and whatever
 * Xen locks or looks up by object is spread over them. invalidate_area has to flush them all.
 */
#define OBJECT_BITS	8
#define OBJECTS		BIT(OBJECT_BITS)

#define FROZEN_POLL_MS	10

static int pool = -1;
static DEFINE_MUTEX(pool_lock);	/* for making the pool */
static bool registered;

static void object_key(struct tmem_key *key, unsigned int type, unsigned int object)
{
	*key = (struct tmem_key) {
		.pool = READ_ONCE(pool),
		.object.word[0] = (u64)type << 32 | object,
	};
}

static bool page_key(struct tmem_key *key, unsigned int type, pgoff_t offset)
{
	pgoff_t index = offset >> OBJECT_BITS;

	if (READ_ONCE(pool) < 0 || index > U32_MAX)
		return false;
	object_key(key, type, offset & (OBJECTS - 1));
	key->index = index;
	return true;
}

static int fs_store(unsigned int type, pgoff_t offset, struct page *page)
{
	struct tmem_key key;
	enum tmem_outcome outcome;

	if (!page_key(&key, type, offset))
		return -1;
	outcome = tmem_put(TMEM_PERSISTENT, &key, page);
	if (outcome == TMEM_DONE)
		return 0;
	/*
	 * After other refusals nothing is promised about an older page; don't let it take up
	 * memory.
	 */
	if (outcome != TMEM_NO_MEMORY)
		tmem_flush_page(TMEM_PERSISTENT, &key);
	return -1;
}

static int fs_load(unsigned int type, pgoff_t offset, struct page *page)
{
	struct tmem_key key;
	enum tmem_outcome outcome;

	if (!page_key(&key, type, offset))
		return -1;
	outcome = tmem_get(TMEM_PERSISTENT, &key, page);
	/* A freeze ends; this is process context, with nothing but sleeping locks held. */
	while (unlikely(outcome == TMEM_FROZEN)) {
		msleep(FROZEN_POLL_MS);
		outcome = tmem_get(TMEM_PERSISTENT, &key, page);
	}
	if (likely(outcome == TMEM_DONE))
		return 0;
	/*
	 * Returning an error would make the kernel read the swap device, where this page was
	 * never written: the process would go on with whatever lies there. Stopping it is all
	 * that is left.
	 */
	pr_crit("swap %u page %lu is lost: Xen does not have it any more\n", type, offset);
	BUG();
}

static void fs_invalidate_page(unsigned int type, pgoff_t offset)
{
	struct tmem_key key;

	if (page_key(&key, type, offset))
		tmem_flush_page(TMEM_PERSISTENT, &key);
}

static void fs_invalidate_area(unsigned int type)
{
	struct tmem_key key;
	unsigned int object;

	if (READ_ONCE(pool) < 0)
		return;
	for (object = 0; object < OBJECTS; object++) {
		object_key(&key, type, object);
		tmem_flush_object(TMEM_PERSISTENT, &key);
	}
}

/* A swap device is switched on: the first one brings the pool, which stays. */
static void fs_init(unsigned int type)
{
	mutex_lock(&pool_lock);
	if (pool < 0) {
		int rc = tmem_new_pool(TMEM_POOL_PERSIST, NULL);

		if (rc < 0)
			pr_warn("no pool for swap, which goes to the disk: %d\n", rc);
		else
			WRITE_ONCE(pool, rc);
	}
	mutex_unlock(&pool_lock);
}

static struct frontswap_ops fs_ops = {
	.init = fs_init,
	.store = fs_store,
	.load = fs_load,
	.invalidate_page = fs_invalidate_page,
	.invalidate_area = fs_invalidate_area,
};

void tmem_frontswap_register(void)
{
	frontswap_tmem_exclusive_gets(false);
	frontswap_register_ops(&fs_ops);
	registered = true;
}

/* Pages that frontswap keeps in Xen; 0 when this is not frontswap's back end. */
unsigned long tmem_frontswap_pages(void)
{
	return registered ? frontswap_curr_pages() : 0;
}

/* Bring pages back into memory until @target_pages are left. Sleeps, and may take long. */
void tmem_frontswap_shrink(unsigned long target_pages)
{
	if (registered)
		frontswap_shrink(target_pages);
}
