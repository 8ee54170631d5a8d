/* SPDX-License-Identifier: GPL-2.0 */
/* Which file systems are served, and which of them are mounted: a part of pagecache.c. */
#ifndef TMEM_MOUNTED_H
#define TMEM_MOUNTED_H

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/string.h>

#include "tmem.h"

/* File systems, by type: whether they tell that a folio is on disk, and whether they are served. */
static struct {
	const char *name;
	bool tells;
	bool served;
} types[] = {
	{ .name = "ext2", .tells = true },
	{ .name = "ext3", .tells = true },
	{ .name = "ext4", .tells = true },
	{ .name = "xfs" },
	{ .name = "btrfs" },
};

/* Mounted file systems that have been read from; the place is the number of tmem_fs_add(). */
static struct {
	const struct super_block *sb;
	bool tells;
} mounted[TMEM_MAX_POOLS];
static DEFINE_MUTEX(mounted_lock);	/* for changing it */

static int number_of(const struct super_block *sb)
{
	int number;

	for (number = 0; number < TMEM_MAX_POOLS; number++)
		if (READ_ONCE(mounted[number].sb) == sb)
			return number;
	return -1;
}

static bool served(const struct super_block *sb, bool *tells)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].served && !strcmp(types[i].name, sb->s_type->name)) {
			*tells = types[i].tells;
			return true;
		}
	}
	return false;
}

/*
 * The number of a file system that is read from, which is when it gets one. There is no unmounting
 * meanwhile: somebody has the file.
 */
static int number_for_reading(struct super_block *sb)
{
	int number = number_of(sb);
	bool tells;

	if (likely(number >= 0) || !served(sb, &tells))
		return number;
	mutex_lock(&mounted_lock);
	number = number_of(sb);
	if (number < 0 && number_of(NULL) >= 0) {
		number = tmem_fs_add(NULL);
		if (number >= 0) {
			mounted[number].tells = tells;
			smp_store_release(&mounted[number].sb, sb);
		}
	}
	mutex_unlock(&mounted_lock);
	return number;
}

#endif /* TMEM_MOUNTED_H */
