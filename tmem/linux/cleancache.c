// SPDX-License-Identifier: GPL-2.0
/*
 * The hooks of kernels that have cleancache: Linux up to 5.16.
 */
#include <linux/cleancache.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/uuid.h>

#include "tmem.h"

static_assert(sizeof(struct cleancache_filekey) == sizeof(struct tmem_object_id));

static struct tmem_object_id object_of(const struct cleancache_filekey *file)
{
	struct tmem_object_id object;

	memcpy(&object, file, sizeof(object));
	return object;
}

static void cc_put_page(int number, struct cleancache_filekey file, pgoff_t index,
			struct page *page)
{
	const struct tmem_object_id object = object_of(&file);

	tmem_fs_put(number, &object, index, page);
}

static int cc_get_page(int number, struct cleancache_filekey file, pgoff_t index,
		       struct page *page)
{
	const struct tmem_object_id object = object_of(&file);

	return tmem_fs_get(number, &object, index, page) ? 0 : -1;
}

static void cc_invalidate_page(int number, struct cleancache_filekey file, pgoff_t index)
{
	const struct tmem_object_id object = object_of(&file);

	tmem_fs_flush(number, &object, index);
}

static void cc_invalidate_inode(int number, struct cleancache_filekey file)
{
	const struct tmem_object_id object = object_of(&file);

	tmem_fs_flush_file(number, &object);
}

static int cc_init_fs(size_t page_size)
{
	return page_size == PAGE_SIZE ? tmem_fs_add(NULL) : -EINVAL;
}

static int cc_init_shared_fs(uuid_t *uuid, size_t page_size)
{
	u64 words[2];

	if (page_size != PAGE_SIZE)
		return -EINVAL;
	static_assert(sizeof(words) == sizeof(*uuid));
	memcpy(words, uuid, sizeof(words));
	return tmem_fs_add(words);
}

static const struct cleancache_ops cc_ops = {
	.init_fs = cc_init_fs,
	.init_shared_fs = cc_init_shared_fs,
	.get_page = cc_get_page,
	.put_page = cc_put_page,
	.invalidate_page = cc_invalidate_page,
	.invalidate_inode = cc_invalidate_inode,
	.invalidate_fs = tmem_fs_remove,
};

/*
 * Serves the file systems that are mounted already, too. -EBUSY if cleancache has another back
 * end.
 */
int tmem_cleancache_register(void)
{
	return cleancache_register_ops(&cc_ops);
}
