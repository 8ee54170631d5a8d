// SPDX-License-Identifier: GPL-2.0
/*
 * The stash: where pages of frontswap are while Xen cannot keep them, that is from before the
 * guest is suspended until it has a pool again.
 *
 * It is a file of shared memory that no one else can reach, a page of it for each swap slot. So
 * the kernel may swap the pages out as it does others, and the room for them is memory and swap
 * together. Frontswap accepts nothing while the stash holds anything: a page of the stash is
 * never in frontswap itself, and finding one never leads to looking for another.
 *
 * A slot whose content is wanted is in @wanted. Removing it there drops the page at once as far
 * as readers are concerned, in any context; the memory is given back by tmem_stash_tidy(), which
 * sleeps.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/string.h>

#include "slots.h"
#include "tmem.h"

static DEFINE_TMEM_SLOTS(wanted);
static DEFINE_TMEM_SLOTS(filled);	/* has, or may have, a page in the file */
static struct file *file;		/* made once, and kept */

/* Flags of mappings are a type of their own of late. */
#ifdef mk_vma_flags
#define STASH_FLAGS	mk_vma_flags(VMA_NORESERVE_BIT)
#else
#define STASH_FLAGS	VM_NORESERVE
#endif

/* Make what can be made in time. */
int tmem_stash_init(void)
{
	struct file *made = shmem_file_setup("tmem_stash", MAX_LFS_FILESIZE, STASH_FLAGS);

	if (IS_ERR(made))
		return PTR_ERR(made);
	file = made;
	return 0;
}

/* Only when it was never used. */
void tmem_stash_exit(void)
{
	fput(file);
}

long tmem_stash_count(void)
{
	return tmem_slots_count(&wanted);
}

bool tmem_stash_has(tmem_slot_t slot)
{
	/* Mostly the stash is empty, and every load and invalidation asks. */
	return unlikely(tmem_slots_count(&wanted)) && tmem_slots_has(&wanted, slot);
}

bool tmem_stash_next(tmem_slot_t *slot, tmem_slot_t last)
{
	return tmem_slots_count(&wanted) && tmem_slots_next(&wanted, slot, last);
}

/* Return: whether the page was wanted until now. Does not sleep. */
bool tmem_stash_forget(tmem_slot_t slot)
{
	return unlikely(tmem_slots_count(&wanted)) && tmem_slots_remove(&wanted, slot);
}

/*
 * The page of the file for a slot, locked, made if need be. An allocation that fails is no
 * disaster here, so it ends no process and says nothing.
 */
static struct page *file_page(tmem_slot_t slot)
{
	for (;;) {
		struct page *page = shmem_read_mapping_page_gfp(file->f_mapping, slot,
								GFP_HIGHUSER_MOVABLE |
								__GFP_RETRY_MAYFAIL |
								__GFP_NOWARN);

		if (IS_ERR(page))
			return page;
		lock_page(page);
		/* It may have been swapped out before it was locked. */
		if (likely(compound_head(page)->mapping == file->f_mapping))
			return page;
		unlock_page(page);
		put_page(page);
	}
}

static void put_file_page(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/**
 * tmem_stash_fill() - Take a page in.
 * @slot: which one
 * @fill: called with a page to write to; its error is returned
 * @key: for @fill
 *
 * Return: 0, -ENOMEM or -ENOSPC when there is no room in memory and swap, or the error of @fill.
 */
int tmem_stash_fill(tmem_slot_t slot, int (*fill)(const struct tmem_key *key, struct page *page),
		    const struct tmem_key *key)
{
	struct page *page;
	int rc;

	rc = tmem_slots_reserve(&filled, slot, GFP_KERNEL | __GFP_NOWARN);
	if (!rc)
		rc = tmem_slots_reserve(&wanted, slot, GFP_KERNEL | __GFP_NOWARN);
	if (rc)
		return rc;
	tmem_slots_add(&filled, slot);
	page = file_page(slot);
	if (IS_ERR(page))
		return PTR_ERR(page);
	rc = fill(key, page);
	set_page_dirty(page);
	put_file_page(page);
	if (!rc)
		tmem_slots_add(&wanted, slot);
	return rc;
}

/**
 * tmem_stash_read() - Copy a page out.
 * @slot: which one
 * @to: where to
 *
 * Return: 0, -ENOENT when the stash does not have it (any more), or why it could not be read back.
 */
int tmem_stash_read(tmem_slot_t slot, struct page *to)
{
	struct page *page = file_page(slot);

	if (IS_ERR(page))
		return PTR_ERR(page);
	copy_highpage(to, page);
	put_file_page(page);
	/*
	 * Who moves a page out of the stash forgets it before the file loses it. So a page that
	 * is wanted still was the right one; any other may be one that was made just now.
	 */
	smp_rmb();
	if (likely(tmem_slots_has(&wanted, slot)))
		return 0;
	tmem_slots_add(&filled, slot);
	return -ENOENT;
}

/* Hand a page of the stash to @use, which does not sleep. Return: its result, or an error. */
int tmem_stash_use(tmem_slot_t slot, int (*use)(const struct tmem_key *key, struct page *page),
		   const struct tmem_key *key)
{
	struct page *page = file_page(slot);
	int rc;

	if (IS_ERR(page))
		return PTR_ERR(page);
	rc = use(key, page);
	put_file_page(page);
	return rc;
}

/**
 * tmem_stash_is_in() - Whether a pool has what the stash has, by the first page of it.
 * @pool: a number that a pool of this guest had
 * @name: fills in the key of a slot
 *
 * A number says little: a guest that hibernates goes on in another domain, where the kernel that has
 * read its image had pools of its own.
 *
 * Return: 1 or 0; an error: to be asked again, when Xen is not frozen and there is memory.
 */
int tmem_stash_is_in(s32 pool, void (*name)(struct tmem_key *key, tmem_slot_t slot))
{
	struct page *ours = alloc_page(GFP_KERNEL), *there = alloc_page(GFP_KERNEL);
	enum tmem_outcome outcome;
	struct tmem_key key;
	tmem_slot_t slot = 0;
	int rc = -ENOENT;

	/* One that is wanted no more by now says nothing. */
	while (ours && there && rc == -ENOENT && tmem_stash_next(&slot, TMEM_SLOT_LAST))
		rc = tmem_stash_read(slot++, ours);
	if (!ours || !there) {
		rc = -ENOMEM;
	} else if (!rc) {
		name(&key, slot - 1);
		key.pool = pool;
		outcome = tmem_try_get(TMEM_PERSISTENT, &key, there);
		if (outcome == TMEM_FROZEN)
			rc = -EBUSY;
		else
			rc = outcome == TMEM_DONE &&
			     !memcmp(page_address(ours), page_address(there), PAGE_SIZE);
	}
	if (ours)
		__free_page(ours);
	if (there)
		__free_page(there);
	return rc == -ENOENT ? 0 : rc;
}

/* Give back the memory of pages that are wanted no more. For one caller at a time; sleeps. */
void tmem_stash_tidy(void)
{
	tmem_slot_t slot = 0;

	while (tmem_slots_count(&filled) && tmem_slots_next(&filled, &slot, TMEM_SLOT_LAST)) {
		if (!tmem_slots_has(&wanted, slot)) {
			loff_t start = (loff_t)slot << PAGE_SHIFT;

			shmem_truncate_range(file_inode(file), start, start + PAGE_SIZE - 1);
			tmem_slots_remove(&filled, slot);
		}
		slot++;
	}
}
