// SPDX-License-Identifier: GPL-2.0
/*
 * mode=fuzz: pages that every thread has for itself, in a pool that nothing hostile names: they have
 * to be there, whatever the others do.
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "fuzz.h"

#define LEDGER_MARK	0x1ed6e21ed6e2ull

static u64 own_seed(const struct fuzzer *f, unsigned int index)
{
	return (u64)f->number << 40 | (u64)index << 24 | f->version[index];
}

static struct handle own_handle(const struct fuzzer *f, unsigned int index)
{
	return (struct handle){
		.pool = fuzz.ledger, .index = index,
		.object.word = { f->number, 0, LEDGER_MARK },
	};
}

/* Of all sorts, for every way in which Xen stores pages. */
static void fill_own(const struct fuzzer *f, unsigned int index, struct page *page)
{
	u64 seed = own_seed(f, index);

	fill_content(page, seed % NR_CONTENTS, seed);
}

/* Uses @other for the comparison. */
static bool is_own(const struct fuzzer *f, unsigned int index, struct page *page,
		   struct page *other)
{
	fill_own(f, index, other);
	return !memcmp(page_address(page), page_address(other), PAGE_SIZE);
}

void own_page(struct fuzzer *f)
{
	unsigned int index = below(f, OWN_INDEXES);
	struct page *page = f->page[1];
	struct handle handle = own_handle(f, index);
	int rc;

	f->calls++;
	switch (below(f, 3)) {
	case 0:
		f->version[index] = 1 + below(f, 1 << 20);
		fill_own(f, index, page);
		rc = put_page_from(&handle, page);
		if (rc != 1)
			f->version[index] = 0;
		if (rc != 1 && rc != -ENOMEM && rc != -TMEM_EFROZEN)
			note_failure(__LINE__, "thread %u: put: %d", f->number, rc);
		break;
	case 1:
		rc = get_page_into(&handle, page);
		if (rc != !!f->version[index] && !(rc == -TMEM_EEMPTY && !f->version[index]))
			note_failure(__LINE__, "thread %u: get of a page that is%s there: %d",
				     f->number, f->version[index] ? "" : " not", rc);
		else if (rc == 1 && !is_own(f, index, page, f->page[2]))
			note_failure(__LINE__, "thread %u: not the page that was put", f->number);
		break;
	default:
		f->version[index] = 0;
		rc = flush_page(&handle);
		if (rc != 1)
			note_failure(__LINE__, "thread %u: flush: %d", f->number, rc);
	}
}

void check_own_pages(struct fuzzer *f)
{
	unsigned int index;

	for (index = 0; index < OWN_INDEXES; index++) {
		struct handle handle = own_handle(f, index);
		int rc = get_page_into(&handle, target);

		if (rc != !!f->version[index] && rc != -TMEM_EEMPTY)
			note_failure(__LINE__, "thread %u: page %u at the end: %d", f->number, index, rc);
		else if (rc == 1 && !is_own(f, index, target, source))
			note_failure(__LINE__, "thread %u: page %u is another one", f->number, index);
	}
}
