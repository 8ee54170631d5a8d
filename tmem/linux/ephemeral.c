// SPDX-License-Identifier: GPL-2.0
/*
 * Clean file pages in ephemeral pools: one pool for each file system, one object for each file.
 *
 * What must never happen is a get that returns what a page was before its last change. Who calls
 * (cleancache.c, pagecache.c) puts a page when it leaves the page cache clean and flushes it when
 * it is truncated, but a file system may overwrite a page without reading it first, so that an
 * older copy can be there when the next put comes. That put replaces the copy, or is refused for
 * want of memory, which drops the copy; after any other refusal the copy is flushed here. When
 * even that fails, nothing in the pool can be trusted and its gets are answered with a miss from
 * then on.
 *
 * A file system keeps its number for as long as it is mounted, but a pool lasts no longer than the
 * domain, which another one takes the place of when the guest is restored or migrated. So the
 * number is one of our own, and the pool behind it changes:
 * before the guest is suspended all pools are destroyed, when it goes on there are new, empty
 * ones. Whoever reads a pool's number uses it within the same RCU read-side section; a pool is
 * destroyed after a grace period, so that no operation can reach another file system's pool that
 * has taken its number.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/string.h>

#include "tmem.h"

/* A file system; its place in the array is its number for Linux. */
static struct tmem_fs {
	bool mounted;
	bool shared;
	bool untrusted;		/* a flush failed since the pool was made */
	s32 pool;		/* -1: none now */
	u64 uuid[2];		/* of a shared one */
} systems[TMEM_MAX_POOLS];

static bool suspended;			/* no pools are made */
static DEFINE_MUTEX(systems_lock);	/* for both, but what operations change */

/* Call with the RCU read lock, and hold it for as long as the key is used. */
static bool make_key(struct tmem_key *key, int number, const struct tmem_object_id *file,
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
	key->object = *file;
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

/* In any context. Return: whether Xen has it. */
bool tmem_fs_put(int number, const struct tmem_object_id *file, pgoff_t index, struct page *page)
{
	enum tmem_outcome outcome = TMEM_FAILED;
	struct tmem_key key;

	rcu_read_lock();
	if (make_key(&key, number, file, index)) {
		outcome = tmem_put(TMEM_EPHEMERAL, &key, page);
		if (outcome != TMEM_DONE && outcome != TMEM_NO_MEMORY)
			distrust_unless_flushed(number, tmem_flush_page(TMEM_EPHEMERAL, &key));
	}
	rcu_read_unlock();
	return outcome == TMEM_DONE;
}

/* Return: whether @page has what was put; the page is gone from Xen then. */
bool tmem_fs_get(int number, const struct tmem_object_id *file, pgoff_t index, struct page *page)
{
	struct tmem_key key;
	bool found = false;

	rcu_read_lock();
	if (make_key(&key, number, file, index) && likely(!READ_ONCE(systems[number].untrusted)) &&
	    tmem_get(TMEM_EPHEMERAL, &key, page) == TMEM_DONE)
		found = true;
	rcu_read_unlock();
	return found;
}

void tmem_fs_flush(int number, const struct tmem_object_id *file, pgoff_t index)
{
	struct tmem_key key;

	rcu_read_lock();
	if (make_key(&key, number, file, index))
		distrust_unless_flushed(number, tmem_flush_page(TMEM_EPHEMERAL, &key));
	rcu_read_unlock();
}

void tmem_fs_flush_file(int number, const struct tmem_object_id *file)
{
	struct tmem_key key;

	rcu_read_lock();
	if (make_key(&key, number, file, 0))
		distrust_unless_flushed(number, tmem_flush_object(TMEM_EPHEMERAL, &key));
	rcu_read_unlock();
}

/* After this nobody uses the pool, and Xen does not have it. */
static void drop_pool(struct tmem_fs *fs)
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
static void make_pool(struct tmem_fs *fs)
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

/**
 * tmem_fs_add() - A file system is there, and is to have a pool.
 * @uuid: of what several guests share; NULL: the file system is this guest's alone
 *
 * Return: its number; -ENOSPC: there are too many.
 */
int tmem_fs_add(const u64 uuid[2])
{
	struct tmem_fs *fs;
	int number = -ENOSPC, i;

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
	*fs = (struct tmem_fs) { .mounted = true, .shared = uuid, .pool = -1 };
	if (uuid)
		memcpy(fs->uuid, uuid, sizeof(fs->uuid));
	if (!suspended)
		make_pool(fs);
unlock:
	mutex_unlock(&systems_lock);
	return number;
}

/* It is unmounted. */
void tmem_fs_remove(int number)
{
	if (number < 0 || number >= TMEM_MAX_POOLS)
		return;
	mutex_lock(&systems_lock);
	drop_pool(&systems[number]);
	systems[number].mounted = false;
	mutex_unlock(&systems_lock);
}

/* Leave Xen nothing: from now on all gets miss. */
void tmem_fs_suspend(void)
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
void tmem_fs_resume(void)
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
