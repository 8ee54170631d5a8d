// SPDX-License-Identifier: GPL-2.0
/*
 * The swap code, for kernels that have no frontswap: its place is where Linux calls zswap, which it
 * does whether zswap is on or not. Xen is asked first, then zswap, then the disk.
 *
 * persistent.c knows which slots are kept. What it has of a slot is flushed before the slot is stored
 * anew, wherever that goes; what zswap has is dropped when Xen takes the page.
 *
 * A large folio is as many puts, all of them or none, where the kernel tells zswap of all slots
 * that become free. Large folios are not swapped in while zswap may have a part of one, and so it is
 * said that it may.
 */
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/zswap.h>

#include "hook.h"
#include "tmem.h"

/* Up to 6.12 zswap keeps no large folios, and is not told of their slots. */
#define LARGE_FOLIOS	__same_type(zswap_load, int (struct folio *))

static bool (*original_store)(struct folio *folio);
static void (*original_invalidate)(swp_entry_t entry);

static bool store(struct folio *folio)
{
	unsigned int type = swp_type(folio->swap);
	pgoff_t offset = swp_offset(folio->swap);
	long nr = folio_nr_pages(folio), i;

	for (i = 0; i < nr; i++)
		tmem_swap_flush(type, offset + i);
	if (nr > 1 && !LARGE_FOLIOS)
		return original_store(folio);
	for (i = 0; i < nr; i++)
		if (tmem_swap_store(type, offset + i, folio_page(folio, i)))
			break;
	if (i < nr) {
		if (i)
			this_cpu_inc(tmem_folio_counts.swap_undone);
		while (i--)
			tmem_swap_flush(type, offset + i);
		return original_store(folio);
	}
	if (nr > 1)
		this_cpu_inc(tmem_folio_counts.swap_puts);
	for (i = 0; i < nr; i++)
		original_invalidate(swp_entry(type, offset + i));
	return true;
}

/* Fill a locked folio. Return: whether it was kept, all of it. */
static bool load(struct folio *folio)
{
	unsigned int type = swp_type(folio->swap);
	pgoff_t offset = swp_offset(folio->swap);
	long nr = folio_nr_pages(folio), had = 0, i;

	for (i = 0; i < nr; i++)
		had += tmem_swap_has(type, offset + i);
	if (!had)
		return false;
	if (had < nr) {
		/* See never_enabled(): what the disk has of these slots may be anybody's. */
		pr_crit("swap device %u, page %lu: Xen has %ld of a folio's %ld pages\n", type, offset, had, nr);
		BUG();
	}
	for (i = 0; i < nr; i++)
		if (tmem_swap_load(type, offset + i, folio_page(folio, i)))
			return false;
	if (nr > 1)
		this_cpu_inc(tmem_folio_counts.swap_hits);
	folio_mark_uptodate(folio);
	return true;
}

static void *original_load;	/* of the one type or the other */

/* Says whether the folio was read, and leaves it locked. */
static bool load_and_say(struct folio *folio)
{
	return load(folio) || ((bool (*)(struct folio *))original_load)(folio);
}

/* 0, and the folio is unlocked, or an error. */
static int load_and_unlock(struct folio *folio)
{
	if (!load(folio))
		return ((int (*)(struct folio *))original_load)(folio);
	folio_unlock(folio);
	return 0;
}

static void invalidate(swp_entry_t entry)
{
	tmem_swap_flush(swp_type(entry), swp_offset(entry));
	original_invalidate(entry);
}

static void (*original_swapoff)(int type);

static void swapoff(int type)
{
	tmem_swap_flush_device(type);
	original_swapoff(type);
}

static bool (*original_never_enabled)(void);

/* What keeps large folios from being swapped in; see above. */
static bool never_enabled(void)
{
	return false;
}

static struct tmem_hook hooks[] = {
	{
		.name = "zswap_store",
		.prototypes = { "bool (struct folio *)" },
		.original = (void **)&original_store,
		.replacement = store,
	},
	{
		.name = "zswap_load",
		.prototypes = { LARGE_FOLIOS ? "int (struct folio *)" : "bool (struct folio *)" },
		.original = &original_load,
		.replacement = LARGE_FOLIOS ? (void *)load_and_unlock : (void *)load_and_say,
	},
	{
		.name = "zswap_invalidate",
		.prototypes = { "void (swp_entry_t)" },
		.original = (void **)&original_invalidate,
		.replacement = invalidate,
	},
	{
		.name = "zswap_swapoff",
		.prototypes = { "void (int)" },
		.original = (void **)&original_swapoff,
		.replacement = swapoff,
	},
	{
		.name = "zswap_never_enabled",
		.prototypes = { "bool (void)", "bool ()" },
		.original = (void **)&original_never_enabled,
		.replacement = never_enabled,
	},
};

const struct tmem_hook_set tmem_swap_hooks = { hooks, ARRAY_SIZE(hooks) };
