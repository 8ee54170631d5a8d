/* SPDX-License-Identifier: GPL-2.0-only */
/* The index at great sizes, and when its pages run out in the middle of growing. */

#include "cases.h"
#include "lookup.h"
#include "model.h"

static struct domain *d;

static void start_with(unsigned long frames, bool packs)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL };

    world_start(&(struct world_options){ .frames = frames, .no_contents = true, .packs = packs });
    d = world_domain(1, 1, 1, 10);
    world_enter(d);
    world_guest_range(&op, sizeof(op));
    CHECK(!world_op(&op), "no pool");
}

static void start(unsigned long frames)
{
    start_with(frames, false);
}

static long page_op(uint32_t cmd, uint64_t object, uint32_t index)
{
    tmem_op_t op = { .cmd = cmd, .u.gen = { .oid.oid[0] = object, .index = index } };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

/* A page in each object, so that both tables grow; past the first middle page of each. */
static void grows_past_a_middle_page_and_shrinks(uint64_t seed, unsigned int scale)
{
    const unsigned int nr = FANOUT * FANOUT * 3 / 2 + FANOUT * FANOUT / 8;
    unsigned int i;

    random_seed(seed);
    start(nr + nr / 8);
    for ( i = 0; i < nr; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, i, i) == 1, "put %u", i);
    CHECK(d->tmem->pages.root[1] && d->tmem->objects.root[1], "the tables did not grow that far");
    check_system();
    for ( i = 0; i < nr; i += 7 )
        CHECK(page_op(TMEM_GET_PAGE, i, i) == 1, "get %u", i);
    CHECK(page_op(TMEM_GET_PAGE, nr, nr) == 0, "a page that was never put");
    check_system();
    for ( i = 0; i < nr; i++ )
        CHECK(page_op(TMEM_FLUSH_PAGE, i, i) == 1, "flush %u", i);
    CHECK(d->tmem->pages.buckets == FANOUT && d->tmem->objects.buckets == FANOUT,
          "empty tables have %u and %u buckets", d->tmem->pages.buckets, d->tmem->objects.buckets);
    check_system();
    world_stop();
}

/* Many pages of few objects, evicted rather than flushed. */
static void grows_and_is_evicted(uint64_t seed, unsigned int scale)
{
    const unsigned int nr = 60000;
    unsigned int i;

    random_seed(seed);
    start(40000);
    for ( i = 0; i < nr; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, i % 3, i) == 1, "put %u", i);
    check_system();
    CHECK(d->tmem->stats.evicted > 10000, "only %lu pages were evicted", (unsigned long)d->tmem->stats.evicted);
    while ( tmem_flush(NULL, 1000) )
        ;
    check_system();
    CHECK(d->tmem->pages.buckets == FANOUT, "an empty table has %u buckets", d->tmem->pages.buckets);
    world_stop();
}

/* Puts a page with only so many index pages at hand, as if others had used the rest. */
static void insert_with(unsigned int spares, uint64_t object, uint32_t index)
{
    struct tmem_client *c = d->tmem;
    tmem_op_t op = { .u.gen = { .oid = { { object, 0, 0 } }, .index = index } };
    struct page_info *frame;
    struct tmem_spot spot;
    void *hidden[TMEM_SPARE_KEPT];
    unsigned int nr_hidden = 0;

    CHECK(tmem_refill(c, false) && tmem_index_reserve(c), "no memory");
    spin_lock(&c->lock);
    while ( c->nr_spare > spares )
        hidden[nr_hidden++] = c->spare[--c->nr_spare];
    frame = tmem_take_frame(c);
    CHECK(!tmem_find_page(c, c->pools[0], &op, &spot), "it is there already");
    if ( !tmem_insert_page(c, c->pools[0], &op, &spot, frame) )
        tmem_release_frame(c, frame);
    while ( nr_hidden && c->nr_spare < TMEM_SPARE_KEPT )
        c->spare[c->nr_spare++] = hidden[--nr_hidden];
    CHECK(!nr_hidden, "more index pages than there were");
    spin_unlock(&c->lock);
}

/*
 * A table that needs a middle page and a segment gets only one page: it has to
 * do without both, and no page may be lost.
 */
static void no_page_for_a_segment(uint64_t seed, unsigned int scale)
{
    const unsigned int edge = FANOUT * FANOUT * 3 / 2;
    const struct tmem_client *c;
    unsigned int i;

    random_seed(seed);
    start(edge + edge / 8);
    c = d->tmem;
    for ( i = 0; i < edge - 10; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, i, i) == 1, "put %u", i);
    CHECK(!c->pages.root[1] && !c->objects.root[1], "the tables have grown too early");
    for ( ; i < edge + 20; i++ )
    {
        insert_with(i % 2, i, i);
        CHECK(!c->pages.root[1] || c->pages.buckets > FANOUT * FANOUT, "a middle page without buckets");
        CHECK(!c->objects.root[1] || c->objects.buckets > FANOUT * FANOUT, "a middle page without buckets");
    }
    check_system();
    while ( tmem_flush(NULL, 1000) )
        ;
    check_system();
    world_stop();
}

/* Up and down, so that buckets are used again that have been given up. */
static void grows_and_shrinks_again_and_again(uint64_t seed, unsigned int scale)
{
    static const unsigned int sizes[] = { 5000, 1200, 6000, 2500, 2600, 300, 9000, 700, 3000, 0, 2000 };
    unsigned int i, round, first = 0, end = 0;

    random_seed(seed);
    start(15000);
    for ( round = 0; round < ARRAY_SIZE(sizes); round++ )
    {
        while ( end - first < sizes[round] )
        {
            CHECK(page_op(TMEM_PUT_PAGE, end, end) == 1, "put %u", end);
            end++;
        }
        while ( end - first > sizes[round] )
        {
            CHECK(page_op(TMEM_FLUSH_PAGE, first, first) == 1, "flush %u", first);
            first++;
        }
        check_system();
        for ( i = first; i < end; i += 50 )
        {
            CHECK(page_op(TMEM_GET_PAGE, i, i) == 1, "get %u of %u to %u", i, first, end);
            CHECK(page_op(TMEM_PUT_PAGE, i, i) == 1, "put %u again", i);
        }
        CHECK(page_op(TMEM_GET_PAGE, end, end) != 1 && (!first || page_op(TMEM_GET_PAGE, first - 1, first - 1) != 1),
              "a page that is not there");
    }
    check_system();
    world_stop();
}

/* Frames at hand, but no index page: a put gets some before it begins. */
static void lack_index_pages(uint64_t seed, bool packs)
{
    unsigned int i, left;

    random_seed(seed);
    start_with(3000, packs);
    for ( left = 0; left < TMEM_SPARE_NEEDED; left++ )
        for ( i = 0; i < 200; i++ )
        {
            struct tmem_client *c = d->tmem;

            CHECK(tmem_refill(c, false), "no frames");
            spin_lock(&c->lock);
            while ( c->nr_spare > left )
            {
                free_xenheap_page(c->spare[--c->nr_spare]);
                tmem_level(c, TMEM_LEVEL_FRAMES, -1);
            }
            spin_unlock(&c->lock);
            CHECK(page_op(TMEM_PUT_PAGE, left * 1000 + i, i) == 1, "put %u with %u index pages", i, left);
        }
    check_system();
    world_stop();
}

static void only_index_pages_lack(uint64_t seed, unsigned int scale)
{
    lack_index_pages(seed, false);
    lack_index_pages(seed, true);
}

const struct test_case index_cases[] = {
    CASE(grows_past_a_middle_page_and_shrinks),
    CASE(grows_and_is_evicted),
    CASE(no_page_for_a_segment),
    CASE(grows_and_shrinks_again_and_again),
    CASE(only_index_pages_lack),
    END_OF_CASES
};
