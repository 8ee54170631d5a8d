/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What persistent pages take of Xen's memory and what their domain is charged for it, whatever
 * sequence of puts and flushes a guest finds: directed ones, each with a structure of tmem's in
 * view, and random ones. After every step.
 */

#include "cases.h"
#include "records.h"
#include "model.h"

#define ALLOWANCE       300
#define EPHEMERAL       0
#define PERSISTENT      1
/* Roots of an index, and pages of its tables that are only begun. */
#define OF_EVERY_CLIENT 9

static struct domain *d;

static int new_pool(uint32_t flags)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = flags };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static void start(uint64_t seed, bool packs)
{
    random_seed(seed);
    world_start(&(struct world_options){ .frames = 5000, .preempt_percent = 20, .packs = packs });
    d = world_domain(1, 1, 1, ALLOWANCE + 1);
    world_enter(d);
    CHECK(new_pool(EPHEMERAL_POOL) == EPHEMERAL && new_pool(PERSISTENT_POOL) == PERSISTENT, "no pools");
}

static unsigned long charged(void)
{
    return d->tot_pages - 1;
}

/* Frames that nobody can take back. Ephemeral records' buckets go with them: 11 bytes for each at most. */
static long unreclaimable(void)
{
    const struct tmem_client *c = d->tmem;
    long buckets = (c->stats.ephemeral.now + c->slabs[TMEM_SLAB_OBJECTS].nr * TMEM_SLAB_ENTRIES) * 11;

    return heap_frames_of_tmem() - c->nr_free - c->nr_spare - tmem_ephemeral_frames(c) - tmem_dedup_frames() -
           DIV_ROUND_UP(buckets, (long)PAGE_SIZE);
}

static void check_bound(const char *when)
{
    CHECK(unreclaimable() <= (long)charged() * 5 / 4 + OF_EVERY_CLIENT,
          "%s: %ld frames are held for a charge of %lu",
          when, unreclaimable(), charged());
    CHECK(d->tot_pages <= d->max_pages, "%s: more is charged than may be", when);
}

static long page_op(uint32_t cmd, int32_t pool, uint64_t object, uint32_t index)
{
    tmem_op_t op = { .cmd = cmd, .pool_id = pool, .u.gen = { .oid.oid[0] = object, .index = index } };
    long rc;

    world_guest_range(&op, sizeof(op));
    rc = world_op(&op);
    check_bound("an operation");

    return rc;
}

/* The lowest bits say what is in it, the others which of that kind. */
static bool put(int32_t pool, uint64_t object, uint32_t index, uint64_t content)
{
    long rc;

    content_fill(world_frame(d, 0), content);
    rc = page_op(TMEM_PUT_PAGE, pool, object, index);
    CHECK(rc == 1 || (rc == -ENOMEM && pool == PERSISTENT), "put: %ld", rc);

    return rc == 1;
}

static void flush(int32_t pool, uint64_t object, uint32_t index)
{
    CHECK(page_op(TMEM_FLUSH_PAGE, pool, object, index) == 1, "flush");
}

/* Everything that can be had is taken back: what is left is what is charged, and a few pages. */
static void finish(const char *sequence)
{
    unsigned long left;

    while ( tmem_flush(NULL, 1000) )
        ;
    check_system();
    left = heap_frames_of_tmem() - d->tmem->nr_spare;
    CHECK(left <= charged() * 5 / 4 + OF_EVERY_CLIENT, "%s: %lu frames are left for a charge of %lu", sequence,
          left, charged());
    CHECK(!tmem_freeable_pages(), "%s: %lu pages would still come free", sequence, tmem_freeable_pages());
    CHECK(page_op(TMEM_DESTROY_POOL, PERSISTENT, 0, 0) == 1, "the pool is not there");
    CHECK(!charged(), "%s: %lu pages are charged for nothing", sequence, charged());
    world_stop();
}

/* The sequence that was found: records of the other kind fill the slabs, and leave. */
static void records_between_others(uint64_t seed, unsigned int scale)
{
    unsigned int i, nr = 0;
    bool more = true;

    start(seed, true);
    while ( more && nr < 3000 )
    {
        for ( i = 0; i < TMEM_SLAB_ENTRIES - 1; i++ )
            put(EPHEMERAL, 1, nr * 64 + i, CONTENT_ZERO);
        more = put(PERSISTENT, 1, nr++, CONTENT_ZERO);
    }
    CHECK(page_op(TMEM_FLUSH_OBJECT, EPHEMERAL, 1, 0) == 1, "flush object");
    finish("ephemeral records between persistent ones");
}

/* All but every nth of what fits is flushed again: slabs, or frames of chunks, with little left in them. */
static void one_is_left_of(unsigned int stride, uint64_t content, bool own_objects, uint64_t seed, bool packs)
{
    unsigned int nr = 0, i;

    start(seed, packs);
    while ( nr < 5000 && put(PERSISTENT, own_objects ? nr : nr / 3000, nr, content + (nr << 3)) )
        nr++;
    CHECK(nr >= ALLOWANCE / 2, "only %u pages went in", nr);
    for ( i = 0; i < nr; i++ )
        if ( i % stride )
            flush(PERSISTENT, own_objects ? i : i / 3000, i);
    finish("one page is left in each slab");
}

static void few_are_left_of_many(uint64_t seed, unsigned int scale)
{
    static const unsigned int strides[] = { 2, 63 };
    unsigned int i, content;

    for ( i = 0; i < ARRAY_SIZE(strides); i++ )
        for ( content = CONTENT_RANDOM; content <= CONTENT_ZERO; content++ )
        {
            one_is_left_of(strides[i], content, false, seed, true);
            one_is_left_of(strides[i], content, true, seed, true);
        }
    one_is_left_of(63, CONTENT_RANDOM, false, seed, false);
    one_is_left_of(31, CONTENT_RANDOM, true, seed, false);
}

/* Frames pay for records, and then they go, but the records stay. */
static void contents_vanish(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    start(seed, true);
    for ( i = 0; i < ALLOWANCE - 1; i++ )
        CHECK(put(PERSISTENT, i, i, CONTENT_RANDOM | i << 3), "page %u of %u", i, ALLOWANCE);
    for ( i = 0; i < ALLOWANCE - 1; i++ )
        CHECK(put(PERSISTENT, i, i, CONTENT_ZERO), "no memory for a page of zeros over another");
    CHECK(charged() < ALLOWANCE / 8, "%lu pages are charged for %u of zeros", charged(), i);
    finish("contents that vanish");
}

/* Tables that others' records have made large. */
static void tables_shrink(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    start(seed, true);
    for ( i = 0; i < 40000; i++ )
        put(EPHEMERAL, i, i, CONTENT_ZERO);
    for ( i = 0; i < 500; i++ )
        CHECK(put(PERSISTENT, i, i, CONTENT_ZERO), "put");
    for ( i = 0; i < 40000; i++ )
        flush(EPHEMERAL, i, i);
    finish("tables that were large");
}

/* A plain page costs its frame, neither more nor less, be it alone in its object or not. */
static void plain_pages_cost_a_frame_each(uint64_t seed, unsigned int scale)
{
    unsigned int i, own_objects;

    for ( own_objects = 0; own_objects < 2; own_objects++ )
    {
        start(seed, false);
        for ( i = 0; put(PERSISTENT, own_objects ? i : 1, i, i << 3); i++ )
            CHECK(charged() == i + 1, "%lu pages are charged for %u", charged(), i + 1);
        CHECK(i == ALLOWANCE, "%u pages went in where %u may", i, ALLOWANCE);
        while ( i-- )
        {
            flush(PERSISTENT, own_objects ? i : 1, i);
            CHECK(charged() == i, "%lu pages are charged for %u", charged(), i);
        }
        finish("plain pages");
    }
}

static void some_step(unsigned int objects, unsigned int indexes)
{
    int32_t pool = random_below(3) ? PERSISTENT : EPHEMERAL;
    uint64_t object = random_below(objects), content = random_below(4) ? random_64() : CONTENT_ZERO;
    uint32_t index = random_below(indexes), first = index;
    unsigned int stride = 1 + random_below(70), dice = random_below(100);

    if ( dice < 40 )
        put(pool, object, index, content);
    else if ( dice < 60 )
        flush(pool, object, index);
    else if ( dice < 62 )
        CHECK(page_op(TMEM_FLUSH_OBJECT, pool, object, 0) == 1, "flush object");
    else if ( dice < 80 )
        /* Many of a kind, one after the other. */
        for ( ; index < first + stride; index++ )
            put(pool, object, index, content + (index << 3));
    else if ( dice < 97 )
        /* All but every nth. */
        for ( ; index < first + 300; index++ )
            if ( index % stride )
                flush(pool, object, index);
            else
                content++;
    else if ( dice < 98 )
        tmem_flush(NULL, random_below(100));
    else if ( page_op(TMEM_DESTROY_POOL, pool, 0, 0) == 1 )
        CHECK(new_pool(pool == PERSISTENT ? PERSISTENT_POOL : EPHEMERAL_POOL) == pool, "no pool");
}

static void any_sequence(uint64_t seed, unsigned int scale)
{
    static const unsigned int objects[] = { 1, 3, 50, 3000 };
    unsigned int round, i;

    for ( round = 0; round < 2 * ARRAY_SIZE(objects); round++ )
    {
        start(seed + round, round % 2);
        for ( i = 0; i < 100 * scale; i++ )
            some_step(objects[round / 2], round % 3 ? 3000 : 200);
        finish("a random sequence");
    }
}

const struct test_case charge_cases[] = {
    CASE(records_between_others),
    CASE(few_are_left_of_many),
    CASE(contents_vanish),
    CASE(tables_shrink),
    CASE(plain_pages_cost_a_frame_each),
    CASE(any_sequence),
    END_OF_CASES
};
