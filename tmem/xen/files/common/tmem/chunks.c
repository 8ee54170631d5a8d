/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: pieces of frames, for what has been made smaller than
 * a page.
 *
 * A store belongs to one client and one kind of pool. Its frames are cut into
 * 64 units of 64 bytes. A piece is a run of units with a header, and a chunk
 * is one piece, or two in different frames: most pages that can be compressed
 * at all need more than half a frame, and would have one each otherwise.
 *
 * Which units are used is a word in the frame's page_info, u.tmem.units, which
 * nobody else can touch, as a frame without an owner gets neither references
 * nor a type. So finding a place reads no memory but the lists' heads and
 * one or two page_infos.
 */

#include <xen/mm.h>

#include "private.h"

#define ALL_FREE    (~0UL)
/* Shorter gaps are not worth a second piece. */
#define MIN_GAP     4

static unsigned long free_units(const struct page_info *frame)
{
    return ~frame->u.tmem.units;
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

/* The frame with the longest gap of all, if that is worth filling. */
static struct page_info *gap_frame(const struct tmem_store *s,
                                   unsigned int *units)
{
    *units = flsl(s->runs);

    return *units < MIN_GAP ? NULL
                            : page_list_first(&s->by_run[*units - 1]);
}

static unsigned int units_after(unsigned int bytes, unsigned int gap)
{
    ASSERT(gap < tmem_units(bytes));

    return tmem_units(bytes - tmem_piece_room(gap));
}

bool tmem_chunk_fits(struct tmem_store *s, unsigned int bytes)
{
    struct page_info *frame, *rest;
    unsigned int gap;

    /* One that Xen has marked gets no more; what it has stays until it goes. */
    frame = best_frame(s, tmem_units(bytes));
    if ( frame )
        return !tmem_is_marked(frame);
    frame = gap_frame(s, &gap);
    if ( !frame || tmem_is_marked(frame) )
        return false;
    unlink(s, frame);
    rest = best_frame(s, units_after(bytes, gap));
    link(s, frame);

    return rest && !tmem_is_marked(rest);
}

static void take(struct page_info *frame, unsigned int units,
                 struct tmem_place *place)
{
    place->frame = frame;
    place->units = units;
    place->unit = find_run(free_units(frame), units);
    frame->u.tmem.units |=
        (ALL_FREE >> (TMEM_UNITS - units)) << place->unit;
}

unsigned int tmem_chunk_alloc(struct tmem_store *s, unsigned int bytes,
                              struct page_info *fresh,
                              struct tmem_place place[2])
{
    unsigned int units = tmem_units(bytes), gap, nr = 0;
    struct page_info *frame = fresh ? NULL : best_frame(s, units), *first;

    if ( fresh )
    {
        fresh->u.tmem.units = ~ALL_FREE;
        add_sized(&s->nr_frames, 1);
    }
    /*
     * A gap that would take all of it is there, too: where the frame that fits
     * best is marked, a new one takes the chunk in one piece.
     */
    if ( !frame && (first = gap_frame(s, &gap)) && gap < units &&
         !(fresh && tmem_is_marked(first)) )
    {
        /* Out of the lists while the other place is looked for. */
        unlink(s, first);
        take(first, gap, &place[nr++]);
        units = units_after(bytes, gap);
        if ( !fresh )
            frame = best_frame(s, units);
        link(s, first);
    }
    if ( fresh )
        frame = fresh;
    else
        unlink(s, frame);
    take(frame, units, &place[nr++]);
    link(s, frame);

    return nr;
}

bool tmem_chunk_free(struct tmem_store *s, const struct tmem_place *place)
{
    struct page_info *frame = place->frame;

    unlink(s, frame);
    frame->u.tmem.units &=
        ~((ALL_FREE >> (TMEM_UNITS - place->units)) << place->unit);
    if ( !frame->u.tmem.units )
    {
        add_sized(&s->nr_frames, -1);
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
