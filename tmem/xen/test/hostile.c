/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest may choose so that others pay for it: names, allowances, allocations. */

#include "cases.h"
#include "lookup.h"
#include "model.h"

static struct domain *d;

static int new_pool(uint32_t flags)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = flags };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static void start(uint64_t seed, unsigned long frames, unsigned int max_pages, bool packs)
{
    random_seed(seed);
    world_start(&(struct world_options){ .frames = frames, .no_contents = !packs, .packs = packs });
    d = world_domain(1, 1, 1, max_pages);
    world_enter(d);
    CHECK(!new_pool(EPHEMERAL_POOL) && new_pool(PERSISTENT_POOL) == 1, "no pools");
}

static long put(int32_t pool, xen_tmem_oid_t oid, uint32_t index)
{
    tmem_op_t op = { .cmd = TMEM_PUT_PAGE, .pool_id = pool, .u.gen = { .oid = oid, .index = index } };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static unsigned int longest_chain(const struct tmem_table *t)
{
    unsigned int nr, longest = 0;

    for ( nr = 0; nr < t->buckets; nr++ )
    {
        void **entry = chain_of(*bucket_at(t, nr));
        unsigned int length = 0;

        for ( ; entry; entry = *entry )
            length++;
        longest = max(longest, length);
    }

    return longest;
}

/* Chance alone makes chains of about 8 among so many; 64 and more is what was possible. */
#define LONG_CHAIN  20

static void check_chains(const char *of)
{
    unsigned int objects = longest_chain(&d->tmem->objects), pages = longest_chain(&d->tmem->pages);

    CHECK(objects < LONG_CHAIN && pages < LONG_CHAIN, "%s: chains of %u objects and %u pages", of, objects, pages);
}

/* Names whose differences would cancel each other out in weaker hashes, whatever the seed. */
static void chosen_names_do_not_meet(uint64_t seed, unsigned int scale)
{
    const unsigned int bits = 6, nr = 1U << bits;
    unsigned int x, y;

    start(seed, 40000, 10, false);
    for ( x = 0; x < nr; x++ )
        for ( y = 0; y < nr; y++ )
        {
            uint64_t high = (uint64_t)y << (64 - bits);

            CHECK(put(0, (xen_tmem_oid_t){ { (uint64_t)x << (64 - bits), high | high >> 32, 0 } }, 0) == 1, "put");
        }
    check_chains("top bits of two words");
    for ( x = 0; x < nr * nr; x++ )
        CHECK(put(0, (xen_tmem_oid_t){ { 1, (uint64_t)x << 52, (uint64_t)x << 20 } }, x << 20) == 1, "put");
    check_chains("sparse words");
    for ( x = 0; x < nr * nr; x++ )
        CHECK(put(0, (xen_tmem_oid_t){ { 2, 2, 2 } }, x << 20 | x >> 12) == 1, "put");
    check_chains("indices of one object");
    for ( x = 0; x < nr * nr; x++ )
        CHECK(put(0, (xen_tmem_oid_t){ { x * 0x100000001ULL, -(uint64_t)x, x } }, -x) == 1, "put");
    check_chains("halves that are alike");
    check_system();
    world_stop();
}

/*
 * Memory at an address that nobody can give back: few pages go for it, and the
 * allocation comes to an end, whatever other vCPUs put meanwhile.
 */
static void memory_at_an_address_costs_little(uint64_t seed, unsigned int scale)
{
    const unsigned int nr = 6000, tries = 20;
    struct page_info *low;
    unsigned int i;

    start(seed, 8000, 10, false);
    for ( i = 0; i < nr; i++ )
        CHECK(put(0, (xen_tmem_oid_t){ { i } }, i) == 1, "put");
    /* The lowest frames are a guest's or the index's, and so do not come free. */
    for ( i = 0; i < tries; i++ )
    {
        low = alloc_domheap_pages(NULL, 0, MEMF_bits(PAGE_SHIFT + 1));
        if ( low )
            free_domheap_page(low);
    }
    CHECK(d->tmem->stats.ephemeral.now >= nr - tries * 3 * TMEM_REFILL,
          "only %lu pages of %u are left", (unsigned long)d->tmem->stats.ephemeral.now, nr);
    check_system();
    world_stop();
}

/* What has been promised to a new domain stays to be had while others put persistent pages. */
static void a_claim_is_kept(uint64_t seed, unsigned int scale)
{
    const unsigned int frames = 6000, claim = 4000;
    unsigned int i;
    void *page;

    start(seed, frames, frames, false);
    for ( i = 0; i < frames; i++ )
        CHECK(put(0, (xen_tmem_oid_t){ { i } }, i) == 1, "put");
    heap_claim(claim);
    for ( i = 0; i < frames; i++ )
        if ( put(1, (xen_tmem_oid_t){ { i } }, i) != 1 )
            break;
    CHECK(i > 100 && i < frames - claim, "%u persistent pages went in", i);
    CHECK(avail_domheap_pages() + tmem_freeable_pages() >= claim, "%lu and %lu pages for a claim of %u",
          avail_domheap_pages(), tmem_freeable_pages(), claim);
    /* Xen's own allocations need not wait until all that is claimed is free. */
    page = alloc_xenheap_page();
    CHECK(page, "nothing left for Xen");
    CHECK(d->tmem->stats.ephemeral.now > claim / 2, "a page for Xen cost all of the cache");
    free_xenheap_page(page);
    heap_claim(0);
    check_system();
    world_stop();
}

/* A guest pays for what its persistent pages take, although there is nothing in them. */
static void records_are_paid_for(uint64_t seed, unsigned int scale)
{
    const unsigned int allowance = 200;
    unsigned int i;

    start(seed, 8000, allowance, true);
    content_fill(world_frame(d, 0), CONTENT_ZERO);
    for ( i = 0; put(1, (xen_tmem_oid_t){ { i } }, i) == 1; i++ )
        ;
    CHECK(i > allowance, "only %u pages of zeros went in", i);
    CHECK(heap_frames_of_tmem() < allowance * 5 / 4 + 2 * TMEM_SPARE_KEPT,
          "%lu frames for an allowance of %u", heap_frames_of_tmem(), allowance);
    check_system();
    world_stop();
}

const struct test_case hostile_cases[] = {
    CASE(chosen_names_do_not_meet),
    CASE(memory_at_an_address_costs_little),
    CASE(a_claim_is_kept),
    CASE(records_are_paid_for),
    END_OF_CASES
};
