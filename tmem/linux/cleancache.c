// SPDX-License-Identifier: GPL-2.0
/*
 * Cleancache on ephemeral pools: one pool for each file system, one object for each file.
 *
 * What must never happen is a get that returns what a page was before its last change.
 * Cleancache puts a page when it leaves the page cache clean and flushes it when it is
 * truncated, but a file system may overwrite a page without reading it first, so that an older
 * copy can be there when the next put comes. That put replaces the copy, or is refused for want
 * of memory, which drops the copy; after any other refusal the copy is flushed here. When even
 * that fails, nothing in the pool can be trusted and its gets are answered with a miss from
 * then on.
 *
 * Linux keeps the number that a file system was given for as long as it is mounted, but a pool
 * lasts no longer than the domain, which another one takes the place of when the guest is
 * restored or migrated. So what Linux gets is a number of our own, and the pool behind it changes:
 * before the guest is suspended all pools are destroyed, when it goes on there are new, empty
 * ones. Whoever reads a pool's number uses it within the same RCU read-side section; a pool is
 * destroyed after a grace period, so that no operation can reach another file system's pool that
 * has taken its number.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleancache.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/uuid.h>

#include "tmem.h"

/* A file system; its place in the array is its number for Linux. */
static struct cc_fs {
	bool mounted;
	bool shared;
	bool untrusted;		/* a flush failed since the pool was made */
	s32 pool;		/* -1: none now */
	u64 uuid[2];		/* of a shared one */
} systems[TMEM_MAX_POOLS];

static bool suspended;			/* no pools are made */
static DEFINE_MUTEX(systems_lock);	/* for both, but what operations change */

static_assert(sizeof(struct cleancache_filekey) == sizeof(struct tmem_object_id));

/* Call with the RCU read lock, and hold it for as long as the key is used. */
static bool make_key(struct tmem_key *key, int number, const struct cleancache_filekey *file,
		     pgoff_t index)
{
	/*
	 * The ABI has 32 bits for an index. What lies beyond is never put, so there's nothing
	 * to flush.
	 */
	if (number < 0 || number >= TMEM_MAX_POOLS || index > U32_MAX)
		return false;
	key->pool = READ_ONCE(systems[number].pool);
	if (key->pool < 0)
		return false;
	key->index = index;
	memcpy(&key->object, file, sizeof(key->object));
	return true;
}

static void distrust_unless_flushed(int number, enum tmem_outcome flushed)
{
	if (likely(flushed == TMEM_DONE) || READ_ONCE(systems[number].untrusted))
		return;
	WRITE_ONCE(systems[number].untrusted, true);
	pr_warn("pool %d: a flush failed, so its pages are not used any more\n",
		READ_ONCE(systems[number].pool));
}

static void cc_put_page(int number, struct cleancache_filekey file, pgoff_t index,
			struct page *page)
{
	struct tmem_key key;
	enum tmem_outcome outcome;

	rcu_read_lock();
	if (make_key(&key, number, &file, index)) {
		outcome = tmem_put(TMEM_EPHEMERAL, &key, page);
		if (outcome != TMEM_DONE && outcome != TMEM_NO_MEMORY)
			distrust_unless_flushed(number, tmem_flush_page(TMEM_EPHEMERAL, &key));
	}
	rcu_read_unlock();
}

static int cc_get_page(int number, struct cleancache_filekey file, pgoff_t index,
		       struct page *page)
{
	struct tmem_key key;
	int rc = -1;

	rcu_read_lock();
	if (make_key(&key, number, &file, index) && likely(!READ_ONCE(systems[number].untrusted)) &&
	    tmem_get(TMEM_EPHEMERAL, &key, page) == TMEM_DONE)
		rc = 0;
	rcu_read_unlock();
	return rc;
}

static void cc_invalidate_page(int number, struct cleancache_filekey file, pgoff_t index)
{
	struct tmem_key key;

	rcu_read_lock();
	if (make_key(&key, number, &file, index))
		distrust_unless_flushed(number, tmem_flush_page(TMEM_EPHEMERAL, &key));
	rcu_read_unlock();
}

static void cc_invalidate_inode(int number, struct cleancache_filekey file)
{
	struct tmem_key key;

	rcu_read_lock();
	if (make_key(&key, number, &file, 0))
		distrust_unless_flushed(number, tmem_flush_object(TMEM_EPHEMERAL, &key));
	rcu_read_unlock();
}

/* After this nobody uses the pool, and Xen does not have it. */
static void drop_pool(struct cc_fs *fs)
{
	int pool = fs->pool, rc;

	if (pool < 0)
		return;
	WRITE_ONCE(fs->pool, -1);
	synchronize_rcu();
	rc = tmem_destroy_pool(pool);
	if (rc < 0)
		pr_warn("pool %d could not be destroyed: %d\n", pool, rc);
}

/* A file system that has no pool goes uncached. */
static void make_pool(struct cc_fs *fs)
{
	int pool = -EPERM;

	if (fs->shared)
		pool = tmem_new_pool(TMEM_POOL_SHARED, fs->uuid);
	/* The toolstack has not allowed it to share, or this Xen has no room for one more. */
	if (pool < 0)
		pool = tmem_new_pool(0, NULL);
	if (pool < 0) {
		pr_warn("no pool for a file system, which goes uncached: %d\n", pool);
		return;
	}
	WRITE_ONCE(fs->untrusted, false);
	smp_store_release(&fs->pool, pool);	/* no flush of before can set it any more */
}

static int add_fs(const uuid_t *uuid, size_t page_size)
{
	struct cc_fs *fs;
	int number = -ENOSPC, i;

	if (page_size != PAGE_SIZE)
		return -EINVAL;
	mutex_lock(&systems_lock);
	for (i = 0; i < TMEM_MAX_POOLS && number < 0; i++)
		if (!systems[i].mounted)
			number = i;
	if (number < 0) {
		pr_warn("no pool for a file system, which goes uncached: there are %d already\n",
			TMEM_MAX_POOLS);
		goto unlock;
	}
	fs = &systems[number];
	*fs = (struct cc_fs) { .mounted = true, .shared = uuid, .pool = -1 };
	if (uuid) {
		static_assert(sizeof(fs->uuid) == sizeof(*uuid));
		memcpy(fs->uuid, uuid, sizeof(fs->uuid));
	}
	if (!suspended)
		make_pool(fs);
unlock:
	mutex_unlock(&systems_lock);
	return number;
}

static int cc_init_fs(size_t page_size)
{
	return add_fs(NULL, page_size);
}

static int cc_init_shared_fs(uuid_t *uuid, size_t page_size)
{
	return add_fs(uuid, page_size);
}

static void cc_invalidate_fs(int number)
{
	if (number < 0 || number >= TMEM_MAX_POOLS)
		return;
	mutex_lock(&systems_lock);
	drop_pool(&systems[number]);
	systems[number].mounted = false;
	mutex_unlock(&systems_lock);
}

static const struct cleancache_ops cc_ops = {
	.init_fs = cc_init_fs,
	.init_shared_fs = cc_init_shared_fs,
	.get_page = cc_get_page,
	.put_page = cc_put_page,
	.invalidate_page = cc_invalidate_page,
	.invalidate_inode = cc_invalidate_inode,
	.invalidate_fs = cc_invalidate_fs,
};

/* Leave Xen nothing: from now on all gets miss. */
void tmem_cleancache_suspend(void)
{
	int i;

	mutex_lock(&systems_lock);
	suspended = true;
	for (i = 0; i < TMEM_MAX_POOLS; i++)
		if (systems[i].mounted)
			drop_pool(&systems[i]);
	mutex_unlock(&systems_lock);
}

/* Begin anew, with empty pools. */
void tmem_cleancache_resume(void)
{
	int i;

	mutex_lock(&systems_lock);
	if (suspended)
		for (i = 0; i < TMEM_MAX_POOLS; i++)
			if (systems[i].mounted)
				make_pool(&systems[i]);
	suspended = false;
	mutex_unlock(&systems_lock);
}

/*
 * Serves the file systems that are mounted already, too. -EBUSY if cleancache has another back
 * end.
 */
int tmem_cleancache_register(void)
{
	return cleancache_register_ops(&cc_ops);
}
