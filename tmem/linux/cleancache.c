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
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/cleancache.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/uuid.h>

#include "tmem.h"

/* Pools in which a flush failed. */
static DECLARE_BITMAP(untrusted, TMEM_MAX_POOLS);

static_assert(sizeof(struct cleancache_filekey) == sizeof(struct tmem_object_id));

static bool make_key(struct tmem_key *key, int pool, const struct cleancache_filekey *file,
		     pgoff_t index)
{
	/*
	 * The ABI has 32 bits for an index. What lies beyond is never put, so there's nothing
	 * to flush.
	 */
	if (pool < 0 || pool >= TMEM_MAX_POOLS || index > U32_MAX)
		return false;
	key->pool = pool;
	key->index = index;
	memcpy(&key->object, file, sizeof(key->object));
	return true;
}

static void distrust_unless_flushed(int pool, enum tmem_outcome flushed)
{
	if (likely(flushed == TMEM_DONE) || test_and_set_bit(pool, untrusted))
		return;
	pr_warn("pool %d: a flush failed, so its pages are not used any more\n", pool);
}

static void cc_put_page(int pool, struct cleancache_filekey file, pgoff_t index, struct page *page)
{
	struct tmem_key key;
	enum tmem_outcome outcome;

	if (!make_key(&key, pool, &file, index))
		return;
	outcome = tmem_put(TMEM_EPHEMERAL, &key, page);
	if (outcome != TMEM_DONE && outcome != TMEM_NO_MEMORY)
		distrust_unless_flushed(pool, tmem_flush_page(TMEM_EPHEMERAL, &key));
}

static int cc_get_page(int pool, struct cleancache_filekey file, pgoff_t index, struct page *page)
{
	struct tmem_key key;

	if (!make_key(&key, pool, &file, index) || unlikely(test_bit(pool, untrusted)))
		return -1;
	return tmem_get(TMEM_EPHEMERAL, &key, page) == TMEM_DONE ? 0 : -1;
}

static void cc_invalidate_page(int pool, struct cleancache_filekey file, pgoff_t index)
{
	struct tmem_key key;

	if (make_key(&key, pool, &file, index))
		distrust_unless_flushed(pool, tmem_flush_page(TMEM_EPHEMERAL, &key));
}

static void cc_invalidate_inode(int pool, struct cleancache_filekey file)
{
	struct tmem_key key;

	if (make_key(&key, pool, &file, 0))
		distrust_unless_flushed(pool, tmem_flush_object(TMEM_EPHEMERAL, &key));
}

static void cc_invalidate_fs(int pool)
{
	int rc = tmem_destroy_pool(pool);

	if (rc < 0)
		pr_warn("pool %d could not be destroyed: %d\n", pool, rc);
}

static int new_pool(u32 flags, const u64 *uuid, size_t page_size)
{
	int pool;

	if (page_size != PAGE_SIZE)
		return -EINVAL;
	pool = tmem_new_pool(flags, uuid);
	if (pool < 0) {
		pr_warn("no pool for a file system, which goes uncached: %d\n", pool);
		return pool;
	}
	if (WARN_ON_ONCE(pool >= TMEM_MAX_POOLS)) {
		tmem_destroy_pool(pool);
		return -ERANGE;
	}
	clear_bit(pool, untrusted);
	return pool;
}

static int cc_init_fs(size_t page_size)
{
	return new_pool(0, NULL, page_size);
}

static int cc_init_shared_fs(uuid_t *uuid, size_t page_size)
{
	u64 words[2];

	static_assert(sizeof(words) == sizeof(*uuid));
	memcpy(words, uuid, sizeof(words));
	return new_pool(TMEM_POOL_SHARED, words, page_size);
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

/*
 * Serves the file systems that are mounted already, too. -EBUSY if cleancache has another back
 * end.
 */
int tmem_cleancache_register(void)
{
	return cleancache_register_ops(&cc_ops);
}
