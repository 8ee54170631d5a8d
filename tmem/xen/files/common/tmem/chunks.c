/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: pieces of frames, for what has been made smaller than
 * a page.
 *
 * A store belongs to one client and one kind of pool. Its frames are cut into
 * 64 units of 64 bytes, and a chunk is a run of units. Which units are used is
 * a word in the frame's page_info: type_info, which nobody else can touch,
 * as a frame without an owner gets neither references nor a type. So a frame
 * has room for 4096 bytes of chunks, and finding a place reads no memory but
 * the lists' heads and one page_info.
 */

#include <xen/mm.h>

#include "private.h"

#define ALL_FREE    (~0UL)

static unsigned long free_units(const struct page_info *frame)
{
    return ~frame->u.inuse.type_info;
}

static unsigned int longest_run(unsigned long units)
{
    unsigned int length;

    for ( length = 0; units; length++ )
        units &= units >> 1;

    return length;
}

/* Where the first run of `length` set bits starts. There is one. */
static unsigned int find_run(unsigned long units, unsigned int length)
{
    unsigned int known = 1;

    while ( known < length )
    {
        unsigned int step = min(known, length - known);

        units &= units >> step;
        known += step;
    }
    ASSERT(units);

    return ffsl(units) - 1;
}

static void link(struct tmem_store *s, struct page_info *frame)
{
    unsigned int run = longest_run(free_units(frame));

    if ( !run )
        return;
    page_list_add(frame, &s->by_run[run - 1]);
    s->runs |= 1UL << (run - 1);
}

static void unlink(struct tmem_store *s, struct page_info *frame)
{
    unsigned int run = longest_run(free_units(frame));

    if ( !run )
        return;
    page_list_del(frame, &s->by_run[run - 1]);
    if ( page_list_empty(&s->by_run[run - 1]) )
        s->runs &= ~(1UL << (run - 1));
}

void tmem_store_init(struct tmem_store *s)
{
    unsigned int i;

    BUILD_BUG_ON(TMEM_UNITS != BITS_PER_LONG);
    for ( i = 0; i < ARRAY_SIZE(s->by_run); i++ )
        INIT_PAGE_LIST_HEAD(&s->by_run[i]);
}

/* The frame whose longest gap fits best; NULL: a new one is needed. */
static struct page_info *best_frame(const struct tmem_store *s,
                                    unsigned int units)
{
    unsigned long fitting = s->runs & (~0UL << (units - 1));

    return fitting ? page_list_first(&s->by_run[ffsl(fitting) - 1]) : NULL;
}

bool tmem_chunk_fits(const struct tmem_store *s, unsigned int units)
{
    return best_frame(s, units);
}

struct page_info *tmem_chunk_alloc(struct tmem_store *s, unsigned int units,
                                   struct page_info *fresh, unsigned int *unit)
{
    struct page_info *frame = fresh;

    if ( fresh )
    {
        fresh->u.inuse.type_info = ~ALL_FREE;
        s->nr_frames++;
    }
    else
    {
        frame = best_frame(s, units);
        unlink(s, frame);
    }

    *unit = find_run(free_units(frame), units);
    frame->u.inuse.type_info |= (ALL_FREE >> (TMEM_UNITS - units)) << *unit;
    link(s, frame);

    return frame;
}

bool tmem_chunk_free(struct tmem_store *s, struct page_info *frame,
                     unsigned int unit, unsigned int units)
{
    unlink(s, frame);
    frame->u.inuse.type_info &= ~((ALL_FREE >> (TMEM_UNITS - units)) << unit);
    if ( !frame->u.inuse.type_info )
    {
        s->nr_frames--;
        return true;
    }
    link(s, frame);

    return false;
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
