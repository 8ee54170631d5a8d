// SPDX-License-Identifier: GPL-2.0
/*
 * The hooks of kernels that have frontswap: Linux up to 6.5. Its bitmap says which pages are kept,
 * and it flushes a page before it stores it anew.
 *
 * Loads leave the page in Xen (the ABI's persistent get does), and Linux is told nothing of
 * exclusive gets: a page that is evicted again unchanged costs nothing, and the slot is flushed
 * when swap frees it.
 */
#include <linux/frontswap.h>
#include <linux/swap.h>
#include <linux/version.h>

#include "tmem.h"

static void fs_init(unsigned int type)
{
	tmem_swap_wanted();
}

static struct frontswap_ops fs_ops = {
	.init = fs_init,
	.store = tmem_swap_store,
	.load = tmem_swap_load,
	.invalidate_page = tmem_swap_flush,
	.invalidate_area = tmem_swap_flush_device,
};

/*
 * Linux 5.17 and later: one back end only, which is not told of the swap devices that are on
 * already. Before, every back end was told, and none was refused.
 */
int tmem_frontswap_register(void)
{
	tmem_swap_begin();
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 17, 0)
	frontswap_tmem_exclusive_gets(false);
	frontswap_register_ops(&fs_ops);
	return 0;
#else
	int rc = frontswap_register_ops(&fs_ops);

	if (!rc)
		tmem_swap_wanted();
	return rc;
#endif
}
