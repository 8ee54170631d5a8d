/* SPDX-License-Identifier: GPL-2.0 */
/* Between the parts that stand for cleancache's hooks: pagecache.c, changes.c, mounted.c. */
#ifndef TMEM_PAGECACHE_H
#define TMEM_PAGECACHE_H

#include <linux/fs.h>

#include "tmem.h"

/*
 * A file is named by its inode in memory: that is unique also where inode numbers are not (btrfs),
 * and whatever Xen has of a file is flushed when its inode goes, which truncates the page cache.
 */
static inline struct tmem_object_id tmem_object_of(const struct inode *inode)
{
	return (struct tmem_object_id) {
		.word = { inode->i_ino, (unsigned long)inode },
	};
}

/* mounted.c. The number of a file system, by which tmem_fs_put() and others know it, or -1. */
int tmem_mounted(const struct super_block *sb);
int tmem_mounted_for_reading(struct super_block *sb);

/* changes.c */
bool tmem_file_changes(const struct address_space *mapping);

#endif /* TMEM_PAGECACHE_H */
