/* SPDX-License-Identifier: GPL-2.0 */
/* Sets of swap slots, see slots.c. */
#ifndef TMEM_SLOTS_H
#define TMEM_SLOTS_H

#include <linux/atomic.h>
#include <linux/types.h>
#include <linux/xarray.h>

/* A page of a swap device: its number in the device, below the number of the device. */
typedef u64 tmem_slot_t;

#define TMEM_SLOT_TYPE_SHIFT	32
#define TMEM_SLOT_LAST		(~0ULL >> PAGE_SHIFT)	/* as an index into a file, too */

static inline tmem_slot_t tmem_slot(unsigned int type, u32 offset)
{
	return (tmem_slot_t)type << TMEM_SLOT_TYPE_SHIFT | offset;
}

struct tmem_slots {
	struct xarray chunks;
	atomic_long_t count;
};

#define DEFINE_TMEM_SLOTS(_name)						\
	struct tmem_slots _name = { .chunks = XARRAY_INIT(_name.chunks, 0) }

int tmem_slots_reserve(struct tmem_slots *set, tmem_slot_t slot, gfp_t gfp);
void tmem_slots_add(struct tmem_slots *set, tmem_slot_t slot);
bool tmem_slots_remove(struct tmem_slots *set, tmem_slot_t slot);
void tmem_slots_clear(struct tmem_slots *set, tmem_slot_t first, tmem_slot_t last);
bool tmem_slots_has(struct tmem_slots *set, tmem_slot_t slot);
bool tmem_slots_next(struct tmem_slots *set, tmem_slot_t *slot, tmem_slot_t last);

static inline long tmem_slots_count(struct tmem_slots *set)
{
	return atomic_long_read(&set->count);
}

#endif /* TMEM_SLOTS_H */
