/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What befalls a guest and its frames beside operations: a permission that is taken back,
 * a reset, a suspension, memory that fails, a processor without random numbers.
 */

#include "cases.h"
#include "model.h"
#include "packed.h"

#define SHARED_POOL     (EPHEMERAL_POOL | TMEM_POOL_SHARED)

static struct domain *dom0, *d;

static void start(uint64_t seed, const struct world_options *options)
{
    random_seed(seed);
    world_start(options);
    tmem_frames_marked = false;
    dom0 = world_domain(0, 1, 1, 10);
    d = world_domain(1, 4, 4, 500);
    world_enter(d);
}

static long call(tmem_op_t op)
{
    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static long new_pool(uint32_t flags, uint64_t uuid)
{
    return call((tmem_op_t){ .cmd = TMEM_NEW_POOL, .u.creat = { .uuid = { uuid, ~uuid }, .flags = flags } });
}

static long page_op(uint32_t cmd, int32_t pool, uint32_t index)
{
    return call((tmem_op_t){ .cmd = cmd, .pool_id = pool, .u.gen = { .oid.oid[0] = index / 64, .index = index } });
}

static long drained(int32_t pool, bool is)
{
    return call((tmem_op_t){ .cmd = TMEM_DRAINED, .pool_id = pool, .u.gen.index = is });
}

static void authorise(uint64_t uuid, bool may)
{
    CHECK(!tmem_shared_authorise(tmem_client_get(d), (uint64_t[2]){ uuid, ~uuid }, may), "authorising");
}

/* --- permissions ---------------------------------------------------------- */

static void take_back(void)
{
    authorise(7, false);
}

/*
 * Between looking whether the guest may join and joining memory is allocated, and no lock
 * is held: there the control domain takes the permission back.
 */
static void a_revocation_in_between_holds(uint64_t seed, unsigned int scale)
{
    struct domain *other;

    start(seed, &(struct world_options){ .frames = 2000 });
    authorise(7, true);
    other = d;
    CHECK(new_pool(SHARED_POOL, 7) == 0, "the first sharer");
    CHECK(page_op(TMEM_PUT_PAGE, 0, 1) == 1, "put");
    d = world_domain(2, 4, 4, 500);
    authorise(7, true);
    world_enter(d);
    CHECK(new_pool(EPHEMERAL_POOL, 0) == 0, "a pool");
    /* Its first allocation is for the pool itself. */
    world_before_xmalloc(2, take_back);
    CHECK(new_pool(SHARED_POOL, 7) == 1, "a pool");
    CHECK(!d->tmem->nr_authorised, "nobody took the permission back meanwhile");
    CHECK(!d->tmem->pools[1]->shared && d->tmem->pools[1]->own, "joined without a permission");
    CHECK(page_op(TMEM_GET_PAGE, 1, 1) == -EEMPTY, "another's page");
    CHECK(other->tmem->pools[0]->shared, "the first sharer has left");
    check_system();
    world_stop();
}

/* --- resets and suspensions ----------------------------------------------- */

/* A guest that begins anew in the same domain finds nothing of before, and owes nothing. */
static void a_soft_reset_leaves_nothing(uint64_t seed, unsigned int scale)
{
    unsigned int i, before, steps = 0;
    int rc;

    start(seed, &(struct world_options){ .frames = 2000, .preempt_percent = 60, .packs = true });
    CHECK(!tmem_domain_reset(d), "a guest without pools");
    authorise(7, true);
    before = d->tot_pages;
    for ( i = 0; i < 3; i++ )
        CHECK(new_pool(i ? i > 1 ? SHARED_POOL : PERSISTENT_POOL : EPHEMERAL_POOL, 7) == i, "pool %u", i);
    for ( i = 0; i < 900; i++ )
    {
        content_fill(world_frame(d, 0), i << 3 | i % 3);
        page_op(TMEM_PUT_PAGE, i % 3, i);
    }
    CHECK(d->tot_pages > before, "nothing is charged");
    while ( (rc = tmem_domain_reset(d)) == -ERESTART )
        steps++;
    CHECK(!rc && steps, "reset: %d, in %u steps", rc, steps);
    CHECK(d->tot_pages == before, "%u pages are charged to it", d->tot_pages - before);
    CHECK(!d->tmem->stats.nr_pools && page_op(TMEM_GET_PAGE, 0, 0) == -ENODEV, "a pool is left");
    CHECK(new_pool(PERSISTENT_POOL, 0) == 0 && page_op(TMEM_PUT_PAGE, 0, 0) == 1, "the next kernel cannot use tmem");
    check_system();
    world_stop();
}

/* What only tmem has would be lost when a guest goes on elsewhere. */
static void who_has_pages_is_not_suspended(uint64_t seed, unsigned int scale)
{
    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(tmem_may_suspend(d), "refused without a pool");
    CHECK(drained(0, true) == -ENODEV, "no pool is drained");
    CHECK(!new_pool(EPHEMERAL_POOL, 0) && new_pool(PERSISTENT_POOL, 0) == 1 && new_pool(PERSISTENT_POOL, 0) == 2,
          "pools");
    CHECK(page_op(TMEM_PUT_PAGE, 0, 1) == 1 && tmem_may_suspend(d), "refused for a cache");
    CHECK(page_op(TMEM_PUT_PAGE, 1, 1) == 1 && !tmem_may_suspend(d), "a page would be lost");
    CHECK(page_op(TMEM_GET_PAGE, 1, 1) == 1 && !tmem_may_suspend(d), "a page that was read stays the only copy");
    CHECK(drained(1, true) == 1 && tmem_may_suspend(d), "refused although there are copies");
    CHECK(page_op(TMEM_PUT_PAGE, 2, 1) == 1 && !tmem_may_suspend(d), "a page of another pool would be lost");
    CHECK(page_op(TMEM_FLUSH_PAGE, 2, 1) == 1 && tmem_may_suspend(d), "refused for nothing");
    CHECK(page_op(TMEM_PUT_PAGE, 1, 2) == 1 && !tmem_may_suspend(d), "there is no copy of a new page");
    CHECK(drained(1, true) == 1 && page_op(TMEM_PUT_PAGE, 1, 1) == 1 && !tmem_may_suspend(d),
          "there is no copy of a new content");
    CHECK(drained(1, true) == 1 && drained(1, false) == 1 && !tmem_may_suspend(d), "the copies are gone");
    CHECK(call((tmem_op_t){ .cmd = TMEM_DESTROY_POOL, .pool_id = 1 }) == 1 && tmem_may_suspend(d), "refused for nothing");
    world_stop();
}

/* --- memory that fails ---------------------------------------------------- */

static const struct tmem_page *page_of(int32_t pool, uint32_t index)
{
    const struct tmem_object *obj;
    const struct tmem_page *page;

    list_for_each_entry ( obj, &d->tmem->pools[pool]->objects, siblings )
        hlist_for_each_entry_shim ( page, struct tmem_page, &obj->pages, siblings )
            if ( page->index == index )
                return page;
    FAIL("page %u is not there", index);
}

static struct page_info *content_of(int32_t pool, uint32_t index)
{
    return page_of(pool, index)->frame;
}

static bool in_chunk(const struct tmem_page *page)
{
    return tmem_is_packed(page) && is_chunk(kind_of(page));
}

/* Of a chunk in two pieces: where the other one is. */
static struct page_info *second_frame_of(const struct tmem_page *page)
{
    struct page_info *second = NULL;
    const struct piece *piece;

    if ( !in_chunk(page) )
        return NULL;
    piece = map_piece(frame_of(page), unit_of(page));
    if ( piece->more )
        second = mfn_to_page(_mfn(piece->next_mfn));
    unmap_domain_page(piece);

    return second;
}

static void marked_frames_leave(uint64_t seed, unsigned int scale)
{
    unsigned int i, marked = 0;
    struct page_info *frame;

    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(!new_pool(EPHEMERAL_POOL, 0) && new_pool(PERSISTENT_POOL, 0) == 1, "pools");
    for ( i = 0; i < 40; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, i % 2, i) == 1, "put");

    /* With contents that can still be read, until these go. */
    heap_mark(content_of(0, 0), false);
    heap_mark(content_of(1, 1), false);
    CHECK(page_op(TMEM_GET_PAGE, 0, 0) == 1 && heap_offlined() == ++marked, "a page that was got kept its frame");
    CHECK(page_op(TMEM_GET_PAGE, 1, 1) == 1 && page_op(TMEM_FLUSH_PAGE, 1, 1) == 1 && heap_offlined() == ++marked,
          "a page that was flushed kept its frame");

    /* Nothing new goes there. */
    for ( i = 2; i < 4; i++ )
    {
        frame = content_of(i % 2, i);
        heap_mark(frame, false);
        CHECK(page_op(TMEM_PUT_PAGE, i % 2, i) == 1 && heap_offlined() == ++marked && content_of(i % 2, i) != frame,
              "a page was written to a frame that is to go");
    }

    /* What can't be read is not: a cache misses, and who swapped is told. */
    heap_mark(content_of(0, 4), true);
    heap_mark(content_of(1, 5), true);
    CHECK(page_op(TMEM_GET_PAGE, 0, 4) == 0 && heap_offlined() == ++marked, "a broken frame was read");
    CHECK(page_op(TMEM_GET_PAGE, 1, 5) == -EFAULT && page_op(TMEM_FLUSH_PAGE, 1, 5) == 1 &&
          heap_offlined() == ++marked, "a broken frame was read");

    /* Nor are frames taken that wait for a content. */
    for ( i = 50; i < 54; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
    for ( i = 50; i < 54; i++ )
        CHECK(page_op(TMEM_FLUSH_PAGE, 0, i) == 1, "flush");
    CHECK(d->tmem->nr_free > 2, "no frames at hand");
    for ( i = 0, frame = d->tmem->free; frame; frame = frame->next, i++ )
        heap_mark(frame, i % 2);
    marked += i;
    for ( i = 100; i < 120; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, i % 2, i) == 1, "put");
    CHECK(heap_offlined() == marked, "%lu of %u marked frames have left", heap_offlined(), marked);
    check_system();
    world_stop();
}

/* A frame with gaps gets no more chunks, and leaves with the last that it has. */
static void marked_frames_get_no_chunks(uint64_t seed, unsigned int scale)
{
    const struct tmem_store *store;
    unsigned int i;

    start(seed, &(struct world_options){ .frames = 2000, .packs = true });
    CHECK(!new_pool(PERSISTENT_POOL, 0), "pool");
    store = &d->tmem->store[true];
    for ( i = 0; i < 8; i++ )
    {
        content_fill(world_frame(d, 0), (i + 1) << 3 | CONTENT_ZERO_TAIL);
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
        if ( !i )
        {
            CHECK(store->nr_frames == 1, "a page with a tail of zeros is no chunk");
            heap_mark(frame_of(page_of(0, 0)), false);
        }
        else
            CHECK(frame_of(page_of(0, i)) != frame_of(page_of(0, 0)), "a chunk went to a frame that is to go");
    }
    CHECK(store->nr_frames == 2, "%lu frames for chunks that fit in one", store->nr_frames - 1);
    CHECK(page_op(TMEM_GET_PAGE, 0, 0) == 1 && page_op(TMEM_FLUSH_PAGE, 0, 0) == 1 && heap_offlined() == 1,
          "a frame without chunks is kept");
    check_system();
    world_stop();
}

/* Of lengths in no order. */
static uint64_t content_nr(unsigned int i)
{
    return (uint64_t)(i * 2654435761U >> 12) << 3 | CONTENT_ZERO_TAIL;
}

/*
 * Chunks of all sizes, while frames are marked that they would fit into: each goes
 * somewhere else, whole or in two pieces, and all is there afterwards.
 */
static void chunks_of_all_sizes_pass_marked_frames_by(uint64_t seed, unsigned int scale)
{
    enum { NR = 600 };
    const struct tmem_store *store;
    const struct tmem_page *page;
    unsigned int i, split = 0;

    start(seed, &(struct world_options){ .frames = 4000, .packs = true });
    CHECK(!new_pool(PERSISTENT_POOL, 0), "pool");
    store = &d->tmem->store[true];
    for ( i = 0; i < NR; i++ )
    {
        unsigned long frames = store->nr_frames;

        content_fill(world_frame(d, 0), content_nr(i));
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
        CHECK(store->nr_frames <= frames + 1, "a chunk took %lu frames", store->nr_frames - frames);
        page = page_of(0, random_below(i + 1));
        if ( i % 4 == 3 && in_chunk(page) )
            heap_mark(frame_of(page), false);
        split += !!second_frame_of(page_of(0, i));
    }
    CHECK(split > NR / 50, "%u chunks are in two pieces", split);
    check_system();
    for ( i = 0; i < NR; i++ )
    {
        content_fill(world_frame(d, 0), 0);
        CHECK(page_op(TMEM_GET_PAGE, 0, i) == 1 && content_is(world_frame(d, 0), content_nr(i)),
              "page %u is another", i);
    }
    world_kill(d);
    world_stop();
}

/* Of a chunk in two pieces either frame may be the one that fails. */
static void no_piece_is_read_of_a_broken_frame(uint64_t seed, unsigned int scale)
{
    unsigned int i, seen = 0;

    start(seed, &(struct world_options){ .frames = 4000, .packs = true });
    tmem_client_get(d)->dedup = false;  /* or ephemeral pages would be no chunks */
    CHECK(!new_pool(EPHEMERAL_POOL, 0) && new_pool(PERSISTENT_POOL, 0) == 1, "pools");
    for ( i = 0; i < 400; i++ )
    {
        content_fill(world_frame(d, 0), content_nr(i));
        CHECK(page_op(TMEM_PUT_PAGE, i % 2, i) == 1, "put");
    }
    for ( i = 0; i < 400 && seen < 2; i++ )
    {
        const struct tmem_page *page = page_of(i % 2, i);
        struct page_info *second = second_frame_of(page);

        if ( !second || seen != i % 2 || tmem_is_marked(frame_of(page)) || tmem_is_marked(second) )
            continue;
        seen++;
        CHECK(!tmem_must_leave(page) && !tmem_is_lost(page), "its frames are sound");
        heap_mark(second, false);
        CHECK(tmem_must_leave(page) && !tmem_is_lost(page), "its second frame can be read, and is to go");
        heap_mark(second, true);
        CHECK(tmem_is_lost(page), "a broken frame would be read");
        CHECK(page_op(TMEM_GET_PAGE, i % 2, i) == (i % 2 ? -EFAULT : 0), "a broken frame was read");
    }
    CHECK(seen == 2, "%u of both kinds are in two pieces", seen);
    check_system();
    world_kill(d);
    world_stop();
}

/* Nobody shares a frame that is to go: its content would be read, and it would stay. */
static void marked_contents_are_not_shared(uint64_t seed, unsigned int scale)
{
    struct page_info *first = NULL;
    unsigned int i;

    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(!tmem_dedup_enable(), "no table");
    tmem_client_get(d)->dedup = true;
    CHECK(!new_pool(EPHEMERAL_POOL, 0), "pool");
    for ( i = 0; i < 4; i++ )
    {
        content_fill(world_frame(d, 0), 77 << 3 | CONTENT_RANDOM);
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
        CHECK(kind_of(page_of(0, i)) == TMEM_SHARED, "it is not shared");
        if ( i == 1 )
        {
            first = frame_of(page_of(0, 0));
            CHECK(frame_of(page_of(0, 1)) == first, "equal contents are there twice");
            heap_mark(first, true);
        }
    }
    CHECK(frame_of(page_of(0, 2)) != first, "a marked frame has one more who shares it");
    CHECK(frame_of(page_of(0, 3)) == frame_of(page_of(0, 2)), "the new one is not shared");
    check_system();
    world_kill(d);
    world_stop();
}

/* The index's, and evicted ones that were to be another client's. */
static void marked_frames_leave_from_everywhere(uint64_t seed, unsigned int scale)
{
    struct domain *other;
    unsigned int i, marked;

    start(seed, &(struct world_options){ .frames = 600 });
    CHECK(!new_pool(EPHEMERAL_POOL, 0), "pool");
    for ( i = 0; !d->tmem->stats.evicted; i++ )
        CHECK(page_op(TMEM_PUT_PAGE, 0, i) == 1, "put");
    for ( i = marked = 0; i < 600; i++ )
    {
        struct page_info *frame = mfn_to_page(_mfn(i));

        if ( frame->use != FRAME_FREE && !frame->owner && i % 3 == 0 )
        {
            heap_mark(frame, i % 2);
            marked++;
        }
    }
    other = world_domain(2, 2, 2, 10);
    world_enter(other);
    CHECK(!new_pool(EPHEMERAL_POOL, 0), "pool");
    for ( i = 0; i < 3000; i++ )
        page_op(TMEM_PUT_PAGE, 0, i);
    check_system();
    world_kill(d);
    world_kill(other);
    CHECK(heap_offlined() == marked, "%lu of %u marked frames have left", heap_offlined(), marked);
    world_stop();
}

/* --- random numbers ------------------------------------------------------- */

/* Where get_random() always says the same, secrets differ, in half of their bits. */
static void secrets_need_no_generator(uint64_t seed, unsigned int scale)
{
    enum { NR = 64 };
    uint64_t drawn[NR];
    unsigned int i, j, bits = 0;

    start(seed, &(struct world_options){ .frames = 2000 });
    world_random_is_poor = true;
    for ( i = 0; i < NR; i++ )
        drawn[i] = tmem_random();
    for ( i = 0; i < NR; i++ )
        for ( j = 0; j < i; j++ )
        {
            unsigned int differ = __builtin_popcountll(drawn[i] ^ drawn[j]);

            CHECK(differ >= 8, "secrets %u and %u are alike", i, j);
            bits += differ;
        }
    CHECK(bits > NR * (NR - 1) / 2 * 31 && bits < NR * (NR - 1) / 2 * 33, "%u bits differ", bits);
    CHECK(!new_pool(EPHEMERAL_POOL, 0) && new_pool(EPHEMERAL_POOL, 0) == 1, "pools");
    for ( i = 0; i < ARRAY_SIZE(d->tmem->secret); i++ )
        for ( j = 0; j < i; j++ )
            CHECK(d->tmem->secret[i] != d->tmem->secret[j], "secrets of a client are alike");
    CHECK(d->tmem->pools[0]->secret != d->tmem->pools[1]->secret, "secrets of pools are alike");
    world_stop();
}

const struct test_case guest_cases[] = {
    CASE(a_revocation_in_between_holds),
    CASE(a_soft_reset_leaves_nothing),
    CASE(who_has_pages_is_not_suspended),
    CASE(marked_frames_leave),
    CASE(marked_frames_get_no_chunks),
    CASE(chunks_of_all_sizes_pass_marked_frames_by),
    CASE(no_piece_is_read_of_a_broken_frame),
    CASE(marked_contents_are_not_shared),
    CASE(marked_frames_leave_from_everywhere),
    CASE(secrets_need_no_generator),
    END_OF_CASES
};
