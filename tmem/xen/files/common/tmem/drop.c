/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: how pages go, one by one, or together where no frame
 * would come free otherwise.
 */

#include <xen/mm.h>

#include "packed.h"
#include "records.h"

/* Frees all pieces of a chunk. */
static void free_chunk(struct tmem_store *store, const struct tmem_page *page,
                       struct page_list_head *frames)
{
    struct tmem_place place = {
        .frame = frame_of(page),
        .unit = unit_of(page),
    };
    struct piece piece;

    do {
        const struct piece *from = map_piece(place.frame, place.unit);

        piece = *from;
        unmap_domain_page(from);
        place.units = piece.units;
        if ( tmem_chunk_free(store, &place) )
            page_list_add_tail(place.frame, frames);
        place.frame = mfn_to_page(_mfn(piece.next_mfn));
        place.unit = piece.next_unit;
    } while ( piece.more );
}

/* Takes the content from a record; adds the frames that came free. */
static void unpack(struct tmem_client *c, struct tmem_page *page,
                   struct page_list_head *frames, bool persistent)
{
    unsigned int kind = kind_of(page), bytes = bytes_of(page);

    switch ( kind )
    {
    case TMEM_NOTHING:
        return;

    case TMEM_ZERO:
        break;

    case TMEM_SHORT:
    case TMEM_LZ4:
        free_chunk(&c->store[persistent], page, frames);
        if ( kind == TMEM_LZ4 )
            c->stats.lz4_bytes -= bytes;
        else
            c->stats.short_bytes -= bytes;
        break;

    case TMEM_SHARED:
        if ( tmem_dedup_put(frame_of(page)) )
        {
            page_list_add_tail(frame_of(page), frames);
            c->stats.frames.now++;      /* it was nobody's */
        }
        else
            tmem_level(c, TMEM_LEVEL_DUPLICATES, -1);
        add_sized(&c->sharing, -1);
        break;

    default:
        ASSERT_UNREACHABLE();
        break;
    }

    if ( !persistent )
        add_sized(&c->packed_pages, -1);
    page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);
}

void tmem_clear_content(struct tmem_client *c, struct tmem_page *page,
                        bool persistent)
{
    PAGE_LIST_HEAD(frames);
    struct page_info *frame;

    ASSERT(spin_is_locked(&c->lock));

    if ( tmem_is_packed(page) )
        unpack(c, page, &frames, persistent);
    else
    {
        page_list_add(page->frame, &frames);
        page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);
    }

    while ( (frame = page_list_remove_head(&frames)) )
    {
        tmem_release_frame(c, frame);
        if ( persistent )
            tmem_content_gone(c);
    }
}

/* The record, what it holds, and the domain's charge for both. */
void tmem_drop_page(struct tmem_client *c, struct tmem_page *page)
{
    bool persistent = c->pools[pool_of_key(page->object->key)]->persistent;

    ASSERT(spin_is_locked(&c->lock));

    if ( unlikely(tmem_is_packed(page)) )
    {
        tmem_clear_content(c, page, persistent);
        tmem_remove_page(c, page);
    }
    else
    {
        tmem_release_frame(c, tmem_remove_page(c, page));
        if ( persistent )
            tmem_content_gone(c);
    }
    if ( persistent )
        tmem_settle(c);
}

void tmem_drop_oldest(struct tmem_client *c)
{
    struct tmem_page *page = list_entry(c->lru.next, struct tmem_page, lru);

    ASSERT(!list_empty(&c->lru));

    tmem_trace(c, TMEM_TRACE_EVICTED, page->object->key, page->index);
    tmem_drop_page(c, page);
    c->stats.evicted++;
}

/* Evicting: frames are for the caller, not for the client's next puts. */

static void evict_page(struct tmem_client *c, struct tmem_page *page,
                       struct tmem_eviction *e)
{
    PAGE_LIST_HEAD(freed);
    struct page_info *frame;

    tmem_trace(c, TMEM_TRACE_EVICTED, page->object->key, page->index);
    if ( unlikely(tmem_is_packed(page)) )
    {
        unpack(c, page, &freed, false);
        tmem_remove_page(c, page);
    }
    else
        page_list_add(tmem_remove_page(c, page), &freed);

    while ( (frame = page_list_remove_head(&freed)) )
    {
        page_list_add_tail(frame, e->frames);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
        e->taken++;
    }
    e->dropped++;
}

/* All that have a piece in a frame. */
static void evict_frame(struct tmem_client *c, struct page_info *frame,
                        struct tmem_eviction *e)
{
    unsigned long used = frame->u.tmem.units;
    const void *pieces = __map_domain_page(frame);
    unsigned int unit = 0;

    while ( unit < TMEM_UNITS )
    {
        const struct piece *piece = pieces + unit * TMEM_UNIT;

        if ( !(used & (1UL << unit)) )
        {
            unit++;
            continue;
        }
        unit += piece->units;
        evict_page(c, piece->page, e);
    }
    unmap_domain_page(pieces);
}

/* All whose records are in a slab, which is given back with the last. */
static void evict_slab(struct tmem_client *c, struct tmem_slab *slab,
                       struct tmem_eviction *e)
{
    uint64_t used = ~1ULL;              /* its first entry is its own */
    unsigned int entry, offset;

    BUILD_BUG_ON(TMEM_SLAB_ENTRIES != 63);
    for ( offset = slab->first_free; offset;
          offset = *(uint16_t *)((void *)slab + offset) )
        used &= ~(1ULL << (offset / TMEM_ENTRY_SIZE));
    for ( entry = 1; entry <= TMEM_SLAB_ENTRIES; entry++ )
        if ( used & (1ULL << entry) )
            evict_page(c, (void *)slab + entry * TMEM_ENTRY_SIZE, e);
}

void tmem_evict_oldest(struct tmem_client *c, struct tmem_eviction *e)
{
    struct tmem_page *page = list_entry(c->lru.next, struct tmem_page, lru);
    struct tmem_slab *slab = tmem_slab_of(page);
    unsigned long slabs = c->slabs[TMEM_SLAB_PAGES].nr;
    unsigned int taken = e->taken, index = e->index;

    ASSERT(spin_is_locked(&c->lock));

    c->eviction = e;
    if ( unlikely(tmem_is_packed(page)) && is_chunk(kind_of(page)) )
        evict_frame(c, frame_of(page), e);
    else
        evict_page(c, page, e);
    /* It was all zeros, or others have its content, too: then its slab. */
    if ( e->index == index && (e->taken == taken || e->wants_index) )
    {
        ASSERT(c->slabs[TMEM_SLAB_PAGES].nr == slabs);
        evict_slab(c, slab, e);
    }
    c->eviction = NULL;
}

/*
 * Frames that come back when all ephemeral pages go, without those that clients
 * share: of content, and of records. Without the lock, so they need not fit.
 */
unsigned long tmem_ephemeral_frames(const struct tmem_client *c)
{
    long plain = ACCESS_ONCE(c->stats.ephemeral.now) -
                 ACCESS_ONCE(c->packed_pages);

    return max(plain, 0L) + ACCESS_ONCE(c->store[false].nr_frames) +
           ACCESS_ONCE(c->slabs[TMEM_SLAB_PAGES].nr) +
           ACCESS_ONCE(c->slabs[TMEM_SLAB_OBJECTS].nr);
}

/*
 * As that, with its part of those that clients share: a content counts for who
 * brought it, also when others have it, too. Without the lock as well.
 */
unsigned long tmem_held_frames(const struct tmem_client *c)
{
    long sharing = ACCESS_ONCE(c->sharing);
    long brought = sharing - (long)ACCESS_ONCE(c->duplicates.now);

    return tmem_ephemeral_frames(c) + min(max(brought, 0L), sharing);
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
