// SPDX-License-Identifier: GPL-2.0
/*
 * Which file systems are served, and which of them are mounted, for kernels that have no cleancache.
 *
 * One has a number, and a pool, from when it is first read from until it goes:
 * generic_shutdown_super(), which hook.c replaces.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hook.h"
#include "pagecache.h"
#include "tmem.h"

static char *filesystems = "ext2,ext3,ext4";
module_param(filesystems, charp, 0444);
MODULE_PARM_DESC(filesystems, "Whose clean pages are kept: of ext2, ext3, ext4, xfs, btrfs (default: the first three)");

/* File systems, by type, and whether they are served. */
static struct {
	const char *name;
	bool served;
} types[] = {
	{ .name = "ext2" },
	{ .name = "ext3" },
	{ .name = "ext4" },
	{ .name = "xfs" },
	{ .name = "btrfs" },
};

/* Mounted file systems that have been read from; the place is the number of tmem_fs_add(). */
static const struct super_block *mounted[TMEM_MAX_POOLS];
static DEFINE_MUTEX(mounted_lock);	/* for changing it */

/* The number of a mounted file system, for as long as RCU lets it be, or -1. */
int tmem_mounted(const struct super_block *sb)
{
	int number;

	for (number = 0; number < TMEM_MAX_POOLS; number++)
		if (READ_ONCE(mounted[number]) == sb)
			return number;
	return -1;
}

static bool served(const struct super_block *sb)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].served && !strcmp(types[i].name, sb->s_type->name))
			return true;
	return false;
}

/*
 * The number of a file system that is read from, which is when it gets one. There is no unmounting
 * meanwhile: somebody has the file.
 */
int tmem_mounted_for_reading(struct super_block *sb)
{
	int number = tmem_mounted(sb);

	/* Without a place there is nothing to wait for: the lock may be held for long. */
	if (likely(number >= 0) || !served(sb) || tmem_mounted(NULL) < 0)
		return number;
	mutex_lock(&mounted_lock);
	number = tmem_mounted(sb);
	if (number < 0 && tmem_mounted(NULL) >= 0) {
		number = tmem_fs_add(NULL);
		if (number >= 0)
			smp_store_release(&mounted[number], sb);
	}
	mutex_unlock(&mounted_lock);
	return number;
}

static void (*original_shutdown)(struct super_block *sb);

static void forget(const struct super_block *sb)
{
	int number;

	mutex_lock(&mounted_lock);
	number = tmem_mounted(sb);
	if (number >= 0) {
		WRITE_ONCE(mounted[number], NULL);
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

static struct tmem_hook hooks[] = {
	{
		.name = "generic_shutdown_super",
		.prototypes = { "void (struct super_block *)" },
		.original = (void **)&original_shutdown,
		.replacement = shutdown,
	},
};

const struct tmem_hook_set tmem_mounted_hooks = { hooks, ARRAY_SIZE(hooks) };

/* Return: 0; -EINVAL: `filesystems' names one that is not known here. */
int tmem_mounted_prepare(void)
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
