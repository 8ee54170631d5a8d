// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache, for kernels that have no cleancache: what its hooks did is done around functions
 * of the kernel that hook.c replaces.
 *
 * - __filemap_remove_folio(): a folio leaves the page cache, with the cache's tree locked. From
 *   reclaim (__remove_mapping()) a clean one is put. Everybody else has a reason to drop it, and
 *   what Xen may have of it is flushed.
 * - read_pages(), filemap_read_folio(): a folio is to be read; Xen is asked before the disk is.
 *
 * What becomes of files beside the page cache is in changes.c, of file systems in mounted.c.
 *
 * cleancache kept only what its file system said is all on disk (mappedtodisk), and so nothing that
 * was just written. xfs and btrfs never say so, and on ext4 a large folio that is split forgets it,
 * so here it is enough that a folio is clean. But nothing is put while somebody has locked the file:
 * btrfs makes a hole after it has looked that nothing is cached of it, and a reader may have come in
 * between, whose page of before reclaim would bring to Xen.
 */
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>

#include "hook.h"
#include "pagecache.h"
#include "tmem.h"

/*
 * Larger folios are not put, and still larger ones not flushed by the page: the lock of the page
 * cache's tree is held, with interrupts off. To flush a page that Xen does not have is a fraction
 * of a microsecond.
 */
#define MOST_PUTS	64
#define MOST_FLUSHES	512

DEFINE_PER_CPU(struct tmem_folio_counts, tmem_folio_counts);

/* Whether pages of a file may be kept: as they are in memory, they are on disk. */
static bool keepable(const struct inode *inode)
{
	return S_ISREG(inode->i_mode) && !IS_ENCRYPTED(inode) && !IS_VERITY(inode) &&
	       !IS_SWAPFILE(inode) && !IS_DAX(inode);
}

/* --- folios leave the page cache ------------------------------------------------------------------ */

static void (*original_remove)(struct folio *folio, void *shadow);

/* Readers of some file systems lock a file as well, but share the lock. */
static bool locked_to_change(struct inode *inode)
{
#ifdef RWSEM_WRITER_LOCKED
	return atomic_long_read(&inode->i_rwsem.count) & RWSEM_WRITER_LOCKED;
#else
	return inode_is_locked(inode);
#endif
}

/*
 * Whether a clean folio that reclaim drops is what is on the disk, and stays so for as long as
 * nobody tells us otherwise. The count of changes first: while that is raised, direct writes come to
 * be counted.
 */
static bool worth_keeping(const struct folio *folio)
{
	const struct address_space *mapping = folio->mapping;
	struct inode *inode = mapping->host;

	if (tmem_file_changes(mapping))
		return false;
	smp_rmb();	/* see above; pairs with the barrier of end_change() */
	return keepable(inode) && folio_test_uptodate(folio) && !folio_test_dirty(folio) &&
	       folio_nr_pages(folio) <= MOST_PUTS && !locked_to_change(inode) &&
	       !atomic_read(&inode->i_dio_count) &&
	       !READ_ONCE(mapping->wb_err);	/* what could not be written is in memory alone */
}

/* With the lock of the page cache's tree. */
static void keep_or_flush(const struct folio *folio, bool keep)
{
	struct address_space *mapping = folio->mapping;
	struct inode *inode = mapping->host;
	long nr = folio_nr_pages(folio), i, done = 0;
	struct tmem_object_id object;
	int number;

	if (!inode)
		return;
	rcu_read_lock();
	number = tmem_mounted(inode->i_sb);
	if (number < 0)
		goto unlock;
	object = tmem_object_of(inode);
	keep = keep && worth_keeping(folio);
	if (!keep && nr > MOST_FLUSHES) {
		/* All that Xen has of the file, in one operation. */
		tmem_fs_flush_file(number, &object);
		goto unlock;
	}
	for (i = 0; i < nr; i++) {
		if (!keep)
			tmem_fs_flush(number, &object, folio->index + i);
		else if (tmem_fs_put(number, &object, folio->index + i,
				     folio_page((struct folio *)folio, i)))
			done++;
	}
	if (nr > 1 && done == nr)
		this_cpu_inc(tmem_folio_counts.puts);
unlock:
	rcu_read_unlock();
}

static void remove_reclaimed(struct folio *folio, void *shadow)
{
	keep_or_flush(folio, true);
	original_remove(folio, shadow);
}

static void remove_other(struct folio *folio, void *shadow)
{
	keep_or_flush(folio, false);
	original_remove(folio, shadow);
}

/* --- folios are read ------------------------------------------------------------------------------ */

/*
 * Fill a locked folio, all of it or nothing: what is not in Xen is read from the disk, and with it
 * the rest. Return: whether it is filled.
 */
static bool get_folio(int number, struct inode *inode, struct folio *folio)
{
	const struct tmem_object_id object = tmem_object_of(inode);
	long nr = folio_nr_pages(folio), i;

	if (folio_test_uptodate(folio) || folio_test_dirty(folio) || folio_test_private(folio))
		return false;
	for (i = 0; i < nr; i++)
		if (!tmem_fs_get(number, &object, folio->index + i, folio_page(folio, i)))
			break;
	if (i < nr) {
		if (i)
			this_cpu_inc(tmem_folio_counts.partial);
		return false;
	}
	if (nr > 1)
		this_cpu_inc(tmem_folio_counts.hits);
	folio_mark_uptodate(folio);
	return true;
}

/* Of a file that may be read from Xen, or -1. Xen may have what could not be written. */
static int number_for_reading(const struct inode *inode)
{
	if (!inode || !keepable(inode) || READ_ONCE(inode->i_mapping->wb_err))
		return -1;
	return tmem_mounted_for_reading(inode->i_sb);
}

static void (*original_read_pages)(struct readahead_control *rac);

/* Read the next @nr pages from the disk. */
static void read_from_disk(struct readahead_control *rac, unsigned int nr)
{
	unsigned int rest = rac->_nr_pages - nr;
	pgoff_t next = rac->_index + nr;
	bool workingset = rac->_workingset;

	if (!nr)
		return;
	rac->_nr_pages = nr;
	original_read_pages(rac);
	rac->_index = next;
	rac->_nr_pages = rest;
	rac->_workingset = workingset;	/* the next run is waited for as this one was (PSI) */
}

/*
 * The folios are in the page cache, locked, and nobody else touches them. Runs of those that Xen
 * does not have are handed on.
 */
static void read_pages_first_from_xen(struct readahead_control *rac)
{
	struct inode *inode = rac->mapping->host;
	unsigned int misses = 0;	/* pages before the one that is looked at */
	struct folio *folio;
	unsigned int nr;
	int number;

	number = number_for_reading(inode);
	if (number < 0) {
		original_read_pages(rac);
		return;
	}
	while (readahead_count(rac) > misses) {
		folio = xa_load(&rac->mapping->i_pages, readahead_index(rac) + misses);
		nr = folio_nr_pages(folio);
		if (!get_folio(number, inode, folio)) {
			misses += nr;
			continue;
		}
		read_from_disk(rac, misses);
		misses = 0;
		rac->_index += nr;
		rac->_nr_pages -= nr;
		folio_put(folio);	/* readahead's own reference */
		folio_unlock(folio);
	}
	if (misses)
		original_read_pages(rac);
	rac->_workingset = false;
}

static int (*original_read_folio)(struct file *file, filler_t filler, struct folio *folio);

static int read_folio_first_from_xen(struct file *file, filler_t filler, struct folio *folio)
{
	struct inode *inode = folio->mapping->host;
	int number;

	number = number_for_reading(inode);
	if (number < 0 || !get_folio(number, inode, folio))
		return original_read_folio(file, filler, folio);
	folio_unlock(folio);
	return 0;
}

/* --- */

static struct tmem_hook hooks[] = {
	{
		.name = "__filemap_remove_folio",
		.prototypes = { "void (struct folio *, void *)" },
		.original = (void **)&original_remove,
		.replacement = remove_other,
		.within = "__remove_mapping",
		.replacement_within = remove_reclaimed,
	},
	{
		.name = "read_pages",
		.prototypes = { "void (struct readahead_control *)" },
		.original = (void **)&original_read_pages,
		.replacement = read_pages_first_from_xen,
	},
	{
		.name = "filemap_read_folio",
		.prototypes = { "int (struct file *, filler_t *, struct folio *)" },
		.original = (void **)&original_read_folio,
		.replacement = read_folio_first_from_xen,
	},
};

const struct tmem_hook_set tmem_pagecache_hooks = { hooks, ARRAY_SIZE(hooks) };

