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

#include <xen/mm.h>
#include <xen/rcupdate.h>

#include "records.h"

/* Pages dropped beyond those that yield a frame each: for a put, by control. */
#define MORE_FOR_PUT        (4 * TMEM_BATCH)
#define MORE_FLUSHED        4096

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

static unsigned int index_pages(const struct tmem_client *c)
{
    return c->stats.nodes.now + c->nr_spare;
}

/* What evicting has done so far. */
struct eviction {
    struct page_list_head *frames;
    unsigned int taken;                 /* of those */
    unsigned int index;                 /* pages of the index: in the heap by now */
    unsigned int dropped;               /* tmem's pages */
};

/*
 * Drops the oldest pages of a client until they have yielded nr pages, or a
 * batch of them has gone: those that share their content, or are all zeros,
 * need not yield any. The last may have up to 63 others in its frame.
 */
static void take_oldest(struct tmem_client *c, unsigned int nr,
                        struct eviction *e)
{
    unsigned int taken = 0, pages = 0, index;
    uint64_t start;

    spin_lock(&c->lock);
    start = rdtsc();
    index = index_pages(c);
    while ( taken + index - index_pages(c) < nr && pages < TMEM_BATCH &&
            !list_empty(&c->lru) )
    {
        struct tmem_page *page = list_entry(c->lru.next, struct tmem_page, lru);

        if ( unlikely(tmem_is_packed(page)) )
        {
            taken += tmem_evict_packed(c, page, e->frames, &pages);
            continue;
        }
        page_list_add_tail(tmem_remove_page(c, page), e->frames);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
        taken++;
        pages++;
    }
    tmem_spare_frames(-taken);
    c->stats.evicted += pages;
    e->index += index - index_pages(c);
    tmem_time(c, TMEM_TIME_STEP, rdtsc() - start);
    spin_unlock(&c->lock);
    e->taken += taken;
    e->dropped += pages;
}

/*
 * Takes up to nr frames from the oldest pages of one client, or of all. Bounded
 * also where pages share contents, and much has to go before a frame does: by
 * `more` pages, and those that go with the last.
 */
static struct eviction evict(struct tmem_client *only, unsigned int nr,
                             unsigned int more, struct page_list_head *frames)
{
    struct eviction e = { .frames = frames };

    rcu_read_lock(&domlist_read_lock);
    while ( e.taken + e.index < nr && e.dropped < nr + more )
    {
        struct tmem_client *victim = only ?: tmem_victim();
        unsigned int before = e.dropped;

        if ( !victim || !ACCESS_ONCE(victim->stats.ephemeral.now) )
            break;
        take_oldest(victim, min(nr - e.taken - e.index, TMEM_REFILL + 0U), &e);
        if ( only && e.dropped == before )
            break;
    }
    rcu_read_unlock(&domlist_read_lock);

    spin_lock(&totals.lock);
    totals.evict_attempts++;
    totals.evicted += e.dropped;
    spin_unlock(&totals.lock);

    return e;
}

static void free_frames(struct page_list_head *frames)
{
    struct page_info *frame;

    while ( (frame = page_list_remove_head(frames)) )
        free_domheap_page(frame);
}

/* Takes frames without content, up to `most` of all clients'. */
static unsigned int drain_free_frames(unsigned int most)
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

        if ( !ACCESS_ONCE(c->nr_free) )
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
    PAGE_LIST_HEAD(frames);
    unsigned int wanted = min(nr, 1UL << 10);
    struct eviction e = evict(only, wanted, MORE_FLUSHED, &frames);
    /* As many of tmem's pages as frames are asked for; the index's come with it. */
    unsigned int taken = e.taken ?: e.index;

    *dropped = e.dropped;
    free_frames(&frames);
    /* What tmem_freeable_pages() told includes these. */
    if ( !only && taken < wanted )
        taken += drain_free_frames(wanted - taken);

    return taken;
}

bool tmem_make_index_room(void)
{
    PAGE_LIST_HEAD(frames);
    struct eviction e = evict(NULL, TMEM_REFILL, MORE_FOR_PUT, &frames);

    free_frames(&frames);

    return e.taken + e.index;
}

bool tmem_give_way(unsigned int nr)
{
    PAGE_LIST_HEAD(frames);
    unsigned int freed = drain_free_frames(nr);
    struct eviction e = { };

    if ( freed < nr )
    {
        e = evict(NULL, nr - freed, TMEM_MOST_RELINQUISHED, &frames);
        free_frames(&frames);
        freed += e.taken + e.index;
    }

    spin_lock(&totals.lock);
    totals.low_memory++;
    totals.relinquish_attempts++;
    totals.relinquished += freed;
    if ( freed > totals.relinquish_most )
        totals.relinquish_most = freed;
    spin_unlock(&totals.lock);

    /* Pages that went without a frame are worth another attempt, too. */
    return freed || e.dropped;
}

static unsigned int take_from_heap(struct page_list_head *frames)
{
    /* Not those that devices may have to have. */
    const unsigned int flags = MEMF_tmem | MEMF_no_scrub | MEMF_no_dma;
    struct page_info *frame;
    unsigned int nr = 0;

    while ( nr < TMEM_PUT_REFILL &&
            (frame = alloc_domheap_pages(NULL, 0, flags)) )
    {
        page_list_add_tail(frame, frames);
        nr++;
    }

    return nr;
}

bool tmem_refill(struct tmem_client *c, bool persistent)
{
    PAGE_LIST_HEAD(frames);
    PAGE_LIST_HEAD(marked);
    struct page_info *frame;
    unsigned int nr = take_from_heap(&frames), kept = 0;

    if ( !nr && (!persistent || tmem_claims_allow(1)) )
    {
        struct eviction e = evict(NULL, TMEM_PUT_REFILL, MORE_FOR_PUT, &frames);

        nr = e.taken;
        /* Only pages of the index may have come free. */
        if ( !nr && e.index )
            nr = take_from_heap(&frames);
    }

    spin_lock(&c->lock);
    /* A shared pool may have gone meanwhile. */
    while ( !c->dying && c->nr_free < TMEM_MAX_FREE &&
            (frame = page_list_remove_head(&frames)) )
    {
        if ( unlikely(tmem_is_marked(frame)) )
        {
            page_list_add(frame, &marked);
            continue;
        }
        tmem_keep_frame(c, frame);
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
        kept++;
    }
    tmem_spare_frames(kept);
    spin_unlock(&c->lock);
    free_frames(&frames);
    free_frames(&marked);
    tmem_stir();

    return nr;
}

bool tmem_charge(struct domain *d)
{
    bool room;

    if ( !tmem_commit_frames(d->tmem, 1) )
        return false;

    nrspin_lock(&d->page_alloc_lock);
    room = domain_tot_pages(d) < d->max_pages;
    if ( room && domain_adjust_tot_pages(d, 1) == 1 )
        get_knownalive_domain(d);
    nrspin_unlock(&d->page_alloc_lock);
    if ( !room )
        tmem_uncommit_frames(d->tmem, 1);

    return room;
}

void tmem_uncharge(struct domain *d)
{
    bool last;

    tmem_uncommit_frames(d->tmem, 1);
    nrspin_lock(&d->page_alloc_lock);
    last = !domain_adjust_tot_pages(d, -1);
    nrspin_unlock(&d->page_alloc_lock);
    if ( last )
        put_domain(d);
}

void tmem_give_back(struct tmem_client *c, struct page_info *frame)
{
    ASSERT(spin_is_locked(&c->lock));

    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    tmem_spare_frames(-1);
    free_domheap_page(frame);
}

bool __read_mostly tmem_frames_marked;

bool tmem_must_leave(const struct tmem_page *page)
{
    return !tmem_is_packed(page) && tmem_is_marked(page->frame);
}

bool tmem_is_lost(const struct tmem_page *page)
{
    return !tmem_is_packed(page) &&
           (ACCESS_ONCE(page->frame->count_info) & PGC_broken);
}

/* Forget a page: the record, the frame, and the domain's charge for it. */
void tmem_drop_page(struct tmem_client *c, struct tmem_page *page)
{
    bool persistent = c->pools[pool_of_key(page->object->key)]->persistent;

    ASSERT(spin_is_locked(&c->lock));

    if ( unlikely(tmem_is_packed(page)) )
    {
        tmem_clear_content(c, page, persistent);
        tmem_remove_page(c, page);
        return;
    }
    tmem_release_frame(c, tmem_remove_page(c, page));
    if ( persistent )
        tmem_uncharge(c->domain);
}

void tmem_drop_oldest(struct tmem_client *c)
{
    ASSERT(!list_empty(&c->lru));

    tmem_drop_page(c, list_entry(c->lru.next, struct tmem_page, lru));
    c->stats.evicted++;
}

void tmem_drain_free(struct tmem_client *c)
{
    struct page_info *frame;

    tmem_commit_nothing(c);
    while ( (frame = tmem_take_frame(c)) )
        tmem_give_back(c, frame);
}
