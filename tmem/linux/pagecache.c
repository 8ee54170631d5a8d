// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache, for kernels that have no cleancache: what its hooks did is done around functions
 * of the kernel that hook.c replaces.
 *
 * - __filemap_remove_folio(): a folio leaves the page cache, with the cache's tree locked. From
 *   reclaim (__remove_mapping()) a clean one is put. Everybody else has a reason to drop it, and
 *   what Xen may have of it is flushed.
 * - read_pages(), filemap_read_folio(): a folio is to be read; Xen is asked before the disk is.
 * - truncate_inode_pages_range(), filemap_invalidate_inode(), invalidate_inode_pages2_range(),
 *   __iomap_dio_rw() when it writes: the file changes beside the page cache. They may find nothing
 *   cached and do nothing, so the flush comes before; and until they are done nothing of the file is
 *   put, or else reclaim could bring to Xen what they are about to drop (see begin_change()). A
 *   direct write may go on after that; then the inode says so (i_dio_count), and nothing is put.
 * - filemap_release_folio(): a folio forgets which of its blocks are newer than the disk, and than
 *   Xen; what is read into it from then on has to come from the disk.
 * - generic_shutdown_super(): a file system goes, and its pool with it.
 *
 * A file is named by its inode in memory: that is unique also where inode numbers are not (btrfs),
 * and whatever Xen has of a file is flushed when its inode goes, which truncates the page cache.
 *
 * A file system that tells when a folio is all on disk (mappedtodisk) keeps the rules of
 * cleancache: other folios, of files with holes or just written, are not put. Those that don't have
 * to be asked for by name, see `filesystems'. Of these nothing is put while somebody has locked the
 * file: btrfs makes a hole after it has looked that nothing is cached of it, and a reader may have
 * come in between, whose page of before reclaim would bring to Xen.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/iomap.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <linux/xarray.h>

#include "hook.h"
#include "mounted.h"
#include "tmem.h"

static char *filesystems = "ext2,ext3,ext4";
module_param(filesystems, charp, 0444);
MODULE_PARM_DESC(filesystems, "Whose clean pages are kept: of ext2, ext3, ext4, xfs, btrfs (default: the first three)");

/* Larger folios are not put: the lock of the page cache's tree is held, with interrupts off. */
#define MOST_PUTS	64

/* Beyond so many pages a change flushes the whole file: one call instead of many. */
#define MOST_FLUSHES	64

/* How many changes are under way, of files of a hash. */
#define CHANGES_BITS	6
static atomic_t changes[1 << CHANGES_BITS];

DEFINE_PER_CPU(struct tmem_folio_counts, tmem_folio_counts);

static struct tmem_object_id object_of(const struct inode *inode)
{
	return (struct tmem_object_id) {
		.word = { inode->i_ino, (unsigned long)inode },
	};
}

/* Whether pages of a file may be kept: as they are in memory, they are on disk. */
static bool keepable(const struct inode *inode)
{
	return S_ISREG(inode->i_mode) && !IS_ENCRYPTED(inode) && !IS_VERITY(inode) &&
	       !IS_SWAPFILE(inode) && !IS_DAX(inode);
}

/* --- changes of files beside the page cache ----------------------------------------------------- */

static atomic_t *changes_of(const struct address_space *mapping)
{
	return &changes[hash_ptr(mapping, CHANGES_BITS)];
}

static void flush_range(int number, const struct inode *inode, pgoff_t first, pgoff_t last)
{
	const struct tmem_object_id object = object_of(inode);

	if (last - first >= MOST_FLUSHES) {
		tmem_fs_flush_file(number, &object);
		return;
	}
	for (; first <= last; first++)
		tmem_fs_flush(number, &object, first);
}

/*
 * From here to end_change() nothing of the file is put, and Xen has nothing of the range. Puts are
 * made under the lock of the page cache's tree, so whoever has had it after us knows.
 */
static void begin_change(struct address_space *mapping, pgoff_t first, pgoff_t last)
{
	struct inode *inode = mapping->host;
	unsigned long flags;
	int number;

	atomic_inc(changes_of(mapping));
	smp_mb__after_atomic();
	if (!inode)
		return;
	rcu_read_lock();
	number = number_of(inode->i_sb);
	if (number >= 0) {
		xa_lock_irqsave(&mapping->i_pages, flags);
		xa_unlock_irqrestore(&mapping->i_pages, flags);
		flush_range(number, inode, first, last);
	}
	rcu_read_unlock();
}

static void end_change(struct address_space *mapping)
{
	smp_mb__before_atomic();
	atomic_dec(changes_of(mapping));
}

static void (*original_truncate)(struct address_space *mapping, loff_t start, loff_t end);

static void truncate(struct address_space *mapping, loff_t start, loff_t end)
{
	begin_change(mapping, (u64)start >> PAGE_SHIFT, (u64)end >> PAGE_SHIFT);
	original_truncate(mapping, start, end);
	end_change(mapping);
}

static int (*original_invalidate)(struct inode *inode, bool flush, loff_t start, loff_t end);

static int invalidate(struct inode *inode, bool flush, loff_t start, loff_t end)
{
	struct address_space *mapping = inode->i_mapping;
	int rc;

	begin_change(mapping, (u64)start >> PAGE_SHIFT, (u64)end >> PAGE_SHIFT);
	rc = original_invalidate(inode, flush, start, end);
	end_change(mapping);
	return rc;
}

static int (*original_invalidate_range)(struct address_space *mapping, pgoff_t first, pgoff_t last);

static int invalidate_range(struct address_space *mapping, pgoff_t first, pgoff_t last)
{
	int rc;

	begin_change(mapping, first, last);
	rc = original_invalidate_range(mapping, first, last);
	end_change(mapping);
	return rc;
}

static struct iomap_dio *(*original_direct)(struct kiocb *iocb, struct iov_iter *iter,
					    const struct iomap_ops *ops,
					    const struct iomap_dio_ops *dops, unsigned int flags,
					    void *private, size_t done);

/*
 * The kernel invalidates what is cached of a direct write when that is done, but not when nothing
 * was cached, nor when a part of it failed. When it is still under way on return, the inode's count
 * of direct operations was raised before.
 */
static struct iomap_dio *direct(struct kiocb *iocb, struct iov_iter *iter,
				const struct iomap_ops *ops, const struct iomap_dio_ops *dops,
				unsigned int flags, void *private, size_t done)
{
	struct address_space *mapping = iocb->ki_filp->f_mapping;
	size_t count = iov_iter_count(iter);
	struct iomap_dio *dio;

	if (iov_iter_rw(iter) != WRITE || !count)
		return original_direct(iocb, iter, ops, dops, flags, private, done);
	begin_change(mapping, iocb->ki_pos >> PAGE_SHIFT, (iocb->ki_pos + count - 1) >> PAGE_SHIFT);
	dio = original_direct(iocb, iter, ops, dops, flags, private, done);
	end_change(mapping);
	return dio;
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
static bool worth_keeping(const struct folio *folio, int number)
{
	const struct address_space *mapping = folio->mapping;
	struct inode *inode = mapping->host;

	if (atomic_read(changes_of(mapping)))
		return false;
	smp_rmb();	/* see above; pairs with the barrier of end_change() */
	return keepable(inode) && folio_test_uptodate(folio) && !folio_test_dirty(folio) &&
	       folio_nr_pages(folio) <= MOST_PUTS &&
	       (mounted[number].tells ? folio_test_mappedtodisk(folio) : !locked_to_change(inode)) &&
	       !atomic_read(&inode->i_dio_count) &&
	       !READ_ONCE(mapping->wb_err);	/* what could not be written is in memory alone */
}

/* With the lock of the page cache's tree. */
static void keep_or_flush(const struct folio *folio, bool keep)
{
	struct address_space *mapping = folio->mapping;
	struct inode *inode = mapping->host;
	long nr = folio_nr_pages(folio), i;
	struct tmem_object_id object;
	int number;

	if (!inode)
		return;
	rcu_read_lock();
	number = number_of(inode->i_sb);
	if (number < 0)
		goto unlock;
	object = object_of(inode);
	keep = keep && worth_keeping(folio, number);
	for (i = 0; i < nr; i++) {
		if (keep)
			tmem_fs_put(number, &object, folio->index + i,
				    folio_page((struct folio *)folio, i));
		else
			tmem_fs_flush(number, &object, folio->index + i);
	}
	if (keep && nr > 1)
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

static bool (*original_release)(struct folio *folio, gfp_t gfp);

/*
 * A locked folio loses what its file system knows of its parts. One that was not read whole may have
 * parts that were written, which are on the disk by now, and what Xen has is of before.
 */
static bool release(struct folio *folio, gfp_t gfp)
{
	struct inode *inode = folio->mapping && !folio_test_anon(folio) ? folio->mapping->host : NULL;
	int number;

	if (inode && !folio_test_uptodate(folio)) {
		rcu_read_lock();
		number = number_of(inode->i_sb);
		if (number >= 0)
			flush_range(number, inode, folio->index,
				    folio->index + folio_nr_pages(folio) - 1);
		rcu_read_unlock();
	}
	return original_release(folio, gfp);
}

/* --- folios are read ------------------------------------------------------------------------------ */

/*
 * Fill a locked folio, all of it or nothing: what is not in Xen is read from the disk, and with it
 * the rest. Return: whether it is filled.
 */
static bool get_folio(int number, struct inode *inode, struct folio *folio)
{
	const struct tmem_object_id object = object_of(inode);
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
	if (mounted[number].tells)
		folio_set_mappedtodisk(folio);
	folio_mark_uptodate(folio);
	return true;
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

	number = inode && keepable(inode) ? number_for_reading(inode->i_sb) : -1;
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

	number = inode && keepable(inode) ? number_for_reading(inode->i_sb) : -1;
	if (number < 0 || !get_folio(number, inode, folio))
		return original_read_folio(file, filler, folio);
	folio_unlock(folio);
	return 0;
}

/* --- file systems go ------------------------------------------------------------------------------ */

static void (*original_shutdown)(struct super_block *sb);

static void forget(const struct super_block *sb)
{
	int number;

	mutex_lock(&mounted_lock);
	number = number_of(sb);
	if (number >= 0) {
		WRITE_ONCE(mounted[number].sb, NULL);
		synchronize_rcu();	/* whoever had the number is done with it */
		tmem_fs_remove(number);
	}
	mutex_unlock(&mounted_lock);
}

static void shutdown(struct super_block *sb)
{
	forget(sb);
	original_shutdown(sb);
	/* A thread of the file system's own may have read a file meanwhile. */
	forget(sb);
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
	{
		.name = "truncate_inode_pages_range",
		.prototypes = {
			"void (struct address_space *, loff_t, loff_t)",
			"void (struct address_space *, loff_t, uoff_t)",
		},
		.original = (void **)&original_truncate,
		.replacement = truncate,
	},
	{
		.name = "filemap_invalidate_inode",
		.prototypes = { "int (struct inode *, bool, loff_t, loff_t)" },
		.original = (void **)&original_invalidate,
		.replacement = invalidate,
	},
	{
		.name = "invalidate_inode_pages2_range",
		.prototypes = { "int (struct address_space *, long unsigned int, long unsigned int)" },
		.original = (void **)&original_invalidate_range,
		.replacement = invalidate_range,
	},
	{
		.name = "__iomap_dio_rw",
		.prototypes = {
			"struct iomap_dio * (struct kiocb *, struct iov_iter *, const struct iomap_ops *, "
			"const struct iomap_dio_ops *, unsigned int, void *, size_t)",
		},
		.original = (void **)&original_direct,
		.replacement = direct,
	},
	{
		.name = "filemap_release_folio",
		.prototypes = { "bool (struct folio *, gfp_t)" },
		.original = (void **)&original_release,
		.replacement = release,
	},
	{
		.name = "generic_shutdown_super",
		.prototypes = { "void (struct super_block *)" },
		.original = (void **)&original_shutdown,
		.replacement = shutdown,
	},
};

const struct tmem_hook_set tmem_pagecache_hooks = { hooks, ARRAY_SIZE(hooks) };

/* Return: 0; -EINVAL: `filesystems' names one that is not known here. */
int tmem_pagecache_prepare(void)
{
	char *copy = kstrdup(filesystems, GFP_KERNEL), *rest = copy, *name;
	unsigned int i;
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	while ((name = strsep(&rest, ","))) {
		for (i = 0; i < ARRAY_SIZE(types) && strcmp(types[i].name, name); i++)
			;
		if (i < ARRAY_SIZE(types)) {
			types[i].served = true;
		} else {
			pr_err("filesystems=%s: nothing is known of \"%s\"\n", filesystems, name);
			rc = -EINVAL;
		}
	}
	kfree(copy);
	return rc;
}
