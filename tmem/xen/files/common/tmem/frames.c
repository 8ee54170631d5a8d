/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: the frames that hold its pages, and how they go back
 * to Xen.
 *
 * Frames have no owner, so no domain can map one by its number. Ephemeral
 * pages are taken back oldest first over all clients. A frame that is reused
 * within tmem is not scrubbed, because a put overwrites all of it; one that
 * goes back to the heap is scrubbed there.
 */

#include <xen/event.h>
#include <xen/mm.h>
#include <xen/rcupdate.h>

#include "packed.h"
#include "records.h"

/*
 * Pages dropped beyond those that yield a frame each. Where many go for one, no
 * more than that many go in all, as long as the frames that are needed have
 * come free: each takes 64 pages at most.
 */
#define MORE_DROPPED        (4 * TMEM_BATCH)
/* Frames that control asks for in one go, between looks for other work. */
#define FLUSH_STEP          64

static struct {
    spinlock_t lock;
    uint64_t low_memory;
    uint64_t evicted, evict_attempts;
    uint64_t relinquished, relinquish_attempts, relinquish_most;
} totals = { .lock = SPIN_LOCK_UNLOCKED };

void tmem_frames_stats(struct tmem_stats_global *g)
{
    spin_lock(&totals.lock);
    g->low_memory = totals.low_memory;
    g->evicted = totals.evicted;
    g->evict_attempts = totals.evict_attempts;
    g->relinquished = totals.relinquished;
    g->relinquish_attempts = totals.relinquish_attempts;
    g->relinquish_most = totals.relinquish_most;
    spin_unlock(&totals.lock);
}

/*
 * Drops the oldest pages of a client until they have yielded nr frames, or a
 * batch of them has gone, and up to 63 that have to go with the last.
 */
static void take_oldest(struct tmem_client *c, unsigned int nr,
                        struct tmem_eviction *e)
{
    unsigned int before = e->dropped, taken = e->taken;
    uint64_t start;

    nr += tmem_gained(e);
    spin_lock(&c->lock);
    start = rdtsc();
    while ( tmem_gained(e) < nr && e->dropped - before < TMEM_BATCH &&
            !list_empty(&c->lru) )
        tmem_evict_oldest(c, e);
    c->stats.evicted += e->dropped - before;
    tmem_spare_frames(taken - e->taken);
    tmem_time(c, TMEM_TIME_STEP, rdtsc() - start);
    spin_unlock(&c->lock);
}

/*
 * Takes up to nr frames from the oldest pages of one client, or of all; fewer,
 * but not fewer than `least`, where more pages go for them than it is worth.
 */
static void evict(struct tmem_client *only, unsigned int nr,
                  unsigned int least, struct tmem_eviction *e)
{
    rcu_read_lock(&domlist_read_lock);
    while ( tmem_gained(e) < nr &&
            (tmem_gained(e) < least || e->dropped < nr + MORE_DROPPED) )
    {
        struct tmem_client *victim = only ?: tmem_victim();
        unsigned int before = e->dropped;

        if ( !victim || !ACCESS_ONCE(victim->stats.ephemeral.now) )
            break;
        take_oldest(victim, min(nr - tmem_gained(e), TMEM_REFILL + 0U), e);
        if ( only && e->dropped == before )
            break;
    }
    rcu_read_unlock(&domlist_read_lock);

    spin_lock(&totals.lock);
    totals.evict_attempts++;
    totals.evicted += e->dropped;
    spin_unlock(&totals.lock);
}

static void free_frames(struct page_list_head *frames)
{
    struct page_info *frame;

    while ( (frame = page_list_remove_head(frames)) )
        free_domheap_page(frame);
}

static void *next_index_page(struct tmem_eviction *e)
{
    void *page = e->pages;

    if ( page )
        e->pages = *(void **)page;

    return page;
}

static void free_index_pages(struct tmem_eviction *e)
{
    void *page;

    while ( (page = next_index_page(e)) )
        free_xenheap_page(page);
}

static void free_evicted(struct tmem_eviction *e)
{
    free_frames(e->frames);
    free_index_pages(e);
}

/* As many as it may keep, for its next puts. */
static void keep_frames(struct tmem_client *c, struct page_list_head *frames,
                        struct page_list_head *marked)
{
    struct page_info *frame;
    unsigned int kept = 0;

    /* A shared pool may have gone meanwhile. */
    while ( !c->dying && c->nr_free < TMEM_MAX_FREE &&
            (frame = page_list_remove_head(frames)) )
    {
        if ( unlikely(tmem_is_marked(frame)) )
        {
            page_list_add(frame, marked);
            continue;
        }
        tmem_keep_frame(c, frame);
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
        kept++;
    }
    tmem_spare_frames(kept);
}

/* Takes frames without content, up to `most` of one client's, or of all. */
static unsigned int drain_free_frames(struct tmem_client *only,
                                      unsigned int most)
{
    PAGE_LIST_HEAD(frames);
    struct tmem_client *c;
    struct tmem_walk w;
    unsigned int taken = 0;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
    {
        unsigned int before = taken;
        struct page_info *frame;

        if ( (only && c != only) || !ACCESS_ONCE(c->nr_free) )
            continue;
        spin_lock(&c->lock);
        while ( taken < most && (frame = tmem_take_frame(c)) )
        {
            page_list_add_tail(frame, &frames);
            tmem_level(c, TMEM_LEVEL_FRAMES, -1);
            taken++;
        }
        tmem_spare_frames(before - taken);
        tmem_commit_nothing(c);
        spin_unlock(&c->lock);
    }
    rcu_read_unlock(&domlist_read_lock);
    free_frames(&frames);

    return taken;
}

unsigned long tmem_flush_pages(struct tmem_client *only, unsigned long nr,
                               unsigned long *dropped)
{
    unsigned int wanted = min(nr, 1UL << 10), gained = 0;
    bool more;

    *dropped = 0;
    do {
        PAGE_LIST_HEAD(frames);
        struct tmem_eviction e = { .frames = &frames };

        evict(only, min(wanted - gained, FLUSH_STEP + 0U), 1, &e);
        free_evicted(&e);
        gained += tmem_gained(&e);
        *dropped += e.dropped;
        more = e.dropped;
    } while ( more && gained < wanted && !hypercall_preempt_check() );

    /* What tmem_freeable_pages() told includes these. */
    if ( gained < wanted )
        gained += drain_free_frames(only, wanted - gained);

    return gained;
}

bool tmem_make_index_room(struct tmem_client *c)
{
    PAGE_LIST_HEAD(frames);
    PAGE_LIST_HEAD(marked);
    struct tmem_eviction e = { .frames = &frames };
    uint64_t available, claimed;
    void *page;

    /* So much is claimed, or missing, that a few pages more are of no use? */
    get_outstanding_claims(&available, &claimed);
    e.wants_index = available + TMEM_REFILL <= claimed + tmem_reserve_pages;
    evict(NULL, e.wants_index ? 1 : TMEM_REFILL, 1, &e);

    spin_lock(&c->lock);
    while ( !c->dying && c->nr_spare < TMEM_SPARE_KEPT &&
            tmem_claims_allow(0) && (page = next_index_page(&e)) )
    {
        clear_page(page);
        c->spare[c->nr_spare++] = page;
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
    }
    if ( e.wants_index )
        keep_frames(c, &frames, &marked);
    spin_unlock(&c->lock);
    free_evicted(&e);
    free_frames(&marked);

    return tmem_gained(&e);
}

bool tmem_give_way(unsigned int nr)
{
    PAGE_LIST_HEAD(frames);
    struct tmem_eviction e = { .frames = &frames };
    unsigned int freed = drain_free_frames(NULL, nr);

    if ( freed < nr )
    {
        evict(NULL, nr - freed, 1, &e);
        free_evicted(&e);
        freed += tmem_gained(&e);
    }

    spin_lock(&totals.lock);
    totals.low_memory++;
    totals.relinquish_attempts++;
    totals.relinquished += freed;
    if ( freed > totals.relinquish_most )
        totals.relinquish_most = freed;
    spin_unlock(&totals.lock);

    return freed;
}

static unsigned int take_from_heap(struct page_list_head *frames)
{
    /* Not those that devices may have to have. */
    const unsigned int flags = MEMF_tmem | MEMF_no_scrub | MEMF_no_dma;
    struct page_info *frame;
    unsigned int i, nr = TMEM_PUT_REFILL;

    /* Together, which costs little more than one; each goes back by itself. */
    frame = alloc_domheap_pages(NULL, TMEM_PUT_REFILL_ORDER, flags);
    if ( !frame )
    {
        nr = 1;
        frame = alloc_domheap_pages(NULL, 0, flags);
        if ( !frame )
            return 0;
    }
    for ( i = 0; i < nr; i++ )
        page_list_add_tail(frame + i, frames);

    return nr;
}

bool tmem_refill(struct tmem_client *c, bool persistent)
{
    PAGE_LIST_HEAD(frames);
    PAGE_LIST_HEAD(marked);
    unsigned int nr = take_from_heap(&frames);

    if ( !nr && (!persistent || tmem_claims_allow(1)) )
    {
        struct tmem_eviction e = { .frames = &frames };

        evict(NULL, TMEM_PUT_REFILL, 1, &e);
        nr = e.taken;
        free_index_pages(&e);
        /* Only pages of the index may have come free. */
        if ( !nr && e.index )
            nr = take_from_heap(&frames);
    }

    spin_lock(&c->lock);
    keep_frames(c, &frames, &marked);
    spin_unlock(&c->lock);
    free_frames(&frames);
    free_frames(&marked);
    tmem_stir();

    return nr;
}

void tmem_give_back(struct tmem_client *c, struct page_info *frame)
{
    ASSERT(spin_is_locked(&c->lock));

    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    tmem_spare_frames(-1);
    free_domheap_page(frame);
}

bool __read_mostly tmem_frames_marked;

static const struct page_info *frame_of_content(const struct tmem_page *page)
{
    if ( !tmem_is_packed(page) )
        return page->frame;

    return is_chunk(kind_of(page)) || kind_of(page) == TMEM_SHARED
           ? frame_of(page) : NULL;
}

/* Of a chunk in two pieces, where the other one is: the first says so. */
static const struct page_info *second_frame(const struct tmem_page *page)
{
    const struct page_info *frame = NULL;
    const struct piece *piece;

    if ( !tmem_is_packed(page) || !is_chunk(kind_of(page)) )
        return NULL;
    piece = map_piece(frame_of(page), unit_of(page));
    if ( piece->more )
        frame = mfn_to_page(_mfn(piece->next_mfn));
    unmap_domain_page(piece);

    return frame;
}

bool tmem_must_leave(const struct tmem_page *page)
{
    const struct page_info *frame = frame_of_content(page);

    if ( !frame || tmem_is_marked(frame) )
        return frame;
    frame = second_frame(page);

    return frame && tmem_is_marked(frame);
}

static bool is_broken(const struct page_info *frame)
{
    return ACCESS_ONCE(frame->count_info) & PGC_broken;
}

bool tmem_is_lost(const struct tmem_page *page)
{
    const struct page_info *frame = frame_of_content(page);

    if ( !frame || is_broken(frame) )
        return frame;
    frame = second_frame(page);

    return frame && is_broken(frame);
}

void tmem_drain_free(struct tmem_client *c)
{
    struct page_info *frame;

    tmem_commit_nothing(c);
    while ( (frame = tmem_take_frame(c)) )
        tmem_give_back(c, frame);
}
