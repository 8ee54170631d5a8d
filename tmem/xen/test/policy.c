/* SPDX-License-Identifier: GPL-2.0-only */
/* Who gives way: weights, caps, and freezing, where memory is short. */

#include "cases.h"
#include "model.h"

#define GUESTS      4

static struct domain *dom0, *guest[GUESTS];
static unsigned int next[GUESTS];

static long control(uint32_t subop, uint32_t domid, uint32_t nr, uint64_t *value)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION,
                 .domid = domid, .nr = nr, .value = *value },
    };
    long rc;

    world_enter(dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    *value = u.ctl.value;

    return rc;
}

static long set(unsigned int who, unsigned int setting, uint64_t value)
{
    return control(TMEM_CONTROL_SET, who + 1, setting, &value);
}

static unsigned int held(unsigned int who, bool most)
{
    static struct tmem_stats_client clients[GUESTS];
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = TMEM_CONTROL_CLIENTS, .version = TMEM_CONTROL_VERSION,
                 .nr = GUESTS, .buf = (uintptr_t)clients },
    };
    unsigned int i;

    world_enter(dom0);
    world_guest_range(&u, sizeof(u));
    world_guest_range(clients, sizeof(clients));
    CHECK(!world_op(&u.op), "no list of clients");
    for ( i = 0; i < u.ctl.nr; i++ )
        if ( clients[i].domid == who + 1 )
            return most ? clients[i].ephemeral.most : clients[i].ephemeral.now;

    return 0;
}

static void start(uint64_t seed, unsigned int frames)
{
    unsigned int i;

    random_seed(seed);
    world_start(&(struct world_options){ .frames = frames, .preempt_percent = 30 });
    dom0 = world_domain(0, 2, 2, 10);
    for ( i = 0; i < GUESTS; i++ )
    {
        tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL };

        guest[i] = world_domain(i + 1, 2, 2, 10);
        world_enter(guest[i]);
        world_guest_range(&op, sizeof(op));
        CHECK(!world_op(&op), "new pool");
        next[i] = 0;
    }
}

static long op_page(uint32_t cmd, unsigned int who, uint32_t index)
{
    tmem_op_t op = { .cmd = cmd, .u.gen = { .oid.oid[0] = index / 64, .index = index } };

    world_enter(guest[who]);
    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static void put(unsigned int who)
{
    CHECK(op_page(TMEM_PUT_PAGE, who, next[who]++) == 1, "put");
}

static void check_shares(const unsigned int weight[GUESTS])
{
    unsigned int i, pages = 0, weights = 0;

    for ( i = 0; i < GUESTS; i++ )
    {
        pages += held(i, false);
        weights += weight[i];
    }
    for ( i = 0; i < GUESTS; i++ )
    {
        int off = held(i, false) - pages * weight[i] / weights;

        CHECK(off >= -32 && off <= 32, "guest %u of weight %u holds %u of %u pages",
              i, weight[i], held(i, false), pages);
    }
}

/*
 * Whoever began, shares come to be as the weights under equal pressure. With
 * the historical comparison, which was inverted, the lightest takes all.
 */
static void shares_are_as_the_weights(uint64_t seed, unsigned int scale)
{
    static const unsigned int weights[][GUESTS] = {
        { 1, 1, 1, 1 }, { 1, 2, 3, 4 }, { 100, 1000, 10, 90 }, { 65535, 1, 65535, 32768 }, { 5, 0, 0, 5 },
    };
    unsigned int w, i;

    for ( w = 0; w < ARRAY_SIZE(weights); w++ )
    {
        unsigned int began;

        for ( began = 0; began < GUESTS; began++ )
        {
            start(seed, 3000);
            for ( i = 0; i < GUESTS; i++ )
                CHECK(!set(i, TMEM_SET_WEIGHT, weights[w][i]), "weight");
            for ( i = 0; i < 4000; i++ )
                put(began);
            for ( i = 0; i < 6000 * GUESTS; i++ )
                put(i % GUESTS);
            check_shares(weights[w]);
            world_stop();
        }
    }
}

/* Who is over its share gives way, however old the others' pages are. */
static void over_its_share_gives_way(uint64_t seed, unsigned int scale)
{
    unsigned int i, weight;

    for ( weight = 0; weight < 2; weight++ )
    {
        start(seed, 3000);
        for ( i = 0; i < 2; i++ )
            CHECK(!set(i, TMEM_SET_WEIGHT, weight), "weight");
        for ( i = 0; i < 200; i++ )
            put(0);
        for ( i = 0; i < 6000; i++ )
            put(1);
        CHECK(held(0, false) == weight * 200, "holds %u pages", held(0, false));
        for ( i = 0; i < 200; i++ )
            CHECK(op_page(TMEM_GET_PAGE, 0, i) == weight, "page %u", i);
        world_stop();
    }
    /* One without a weight goes before one with. */
    start(seed, 3000);
    CHECK(!set(0, TMEM_SET_WEIGHT, 1), "weight");
    for ( i = 0; i < 1000; i++ )
        put(0);
    for ( i = 0; i < 6000; i++ )
        put(1);
    CHECK(held(0, false) == 1000, "holds %u pages", held(0, false));
    for ( i = 0; i < 6000; i++ )
        put(0);
    CHECK(!held(1, false), "holds %u pages", held(1, false));
    world_stop();
}

static void caps(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    start(seed, 4000);
    CHECK(!set(0, TMEM_SET_CAP, 100), "cap");
    for ( i = 0; i < 1000; i++ )
    {
        put(0);
        put(1);
    }
    CHECK(held(0, true) == 100 && held(0, false) == 100, "%u pages", held(0, true));
    CHECK(held(1, false) == 1000, "%u pages", held(1, false));
    CHECK(op_page(TMEM_GET_PAGE, 0, 899) == 0 && op_page(TMEM_GET_PAGE, 0, 900) == 1, "not the oldest went");
    CHECK(!set(1, TMEM_SET_CAP, 250), "cap");
    CHECK(held(1, false) == 250, "%u pages", held(1, false));
    CHECK(op_page(TMEM_GET_PAGE, 1, 749) == 0 && op_page(TMEM_GET_PAGE, 1, 750) == 1, "not the oldest went");
    CHECK(!set(1, TMEM_SET_CAP, 0), "no cap");
    for ( i = 0; i < 500; i++ )
        put(1);
    CHECK(held(1, false) == 749, "%u pages", held(1, false));

    CHECK(set(0, TMEM_SET_WEIGHT, TMEM_MAX_WEIGHT + 1) == -EINVAL, "weight");
    CHECK(set(0, 0, 1) == -EINVAL && set(0, 99, 1) == -EINVAL, "setting");
    CHECK(set(77, TMEM_SET_CAP, 1) == -ESRCH, "domain");
    CHECK(set(TMEM_CONTROL_ALL_CLIENTS - 1, TMEM_SET_CAP, 1) == -EINVAL, "all");
    world_stop();
}

/* Set before there is a client; what is set dies with the domain. */
static void set_in_advance(uint64_t seed, unsigned int scale)
{
    uint64_t value = 0;
    struct domain *d;

    start(seed, 4000);
    d = world_domain(9, 2, 2, 10);
    CHECK(!control(TMEM_CONTROL_FREEZE, TMEM_CONTROL_ALL_CLIENTS, 0, &value), "freeze");
    CHECK(!set(8, TMEM_SET_CAP, 10), "cap");
    CHECK(control(TMEM_CONTROL_FREEZE, 7, 0, &value) == -ESRCH, "freeze");
    CHECK(op_page(TMEM_PUT_PAGE, 0, 1) == -EFROZEN, "put");
    CHECK(!control(TMEM_CONTROL_THAW, TMEM_CONTROL_ALL_CLIENTS, 0, &value), "thaw");
    CHECK(op_page(TMEM_PUT_PAGE, 0, 1) == 1, "put");
    world_kill_step(d);
    world_kill(d);
    CHECK(set(8, TMEM_SET_CAP, 10) == -ESRCH, "cap");
    value = 100000;
    CHECK(!control(TMEM_CONTROL_FLUSH, TMEM_CONTROL_ALL_CLIENTS, 0, &value) && value, "flush");
    CHECK(!control(TMEM_CONTROL_FREEABLE, 0, 0, &value) && !value, "freeable: %u", (unsigned int)value);
    world_stop();
}

const struct test_case policy_cases[] = {
    CASE(shares_are_as_the_weights),
    CASE(over_its_share_gives_way),
    CASE(caps),
    CASE(set_in_advance),
    END_OF_CASES
};
