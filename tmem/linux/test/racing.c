// SPDX-License-Identifier: GPL-2.0
/*
 * Frames that come and go while hostile operations name them (fuzz.c): written to, unmapped, given
 * back to Xen, and others taken in their place.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/string.h>

#include <asm/pgtable.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/mem-reservation.h>
#include <xen/xen.h>

#include "tmem_test.h"

static struct {
	atomic_t changes;		/* of which frames are the guest's */
	struct page *page[RACING];
	unsigned long frame[RACING];	/* the last one known; may be gone */
} racing;

/* Flushed on all vCPUs: nobody goes on writing to, or reading from, a frame that is gone. */
bool unmap_everywhere(struct page *page)
{
	return !HYPERVISOR_update_va_mapping((unsigned long)page_address(page), __pte_ma(0),
					     UVMF_INVLPG | UVMF_ALL);
}

/* Take the page from the guest's address space, and its frame from the guest when @give_up. */
static void take_away(unsigned int i, bool give_up)
{
	unsigned long address = (unsigned long)page_address(racing.page[i]);
	xen_pfn_t frame = frame_of(racing.page[i]);

	if (!unmap_everywhere(racing.page[i])) {
		note_failure(__LINE__, "a page can't be unmapped");
		return;
	}
	if (!give_up) {
		usleep_range(10, 50);
		if (HYPERVISOR_update_va_mapping(address, mfn_pte(frame, PAGE_KERNEL), UVMF_INVLPG))
			note_failure(__LINE__, "a page can't be mapped again");
		return;
	}
	atomic_inc(&racing.changes);
	xenmem_reservation_va_mapping_reset(1, &racing.page[i]);
	if (xenmem_reservation_decrease(1, &frame) != 1) {
		note_failure(__LINE__, "a frame can't be given up");
		return;
	}
	usleep_range(10, 100);
}

static bool bring_back(unsigned int i)
{
	xen_pfn_t frame = page_to_xen_pfn(racing.page[i]);

	if (xenmem_reservation_increase(1, &frame) != 1)
		return false;
	xenmem_reservation_va_mapping_update(1, &racing.page[i], &frame);
	WRITE_ONCE(racing.frame[i], frame);
	atomic_inc(&racing.changes);
	return true;
}

static bool is_away(unsigned int i)
{
	return get_phys_to_machine(page_to_pfn(racing.page[i])) == INVALID_P2M_ENTRY;
}

/* Something happens to one of the frames; what, @random says. */
void race_frame(u64 random)
{
	unsigned int i = random % RACING, content = random >> 8 & 0xff, dice = random >> 16 & 3;

	if (is_away(i))
		bring_back(i);
	else if (!xen_pv_domain() || dice)
		fill_content(racing.page[i], content % NR_CONTENTS, random >> 24 & 3);
	else
		take_away(i, random >> 32 & 1);
}

unsigned long racing_frame(unsigned int i)
{
	return READ_ONCE(racing.frame[i]);
}

int frame_changes(void)
{
	return atomic_read(&racing.changes);
}

bool prepare_races(void)
{
	unsigned int i;

	memset(&racing, 0, sizeof(racing));
	for (i = 0; i < RACING; i++) {
		racing.page[i] = alloc_page(GFP_KERNEL);
		if (!racing.page[i])
			return false;
		racing.frame[i] = frame_of(racing.page[i]);
	}
	return true;
}

void end_races(void)
{
	unsigned int i, tries;

	for (i = 0; i < RACING; i++) {
		for (tries = 0; racing.page[i] && is_away(i) && tries < 600 && !bring_back(i); tries++)
			msleep(100);
		if (!racing.page[i])
			continue;
		if (is_away(i))
			note_failure(__LINE__, "a frame did not come back");
		else
			__free_page(racing.page[i]);
		racing.page[i] = NULL;
	}
}
