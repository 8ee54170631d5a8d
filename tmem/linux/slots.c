// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of swap slots: one bit for each, in pages of bits that are made when the first slot in
 * their reach is added.
 *
 * Linux tells a back end neither how large a swap device is nor, later, which of its pages the
 * back end holds; who has to fetch them all has to keep count. Adding, removing and asking are
 * safe against each other on any context and take no lock. A page of bits (32768 slots, so
 * 128 MiB of swap) is never freed, as readers may be looking at it: swap devices come back.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/xarray.h>

#include "slots.h"

#define CHUNK_BITS	(PAGE_SHIFT + 3)
#define CHUNK_SLOTS	BIT(CHUNK_BITS)

static unsigned long *chunk_of(struct tmem_slots *set, tmem_slot_t slot)
{
	return xa_load(&set->chunks, slot >> CHUNK_BITS);
}

/* Make room for a slot, so that adding it cannot fail. @gfp says what may be done for it. */
int tmem_slots_reserve(struct tmem_slots *set, tmem_slot_t slot, gfp_t gfp)
{
	unsigned long *chunk;
	int rc;

	if (likely(chunk_of(set, slot)))
		return 0;
	chunk = (unsigned long *)get_zeroed_page(gfp);
	if (!chunk)
		return -ENOMEM;
	rc = xa_insert(&set->chunks, slot >> CHUNK_BITS, chunk, gfp);
	if (!rc)
		return 0;
	free_page((unsigned long)chunk);
	return rc == -EBUSY ? 0 : rc;	/* somebody else was first */
}

/* Add a slot that room was made for. */
void tmem_slots_add(struct tmem_slots *set, tmem_slot_t slot)
{
	if (!test_and_set_bit(slot & (CHUNK_SLOTS - 1), chunk_of(set, slot)))
		atomic_long_inc(&set->count);
}

/* Return: whether it was there. Of two who remove a slot, one learns that it was. */
bool tmem_slots_remove(struct tmem_slots *set, tmem_slot_t slot)
{
	unsigned long *chunk = chunk_of(set, slot);

	if (!chunk || !test_and_clear_bit(slot & (CHUNK_SLOTS - 1), chunk))
		return false;
	atomic_long_dec(&set->count);
	return true;
}

bool tmem_slots_has(struct tmem_slots *set, tmem_slot_t slot)
{
	unsigned long *chunk = chunk_of(set, slot);

	return chunk && test_bit(slot & (CHUNK_SLOTS - 1), chunk);
}

/* Find the first slot from *@slot to @last. */
bool tmem_slots_next(struct tmem_slots *set, tmem_slot_t *slot, tmem_slot_t last)
{
	unsigned long start = *slot & (CHUNK_SLOTS - 1);
	unsigned long index = *slot >> CHUNK_BITS;
	unsigned long *chunk, bit;

	xa_for_each_range(&set->chunks, index, chunk, index, last >> CHUNK_BITS) {
		if (index != *slot >> CHUNK_BITS)
			start = 0;
		bit = find_next_bit(chunk, CHUNK_SLOTS, start);
		if (bit < CHUNK_SLOTS) {
			*slot = (tmem_slot_t)index << CHUNK_BITS | bit;
			return *slot <= last;
		}
		start = 0;
	}
	return false;
}

/* Remove all slots from @first to @last. */
void tmem_slots_clear(struct tmem_slots *set, tmem_slot_t first, tmem_slot_t last)
{
	for (; tmem_slots_next(set, &first, last); first++)
		tmem_slots_remove(set, first);
}
