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

#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/rcupdate.h>

#include "records.h"

bool __read_mostly opt_tmem;
boolean_param("tmem", opt_tmem);

unsigned long __read_mostly tmem_reserve_pages;

/* Orders up to this are served by evicting until they fit. */
#define MAX_SERVED_ORDER    3

/* Pages that one eviction drops at most, beyond those that yield a frame each. */
#define MOST_EVICTED        4096

static struct {
    spinlock_t lock;
    uint64_t low_memory;
    uint64_t evicted, evict_attempts;
    uint64_t relinquished, relinquish_attempts, relinquish_most;
} totals = { .lock = SPIN_LOCK_UNLOCKED };

static int __init cf_check tmem_init(void)
{
    if ( !opt_tmem )
        return 0;

    /* For Xen's own needs, allocations of several pages among them. */
    tmem_reserve_pages = min(avail_domheap_pages() / 256,
                             64UL << (20 - PAGE_SHIFT));
    printk("tmem: on; leaves %lu pages of the heap free\n", tmem_reserve_pages);

    return 0;
}
__initcall(tmem_init);

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

unsigned long tmem_freeable_pages(void)
{
    struct tmem_client *c;
    struct tmem_walk w;
    unsigned long pages = 0;

    if ( !opt_tmem )
        return 0;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
        pages += tmem_ephemeral_frames(c) + ACCESS_ONCE(c->nr_free);
    rcu_read_unlock(&domlist_read_lock);

    return pages + tmem_dedup_frames();
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
 * need not yield any.
 */
static void take_oldest(struct tmem_client *c, unsigned int nr,
                        struct eviction *e)
{
    unsigned int budget = TMEM_BATCH, taken = 0, pages = 0, index;

    spin_lock(&c->lock);
    index = index_pages(c);
    while ( taken + index - index_pages(c) < nr && budget-- &&
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
    c->stats.evicted += pages;
    e->index += index - index_pages(c);
    spin_unlock(&c->lock);
    e->taken += taken;
    e->dropped += pages;
}

/*
 * Takes up to nr frames from the oldest pages of one client, or of all. Bounded
 * also where pages share contents, and much has to go before a frame does.
 * Returns how many; if none, how many pages of the index came free instead.
 */
static unsigned int evict(struct tmem_client *only, unsigned int nr,
                          struct page_list_head *frames)
{
    struct eviction e = { .frames = frames };

    rcu_read_lock(&domlist_read_lock);
    while ( e.taken + e.index < nr && e.dropped < nr + MOST_EVICTED )
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

    return e.taken ?: e.index;
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
        spin_unlock(&c->lock);
    }
    rcu_read_unlock(&domlist_read_lock);
    free_frames(&frames);

    return taken;
}

unsigned long tmem_flush(struct tmem_client *only, unsigned long nr)
{
    PAGE_LIST_HEAD(frames);
    unsigned int wanted = min(nr, 1UL << 10);
    unsigned int taken = evict(only, wanted, &frames);

    free_frames(&frames);
    /* What tmem_freeable_pages() told includes these. */
    if ( !only && taken < wanted )
        taken += drain_free_frames(wanted - taken);

    return taken;
}

bool tmem_relinquish(unsigned int order, unsigned int memflags)
{
    unsigned long wanted = 1UL << order;
    unsigned int freed;

    if ( !opt_tmem || (memflags & MEMF_tmem) ||
         system_state < SYS_STATE_active )
        return false;

    /*
     * A large extent is asked for in hope, by callers that fall back to
     * smaller ones. Not worth all of the cache when it is only the heap's
     * fragmentation that refuses it.
     */
    if ( order > MAX_SERVED_ORDER && avail_domheap_pages() >= wanted )
        return false;

    freed = drain_free_frames(~0U);
    if ( freed < wanted )
        freed += tmem_flush(NULL, max(wanted - freed, TMEM_REFILL + 0UL));

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
    struct page_info *frame;
    unsigned int nr = 0;

    while ( nr < TMEM_REFILL &&
            (frame = alloc_domheap_pages(NULL, 0, MEMF_tmem | MEMF_no_scrub)) )
    {
        page_list_add_tail(frame, frames);
        nr++;
    }

    return nr;
}

/* Get frames for puts of this client. Called without its lock. */
bool tmem_refill(struct tmem_client *c)
{
    PAGE_LIST_HEAD(frames);
    struct page_info *frame;
    unsigned int nr = take_from_heap(&frames);

    if ( !nr )
    {
        nr = evict(NULL, TMEM_REFILL, &frames);
        /* Only pages of the index may have come free. */
        if ( nr && page_list_empty(&frames) )
            nr = take_from_heap(&frames);
    }

    spin_lock(&c->lock);
    /* A shared pool may have gone meanwhile. */
    while ( !c->dying && c->nr_free < TMEM_MAX_FREE &&
            (frame = page_list_remove_head(&frames)) )
    {
        tmem_keep_frame(c, frame);
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
    }
    spin_unlock(&c->lock);
    free_frames(&frames);

    return nr;
}

bool tmem_charge(struct domain *d)
{
    bool room;

    nrspin_lock(&d->page_alloc_lock);
    room = domain_tot_pages(d) < d->max_pages;
    if ( room && domain_adjust_tot_pages(d, 1) == 1 )
        get_knownalive_domain(d);
    nrspin_unlock(&d->page_alloc_lock);

    return room;
}

void tmem_uncharge(struct domain *d)
{
    bool last;

    nrspin_lock(&d->page_alloc_lock);
    last = !domain_adjust_tot_pages(d, -1);
    nrspin_unlock(&d->page_alloc_lock);
    if ( last )
        put_domain(d);
}

void tmem_give_back(struct tmem_client *c, struct page_info *frame)
{
    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    free_domheap_page(frame);
}

/* Forget a page: the record, the frame, and the domain's charge for it. */
void tmem_drop_page(struct tmem_client *c, struct tmem_page *page)
{
    bool persistent = c->pools[pool_of_key(page->object->key)]->persistent;

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

/* There is one. */
void tmem_drop_oldest(struct tmem_client *c)
{
    tmem_drop_page(c, list_entry(c->lru.next, struct tmem_page, lru));
    c->stats.evicted++;
}

void tmem_drain_free(struct tmem_client *c)
{
    struct page_info *frame;

    while ( (frame = tmem_take_frame(c)) )
    {
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
        free_domheap_page(frame);
    }
}
