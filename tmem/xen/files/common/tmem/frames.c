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
#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/rcupdate.h>

#include "records.h"

bool __read_mostly opt_tmem;
boolean_param("tmem", opt_tmem);

unsigned long __read_mostly tmem_reserve_pages;

/* Orders up to this are served by evicting, in the hope that they fit then. */
#define MAX_SERVED_ORDER    3

/*
 * How often one allocation of Xen has pages evicted, twice as many each time up
 * to the most. One that has to have memory of some kind, by its address or its
 * node, need not be helped by whatever is the oldest.
 */
#define ATTEMPTS            16
#define ATTEMPTS_AT_SOME    2
#define MOST_RELINQUISHED   1024

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

/*
 * Drops the oldest pages of a client until they have yielded nr frames, or a
 * batch of them has gone, and up to 63 that have to go with the last.
 */
static void take_oldest(struct tmem_client *c, unsigned int nr,
                        struct tmem_eviction *e)
{
    unsigned int before = e->dropped;
    uint64_t start;

    nr += tmem_gained(e);
    spin_lock(&c->lock);
    start = rdtsc();
    while ( tmem_gained(e) < nr && e->dropped - before < TMEM_BATCH &&
            !list_empty(&c->lru) )
        tmem_evict_oldest(c, e);
    c->stats.evicted += e->dropped - before;
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
static void keep_frames(struct tmem_client *c, struct page_list_head *frames)
{
    struct page_info *frame;

    /* A shared pool may have gone meanwhile. */
    while ( !c->dying && c->nr_free < TMEM_MAX_FREE &&
            (frame = page_list_remove_head(frames)) )
    {
        tmem_keep_frame(c, frame);
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
    }
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
    struct tmem_eviction e = { .frames = &frames };
    uint64_t available, claimed;
    void *page;

    /* So much is claimed, or missing, that a few pages more are of no use? */
    get_outstanding_claims(&available, &claimed);
    e.wants_index = available + TMEM_REFILL <= claimed + tmem_reserve_pages;
    evict(NULL, e.wants_index ? 1 : TMEM_REFILL, 1, &e);

    spin_lock(&c->lock);
    while ( !c->dying && c->nr_spare < TMEM_SPARE_KEPT &&
            (page = next_index_page(&e)) )
    {
        clear_page(page);
        c->spare[c->nr_spare++] = page;
        tmem_level(c, TMEM_LEVEL_FRAMES, 1);
    }
    if ( e.wants_index )
        keep_frames(c, &frames);
    spin_unlock(&c->lock);
    free_evicted(&e);

    return tmem_gained(&e);
}

bool tmem_backs(unsigned long pages)
{
    return opt_tmem && tmem_freeable_pages() >= pages;
}

bool tmem_relinquish(unsigned int order, unsigned int memflags,
                     unsigned int *attempt)
{
    unsigned long wanted = 1UL << order;
    bool at_some = (memflags & MEMF_exact_node) || memflags >> _MEMF_bits;
    PAGE_LIST_HEAD(frames);
    struct tmem_eviction e = { .frames = &frames };
    unsigned int freed, nr;

    if ( !opt_tmem || (memflags & MEMF_tmem) ||
         system_state < SYS_STATE_active ||
         *attempt >= (at_some ? ATTEMPTS_AT_SOME : ATTEMPTS) )
        return false;

    /*
     * A large extent is asked for in hope, by callers that fall back to
     * smaller ones. Not worth all of the cache when it is only the heap's
     * fragmentation that refuses it.
     */
    if ( order > MAX_SERVED_ORDER && avail_domheap_pages() >= wanted )
        return false;

    nr = max(wanted, min(TMEM_REFILL << *attempt, MOST_RELINQUISHED) + 0UL);
    ++*attempt;
    freed = drain_free_frames(NULL, nr);
    if ( freed < nr )
    {
        evict(NULL, nr - freed, min(wanted, TMEM_REFILL + 0UL), &e);
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

/*
 * Whether claims on memory are covered without a few ephemeral pages: what is
 * persistent can't be given to whom the memory has been promised.
 */
static bool claims_can_spare(unsigned int nr)
{
    uint64_t available, claimed;

    get_outstanding_claims(&available, &claimed);

    return !claimed || available + tmem_freeable_pages() >=
                       claimed + tmem_reserve_pages + nr;
}

bool tmem_refill(struct tmem_client *c, bool persistent)
{
    PAGE_LIST_HEAD(frames);
    unsigned int nr = take_from_heap(&frames);

    if ( !nr && (!persistent || claims_can_spare(TMEM_REFILL)) )
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
    keep_frames(c, &frames);
    spin_unlock(&c->lock);
    free_frames(&frames);

    return nr;
}

void tmem_give_back(struct tmem_client *c, struct page_info *frame)
{
    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    free_domheap_page(frame);
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
