/* SPDX-License-Identifier: GPL-2.0-only */
/* Statistics and control, as dom0 sees them. */

#include <stdlib.h>

#include "cases.h"
#include "records.h"
#include "model.h"

static long control(uint32_t subop, uint32_t domid, void *buf, uint32_t *nr)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION, .domid = domid,
                 .nr = nr ? *nr : 0, .buf = (uintptr_t)buf },
    };
    long rc;

    world_enter(model_dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    if ( nr )
        *nr = u.ctl.nr;

    return rc;
}

static struct tmem_stats_global global(void)
{
    struct tmem_stats_global g;

    world_guest_range(&g, sizeof(g));
    CHECK(!control(TMEM_CONTROL_GLOBAL, 0, &g, NULL), "no global statistics");

    return g;
}

static void busy_world(uint64_t seed)
{
    unsigned int i, j;

    random_seed(seed);
    model_start(&(struct model_options){
        .frames = 4000, .domains = 3, .max_pages = 300, .preempt_percent = 30 });
    for ( i = 0; i < 3; i++ )
    {
        model_new_pool(&model[i], EPHEMERAL_POOL);
        model_new_pool(&model[i], PERSISTENT_POOL);
        for ( j = 0; j < 200; j++ )
            model_put(&model[i], j % 2, j % MODEL_OBJECTS, j / 2 % MODEL_INDEXES, GFN_RAM, j << 3);
    }
}

/* The system's figures are the sums of the clients', alive and dead. */
static void sums_are_exact(uint64_t seed, unsigned int scale)
{
    struct tmem_stats_client clients[3];
    struct tmem_stats_pool pools[TMEM_MAX_POOLS];
    struct tmem_stats_global before, g;
    uint32_t nr = ARRAY_SIZE(clients);
    uint64_t frames = 0, pages = 0;
    unsigned int i;

    busy_world(seed);
    before = global();
    world_guest_range(clients, sizeof(clients));
    CHECK(!control(TMEM_CONTROL_CLIENTS, 0, clients, &nr) && nr == 3, "%u clients", nr);
    for ( i = 0; i < nr; i++ )
    {
        uint32_t nr_pools = TMEM_MAX_POOLS;

        frames += clients[i].frames.now;
        pages += clients[i].ephemeral.now + clients[i].persistent.now;
        CHECK(clients[i].nr_pools == 2, "client %u has %lu pools", i, (unsigned long)clients[i].nr_pools);
        world_guest_range(pools, sizeof(pools));
        CHECK(!control(TMEM_CONTROL_POOLS, clients[i].domid, pools, &nr_pools) && nr_pools == 2,
              "%u pools", nr_pools);
        CHECK(pools[0].puts + pools[1].puts == 200, "puts of client %u", i);
    }
    CHECK(frames == before.frames.now && frames == heap_frames_of_tmem(), "frames: %lu, %lu, %lu",
          (unsigned long)frames, (unsigned long)before.frames.now, heap_frames_of_tmem());
    CHECK(pages == before.ephemeral.now + before.persistent.now, "pages");
    CHECK(pages == before.descriptors.now, "descriptors");

    /* Room for fewer than there are: told how many, and not written beyond. */
    nr = 1;
    memset(clients, 0xee, sizeof(clients));
    world_guest_range(clients, sizeof(clients));
    CHECK(!control(TMEM_CONTROL_CLIENTS, 0, clients, &nr) && nr == 3, "%u clients", nr);
    CHECK(clients[1].domid == 0xeeeeeeeeeeeeeeeeULL, "more records than there is room for");
    /* No room where the records should go. */
    nr = 3;
    CHECK(control(TMEM_CONTROL_CLIENTS, 0, (void *)16, &nr) == -EFAULT, "records to nowhere");
    CHECK(control(TMEM_CONTROL_POOLS, 77, pools, &nr) == -ESRCH, "a domain that is not there");
    CHECK(control(99, 1, NULL, NULL) == -EINVAL, "an unknown request");

    model_kill(&model[1]);
    g = global();
    CHECK(g.ops >= before.ops && g.ephemeral_puts == before.ephemeral_puts, "a dead client's counts are lost");
    CHECK(g.frames.now == heap_frames_of_tmem(), "a dead client's frames are counted");
    CHECK(g.frames.most + 3 * TMEM_LEVEL_STEP >= before.frames.now, "the most is less than has been");
    model_stop();
}

static void kill_second(void)
{
    while ( world_kill_step(model[1].d) )
        ;
    model[1].dying = true;
}

/*
 * A domain dies after the dead clients' counts were read and before its own are:
 * they must be in the sum, and once.
 */
static void a_client_retires_while_it_is_counted(uint64_t seed, unsigned int scale)
{
    struct tmem_stats_global before, g;

    busy_world(seed);
    before = global();
    world_before_rcu = kill_second;
    g = global();
    CHECK(model[1].dying, "nobody died meanwhile");
    CHECK(g.ops == before.ops && g.ephemeral_puts == before.ephemeral_puts,
          "%lu operations were made, %lu are counted", (unsigned long)before.ops, (unsigned long)g.ops);
    CHECK(global().ops == before.ops, "a dead client is counted otherwise");
    model_stop();
}

/* An equal hash is not an equal content: nobody has found two such pages, so one is made up. */
static void equal_hashes_are_not_shared(uint64_t seed, unsigned int scale)
{
    static uint64_t page[PAGE_SIZE / sizeof(uint64_t)];
    unsigned int i;

    random_seed(seed);
    model_start(&(struct model_options){ .frames = 500, .domains = 1, .max_pages = 100, .packs = true });
    model_new_pool(&model[0], EPHEMERAL_POOL);
    model_put(&model[0], 0, 0, 0, GFN_RAM, seed << 3);
    for ( i = 0; i < ARRAY_SIZE(page); i++ )
        page[i] = content_word(world_frame(model[0].d, GFN_RAM), i);
    for ( i = 0; i < ARRAY_SIZE(page); i++ )
    {
        uint32_t hash = tmem_dedup_hash(page);

        page[i] ^= 1ULL << i % 64;
        CHECK(!tmem_dedup_find(hash, page), "a page that differs in word %u is shared", i);
        page[i] ^= 1ULL << i % 64;
    }
    model_stop();
}

static void lose_index_pages(void)
{
    struct tmem_client *c = client_of(&model[0]);

    while ( c->nr_spare )
    {
        free_xenheap_page(c->spare[--c->nr_spare]);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    }
}

/* What can't be missing is: the put is refused, all is as it was, and it is told. */
static void a_broken_bound_is_a_refusal(uint64_t seed, unsigned int scale)
{
    unsigned int kind, i;

    for ( kind = 0; kind < 2; kind++ )
    {
        tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = kind ? PERSISTENT_POOL : EPHEMERAL_POOL };
        unsigned int nr = TMEM_SLAB_ENTRIES - kind, charged;
        struct tmem_client *c;
        uint64_t told;

        random_seed(seed);
        model_start(&(struct model_options){ .frames = 500, .domains = 1, .max_pages = 100 });
        world_enter(model[0].d);
        world_guest_range(&op, sizeof(op));
        CHECK(!world_op(&op), "no pool");
        c = client_of(&model[0]);
        told = global().broken_bounds;
        world_enter(model[0].d);
        op = (tmem_op_t){ .cmd = TMEM_PUT_PAGE, .u.gen.cmfn = GFN_RAM };
        /* The first slab is full: of ephemeral pages, or of persistent ones and their object. */
        for ( i = 0; i < nr; i++, op.u.gen.index++ )
            CHECK(world_op(&op) == 1, "put %u", i);
        charged = model[0].d->tot_pages;
        world_before_map = lose_index_pages;
        CHECK(world_op(&op) == -ENOMEM, "a put without a page for its record");
        CHECK(model[0].d->tot_pages == charged, "it is charged");
        CHECK(global().broken_bounds == told + 1, "nobody is told");
        world_enter(model[0].d);
        CHECK(world_op(&op) == 1 && c->pages.entries == nr + 1, "the next put");
        op.cmd = TMEM_FLUSH_OBJECT;
        CHECK(world_op(&op) == 1 && !c->pages.entries, "flush");
        op.cmd = TMEM_DESTROY_POOL;
        CHECK(world_op(&op) == 1, "destroy");
        model_stop();
    }
}

/* Whom XSM denies tmem makes no pool, and so nothing else; command 0 is nobody's. */
static void who_may(uint64_t seed, unsigned int scale)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL };
    XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop = { &op };

    random_seed(seed);
    model_start(&(struct model_options){ .frames = 500, .domains = 2, .max_pages = 100 });
    world_denied = model[0].d;
    world_enter(model[0].d);
    world_guest_range(&op, sizeof(op));
    CHECK(world_op(&op) == -EACCES && !model[0].d->tmem, "a pool for whom it is denied");
    world_enter(model[1].d);
    CHECK(!world_op(&op), "no pool for another");
    op.cmd = 0;
    CHECK(do_tmem_op(uop) == -ENOSYS, "command 0 of a guest");
    world_enter(model_dom0);
    CHECK(do_tmem_op(uop) == -ENOSYS, "command 0 of dom0");
    world_denied = NULL;
    world_kill(model[1].d);
    model[1].dying = true;
    model_stop();
}

/* Nothing answers unless the command line says so. */
static void off_is_off(uint64_t seed, unsigned int scale)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL };
    unsigned int attempt = 0;

    random_seed(seed);
    model_start(&(struct model_options){ .frames = 500, .domains = 1, .max_pages = 100 });
    opt_tmem = false;
    world_enter(model[0].d);
    world_guest_range(&op, sizeof(op));
    CHECK(world_op(&op) == -ENODEV, "a pool");
    CHECK(control(TMEM_CONTROL_GLOBAL, 0, NULL, NULL) == -ENODEV, "statistics");
    CHECK(!tmem_freeable_pages() && !tmem_relinquish(0, 0, &attempt), "pages");
    opt_tmem = true;
    model_stop();
}

const struct test_case control_cases[] = {
    CASE(sums_are_exact),
    CASE(a_client_retires_while_it_is_counted),
    CASE(equal_hashes_are_not_shared),
    CASE(a_broken_bound_is_a_refusal),
    CASE(who_may),
    CASE(off_is_off),
    END_OF_CASES
};
