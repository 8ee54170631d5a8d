/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What evicting gains: pages of zeros, and pages whose content others have, too, hold no frame of
 * their own, and still memory comes back for them, in steps whose length is bounded.
 */

#include "cases.h"
#include "records.h"
#include "model.h"

#define ATTACKER        0
#define NEIGHBOUR       1
/* Pages that go for a frame at most: those in a slab, or those with a piece in a frame. */
#define PAGES_A_FRAME   64
/* Pages that one allocation drops at most, where that yields the one frame which it needs. */
#define PAGES_AT_ONCE   (TMEM_REFILL + 4 * TMEM_BATCH + 2 * PAGES_A_FRAME)

static struct domain *dom0, *guest[2];

static void start(uint64_t seed, unsigned long frames)
{
    unsigned int i;

    random_seed(seed);
    world_start(&(struct world_options){ .frames = frames, .packs = true });
    dom0 = world_domain(0, 1, 1, 10);
    for ( i = 0; i < ARRAY_SIZE(guest); i++ )
    {
        tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL };

        guest[i] = world_domain(i + 1, 1, 1, 10);
        world_enter(guest[i]);
        world_guest_range(&op, sizeof(op));
        CHECK(!world_op(&op), "no pool");
    }
}

static void put(unsigned int who, uint32_t index, uint64_t content)
{
    tmem_op_t op = { .cmd = TMEM_PUT_PAGE, .u.gen = { .oid.oid[0] = index / 1000, .index = index } };

    content_fill(world_frame(guest[who], 0), content);
    world_enter(guest[who]);
    world_guest_range(&op, sizeof(op));
    CHECK(world_op(&op) == 1, "put");
}

/* Each next page is in another slab, so that the oldest of all never empty one. */
static void put_in_strides(unsigned int who, unsigned int nr, uint64_t content)
{
    unsigned int i, first;

    for ( i = 0; i < nr; i++ )
        put(who, i, content);
    for ( first = 0; first < TMEM_SLAB_ENTRIES; first++ )
        for ( i = first; i < nr; i += TMEM_SLAB_ENTRIES )
            put(who, i, content);
}

static void set_weight(unsigned int who, uint64_t weight)
{
    CHECK(!tmem_set(guest[who]->tmem, TMEM_SET_WEIGHT, weight), "weight");
}

static unsigned long evicted(unsigned int who)
{
    return guest[who]->tmem->stats.evicted;
}

/* Takes all of the heap, and then as many frames of tmem's, one by one; gives them back. */
static void allocate_from_tmem(unsigned int nr, const char *what)
{
    static struct page_info *taken[40000];
    unsigned int all = 0, i;

    while ( avail_domheap_pages() )
        CHECK((taken[all++] = alloc_domheap_pages(NULL, 0, MEMF_no_owner)), "the heap has a page");
    for ( i = 0; i < nr; i++ )
    {
        unsigned long before = evicted(ATTACKER) + evicted(NEIGHBOUR), gone;

        CHECK(all < ARRAY_SIZE(taken), "the harness has no room for so many");
        taken[all] = alloc_domheap_pages(NULL, 0, MEMF_no_owner);
        CHECK(taken[all], "%s: no page although %lu would come free", what, tmem_freeable_pages());
        all++;
        gone = evicted(ATTACKER) + evicted(NEIGHBOUR) - before;
        CHECK(gone <= PAGES_AT_ONCE, "%s: %lu pages went for an allocation of one", what, gone);
    }
    while ( all )
        free_domheap_page(taken[--all]);
}

static void one_content(uint64_t seed, uint64_t content, const char *what)
{
    const unsigned int nr = 20000, plain = 1000;
    unsigned long freed, dropped, before, told, sum = 0;
    unsigned int i;

    start(seed, 3000);
    put_in_strides(ATTACKER, nr, content);
    for ( i = 0; i < plain; i++ )
        put(NEIGHBOUR, i, (uint64_t)(i + 1) << 3);
    CHECK(guest[ATTACKER]->tmem->stats.ephemeral.now == nr, "pages went before they had to");

    /* The oldest are the attacker's: each frame costs a slab of them, and the neighbour none. */
    allocate_from_tmem(100, what);
    CHECK(!evicted(NEIGHBOUR), "%s: %lu pages of the neighbour went", what, evicted(NEIGHBOUR));

    /* What would come free does, to the last page, however little the first steps yield. */
    told = tmem_freeable_pages();
    before = avail_domheap_pages();
    do {
        freed = tmem_flush_pages(NULL, 10, &dropped);
        CHECK(dropped <= PAGES_A_FRAME * freed, "%s: %lu pages went for %lu frames", what, dropped, freed);
        sum += freed;
    } while ( freed || dropped );
    CHECK(avail_domheap_pages() - before == sum, "%s: %lu frames were told, %lu are free", what, sum,
          avail_domheap_pages() - before);
    CHECK(sum >= told && sum <= told * 5 / 4 + 16, "%s: %lu frames of %lu that were freeable", what, sum, told);
    CHECK(!tmem_freeable_pages(), "%s: %lu are still freeable", what, tmem_freeable_pages());
    CHECK(!guest[ATTACKER]->tmem->stats.ephemeral.now && !guest[NEIGHBOUR]->tmem->stats.ephemeral.now,
          "%s: pages are left", what);
    check_system();
    world_stop();
}

static void records_give_frames(uint64_t seed, unsigned int scale)
{
    one_content(seed, CONTENT_ZERO, "zeros");
    one_content(seed, 12345ULL << 3 | CONTENT_RANDOM, "copies");
}

/* Shares are of frames: copies are as much as their records take, plain pages as many as they are. */
static void weights_count_frames(uint64_t seed, unsigned int scale)
{
    const unsigned int copies = 20000, slabs = copies / TMEM_SLAB_ENTRIES, plain = 1000;
    unsigned int i;

    start(seed, 3000);
    set_weight(ATTACKER, 1);
    set_weight(NEIGHBOUR, 1);
    for ( i = 0; i < plain; i++ )
        put(NEIGHBOUR, i, (uint64_t)(i + 1) << 3);
    put_in_strides(ATTACKER, copies, 777ULL << 3);
    allocate_from_tmem(plain - slabs - 100, "equal weights");
    CHECK(!evicted(ATTACKER), "%lu copies went though others have more frames", evicted(ATTACKER));
    allocate_from_tmem(500, "equal weights, equal frames");
    CHECK(evicted(ATTACKER) && evicted(NEIGHBOUR) > 300, "%lu copies and %lu plain pages went", evicted(ATTACKER),
          evicted(NEIGHBOUR));
    world_stop();

    /* Contents that nobody else has are frames of who put them. */
    start(seed, 3000);
    set_weight(ATTACKER, 1);
    set_weight(NEIGHBOUR, 1);
    for ( i = 0; i < 400; i++ )
        put(NEIGHBOUR, i, (uint64_t)(i + 1) << 3);
    for ( i = 0; i < 1000; i++ )
        put(ATTACKER, i, (uint64_t)(i + 5000) << 3);
    allocate_from_tmem(500, "shared contents");
    CHECK(!evicted(NEIGHBOUR), "%lu pages went of who has less", evicted(NEIGHBOUR));
    world_stop();
}

const struct test_case gain_cases[] = {
    CASE(records_give_frames),
    CASE(weights_count_frames),
    END_OF_CASES
};
