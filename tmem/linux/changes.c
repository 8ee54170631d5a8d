// SPDX-License-Identifier: GPL-2.0
/*
 * Files change beside the page cache, for kernels that have no cleancache: what Xen has of them is
 * flushed around functions of the kernel that hook.c replaces.
 *
 * - truncate_inode_pages_range(), filemap_invalidate_inode(), invalidate_inode_pages2_range(),
 *   __iomap_dio_rw() when it writes. They may find nothing cached and do nothing, so the flush comes
 *   before; and until they are done nothing of the file is put, or else reclaim could bring to Xen
 *   what they are about to drop (see begin_change()). A direct write may go on after that; then the
 *   inode says so (i_dio_count), and nothing is put.
 * - generic_remap_file_range_prep(): blocks of another file come in the place of some.
 * - filemap_release_folio(): a folio forgets which of its blocks are newer than the disk, and than
 *   Xen; what is read into it from then on has to come from the disk.
 */
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/iomap.h>
#include <linux/kernel.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/uio.h>
#include <linux/xarray.h>

#include "hook.h"
#include "pagecache.h"
#include "tmem.h"

/* Beyond so many pages a change flushes the whole file: one call instead of many. */
#define MOST_FLUSHES	64

/* How many changes are under way, of files of a hash. */
#define CHANGES_BITS	6
static atomic_t changes[1 << CHANGES_BITS];

static atomic_t *changes_of(const struct address_space *mapping)
{
	return &changes[hash_ptr(mapping, CHANGES_BITS)];
}

/* Whether one is under way of a file, or of another of its hash. */
bool tmem_file_changes(const struct address_space *mapping)
{
	return atomic_read(changes_of(mapping));
}

static void flush_range(int number, const struct inode *inode, pgoff_t first, pgoff_t last)
{
	const struct tmem_object_id object = tmem_object_of(inode);

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
	number = tmem_mounted(inode->i_sb);
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

static int (*original_remap)(struct file *from, loff_t start, struct file *to, loff_t at,
			     loff_t *length, unsigned int flags);

/*
 * Blocks are about to be shared; both files are locked until they are. btrfs drops what is cached of
 * them afterwards, and since Linux 7 only when all went well, but of a clone that ends in the middle
 * the first blocks are new.
 */
static int remap(struct file *from, loff_t start, struct file *to, loff_t at, loff_t *length,
		 unsigned int flags)
{
	struct address_space *mapping = to->f_mapping;
	int rc = original_remap(from, start, to, at, length, flags);

	if (rc || *length <= 0 || (flags & REMAP_FILE_DEDUP))
		return rc;
	begin_change(mapping, at >> PAGE_SHIFT, (at + *length - 1) >> PAGE_SHIFT);
	end_change(mapping);
	return rc;
}

static bool (*original_release)(struct folio *folio, gfp_t gfp);

/*
 * A locked folio loses what its file system knows of its parts. One that was not read whole may have
 * parts that were written, which are on the disk by now, and what Xen has is of before. So it is
 * with a whole one that ext4 cannot write: that is said not to be whole after this. Reclaim spares
 * the flush of whole ones: its put follows.
 */
static bool release(struct folio *folio, gfp_t gfp)
{
	struct inode *inode = folio->mapping && !folio_test_anon(folio) ? folio->mapping->host : NULL;
	int number;

	if (inode && (!folio_test_uptodate(folio) || !(current->flags & PF_MEMALLOC))) {
		rcu_read_lock();
		number = tmem_mounted(inode->i_sb);
		if (number >= 0)
			flush_range(number, inode, folio->index,
				    folio->index + folio_nr_pages(folio) - 1);
		rcu_read_unlock();
	}
	return original_release(folio, gfp);
}

static struct tmem_hook hooks[] = {
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
		.name = "generic_remap_file_range_prep",
		.prototypes = {
			"int (struct file *, loff_t, struct file *, loff_t, loff_t *, unsigned int)",
		},
		.original = (void **)&original_remap,
		.replacement = remap,
	},
	{
		.name = "filemap_release_folio",
		.prototypes = { "bool (struct folio *, gfp_t)" },
		.original = (void **)&original_release,
		.replacement = release,
	},
};

const struct tmem_hook_set tmem_changes_hooks = { hooks, ARRAY_SIZE(hooks) };
