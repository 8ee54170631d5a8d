/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the heap promises while guests use tmem: that a claim can be had, and that
 * nobody pays for memory at an address, on a node or in one piece that a guest asks for.
 */

#include "cases.h"
#include "model.h"

#define CALLS           128
#define BY_CHANCE       48              /* pages in a second: heap.c */

static struct domain *d;

static int new_pool(uint32_t flags)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = flags };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static long page_op(uint32_t cmd, int32_t pool, uint32_t index)
{
    tmem_op_t op = { .cmd = cmd, .pool_id = pool, .u.gen = { .oid.oid[0] = index / 64, .index = index } };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static void start(uint64_t seed, const struct world_options *options, unsigned int max_pages)
{
    random_seed(seed);
    world_start(options);
    d = world_domain(1, 2, 2, max_pages);
    world_enter(d);
    CHECK(!new_pool(EPHEMERAL_POOL) && new_pool(PERSISTENT_POOL) == 1, "no pools");
}

static void claim_is_there(unsigned long claim, const char *after)
{
    CHECK(avail_domheap_pages() + tmem_freeable_pages() >= claim, "after %s: %lu and %lu pages for a claim of %lu",
          after, avail_domheap_pages(), tmem_freeable_pages(), claim);
}

/* As a domain's builder does: every page that has been claimed. */
static void take_claim(unsigned long claim)
{
    struct domain *taker = world_domain(99, 0, claim, claim + 1);
    unsigned int i;

    heap_claim_is_of(taker);
    for ( i = 0; i < claim; i++ )
        CHECK(world_balloon_in(taker, i), "of a claim of %lu only %u pages are to be had", claim, i);
    CHECK(!heap_claimed(), "a claim that has been taken is left");
}

/* A frame that has been freed is its client's at once; a persistent page must not take it. */
static void freed_frames_stay_claimed(uint64_t seed, unsigned int scale)
{
    const unsigned int frames = 6000;
    static const uint32_t frees[] = { TMEM_FLUSH_PAGE, TMEM_GET_PAGE };
    unsigned int i, how, taken;
    unsigned long claim;

    for ( how = 0; how < ARRAY_SIZE(frees); how++ )
    {
        start(seed, &(struct world_options){ .frames = frames, .no_contents = true }, frames);
        for ( i = 0; i < frames; i++ )
            CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
        claim = tmem_claimable_pages(avail_domheap_pages(), 0);
        CHECK(claim > frames * 9 / 10, "only %lu pages can be claimed", claim);
        claim -= 100;
        heap_claim(claim);
        for ( i = taken = 0; i < frames; i++ )
        {
            page_op(frees[how], 0, i);
            taken += page_op(TMEM_PUT_PAGE, 1, i) == 1;
            claim_is_there(claim, "a persistent put");
        }
        /* For 100 there was room; and pages of the index came back meanwhile. */
        CHECK(taken >= 100 - 2 * TMEM_SPARE_KEPT && taken <= 100 + frames / 32,
              "%u persistent pages went in", taken);
        check_system();
        take_claim(claim);
        world_stop();
    }
}

/* Whatever guests do, and dom0 sets, with whatever contents. */
static void a_claim_outlasts_everything(uint64_t seed, unsigned int scale)
{
    static const struct { unsigned int frames, max_pages; bool packs; } worlds[] = {
        { 3000, 700, false }, { 1500, 600, true }, { 700, 150, false }, { 500, 120, true },
    };
    unsigned int which, i;
    unsigned long claim;

    for ( which = 0; which < ARRAY_SIZE(worlds); which++ )
    {
        struct model_options options = {
            .frames = worlds[which].frames, .domains = 3, .max_pages = worlds[which].max_pages,
            .preempt_percent = 40, .packs = worlds[which].packs, .claims_stay = true };

        random_seed(seed + which);
        model_start(&options);
        for ( i = 0; i < 1500; i++ )
            model_step();
        claim = tmem_claimable_pages(avail_domheap_pages(), 0);
        claim -= random_below(claim / 8);
        heap_claim(claim);
        for ( i = 0; i < 4000 * scale; i++ )
        {
            model_step();
            claim_is_there(claim, "a step");
        }
        model_check();
        take_claim(claim);
        world_stop();
    }
}

/* Who asks for memory that the heap has, but not there, has nobody's pages dropped for it. */
static void only_elsewhere(unsigned int pages, unsigned int order, unsigned int memflags, const char *what)
{
    uint64_t held = d->tmem->stats.ephemeral.now;
    unsigned int i;

    for ( i = 0; i < CALLS; i++ )
    {
        struct page_info *page = alloc_domheap_pages(memflags & MEMF_no_refcount ? NULL : current->domain, order,
                                                     memflags);

        CHECK(!page, "%s: there was such memory", what);
    }
    CHECK(held - d->tmem->stats.ephemeral.now <= pages, "%s: %lu pages went, of %lu", what,
          (unsigned long)(held - d->tmem->stats.ephemeral.now), (unsigned long)held);
}

#define AT_AN_ADDRESS   MEMF_bits(PAGE_SHIFT + 1)

static uint64_t relinquished(void)
{
    struct tmem_stats_global g = { 0 };

    tmem_frames_stats(&g);

    return g.relinquished;
}

static void guests_have_nobody_evicted_by_chance(uint64_t seed, unsigned int scale)
{
    struct domain *attacker, *small, *dom0;
    unsigned int i, j, k, free_pages;
    uint64_t before;
    s_time_t began;

    /* Plenty is free; the lowest frames are the first domain's, and so do not come free. */
    start(seed, &(struct world_options){ .frames = 8000, .no_contents = true }, 10);
    attacker = world_domain(2, 2, 10, 10);
    for ( i = 0; i < 6000; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
    world_enter(attacker);
    only_elsewhere(0, 0, AT_AN_ADDRESS, "an increase of the reservation, at an address");
    only_elsewhere(0, 0, AT_AN_ADDRESS | MEMF_no_refcount, "an exchange, at an address");
    only_elsewhere(0, 1, AT_AN_ADDRESS, "several pages, at an address");
    world_enter(world_domain(3, 0, 1, 1));
    only_elsewhere(0, 0, MEMF_exact_node | AT_AN_ADDRESS, "on a node");
    small = world_domain(4, 0, 1, 1);
    small->bits = PAGE_SHIFT + 1;
    world_enter(small);
    only_elsewhere(0, 0, 0, "a guest that cannot have high memory");

    /* Where memory is short it may help, but not as often as a guest likes. */
    world_enter(d);
    for ( i = 6000; !d->tmem->stats.evicted; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
    began = NOW();
    before = relinquished();
    for ( j = 0; j < CALLS; j++ )
    {
        world_enter(attacker);
        CHECK(!alloc_domheap_pages(attacker, 0, AT_AN_ADDRESS), "there was such memory");
        /* What it gave back is tmem's again, so that memory is as short as before. */
        world_enter(d);
        for ( k = 0; k < 2 * TMEM_REFILL; k++, i++ )
            CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
    }
    CHECK(relinquished() - before <= BY_CHANCE + (NOW() - began + SECONDS(1)) / (SECONDS(1) / BY_CHANCE),
          "%lu pages were evicted for a guest in %ld ms", (unsigned long)(relinquished() - before),
          (long)((NOW() - began) / 1000000));
    CHECK(relinquished() > before, "a guest is never helped, though memory is short");

    /* Many pages next to each other, of which there are none: every other frame is free. */
    world_enter(d);
    for ( i = free_pages = 0; free_pages < 200; i += 2, free_pages += 1 )
        page_op(TMEM_FLUSH_PAGE, 0, i);
    world_enter(attacker);
    began = NOW();
    before = relinquished();
    for ( i = 0; i < CALLS; i++ )
    {
        struct page_info *page = alloc_domheap_pages(NULL, 3, 0);

        if ( page )
            free_domheap_pages(page, 3);
    }
    CHECK(relinquished() - before <= BY_CHANCE + (NOW() - began + SECONDS(1)) / (SECONDS(1) / BY_CHANCE),
          "%lu pages were evicted for what is next to each other", (unsigned long)(relinquished() - before));

    /* What a guest balloons up by is no matter of chance, and dom0 is trusted. */
    for ( i = 2; i < 8; i++ )
        CHECK(world_balloon_in(attacker, i), "a guest gets no memory for itself");
    dom0 = world_domain(0, 1, 1, 10);
    world_enter(dom0);
    i = d->tmem->stats.evicted;
    CHECK(!alloc_domheap_pages(dom0, 0, AT_AN_ADDRESS), "there was such memory");
    CHECK(d->tmem->stats.evicted - i <= BY_CHANCE, "dom0 pays more than before");
    check_system();
    world_stop();
}

/* What devices may have to have is neither for contents nor for the index. */
static void the_index_leaves_devices_their_memory(uint64_t seed, unsigned int scale)
{
    const unsigned int dma = 1000;
    struct page_info *page;
    unsigned int i, nr = 0;

    start(seed, &(struct world_options){ .frames = 3000, .no_contents = true, .dma_frames = dma }, 10);
    for ( i = 0; i < 20000; i++ )
        page_op(TMEM_PUT_PAGE, 0, i * 64);
    for ( i = 0; i < dma; i++ )
        nr += mfn_to_page(_mfn(i))->use == FRAME_FREE;
    CHECK(nr == dma, "%u of %u frames are left", nr, dma);
    page = alloc_domheap_pages(NULL, 0, MEMF_bits(PAGE_SHIFT + 9));
    CHECK(page, "a device gets no memory");
    free_domheap_page(page);
    check_system();
    world_stop();
}

const struct test_case claim_cases[] = {
    CASE(freed_frames_stay_claimed),
    CASE(a_claim_outlasts_everything),
    CASE(guests_have_nobody_evicted_by_chance),
    CASE(the_index_leaves_devices_their_memory),
    END_OF_CASES
};
