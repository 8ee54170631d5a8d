/* SPDX-License-Identifier: GPL-2.0-only */
/* What hostile guests, dom0, balloons and death do to the model's world, and all at random. */

#include "model.h"

static uint64_t all_evicted(void)
{
    uint64_t nr = 0;
    unsigned int i;

    for ( i = 0; i < model_now.domains; i++ )
        if ( client_of(&model[i]) )
            nr += client_of(&model[i])->stats.evicted;

    return nr;
}

/* Operations that can't be right in any state. */
void model_hostile(struct model_domain *m)
{
    tmem_op_t op = { .cmd = random_64(), .pool_id = random_64() };
    tmem_control_t *control = (tmem_control_t *)&op;
    int32_t pool = -1;
    long rc;

    switch ( random_below(5) )
    {
    case 0:
        /* Nothing is mapped at the operation's address, or only half of it. */
        world_enter(m->d);
        world_guest_range_only(&op, random_below(sizeof(op)));
        EXPECT(world_op(&op), -EFAULT);
        break;
    case 1:
        op.cmd = random_below(2) ? 3 : 8 + random_below(1000);
        EXPECT(model_call(m, &op), -ENOSYS);
        break;
    case 2:
        op.cmd = 1U << (4 + random_below(28));
        EXPECT(model_call(m, &op), -ENOSYS);
        break;
    case 3:
        /* A guest is no control domain. */
        op.cmd = TMEM_CONTROL;
        control->version = TMEM_CONTROL_VERSION;
        control->subop = random_below(12);
        control->domid = random_below(6);
        EXPECT(model_call(m, &op), -EPERM);
        break;
    default:
        /* A number that no pool can have. */
        op.cmd = 4 + random_below(4);
        op.pool_id = random_below(2) ? TMEM_MAX_POOLS + random_below(100) : -1 - (int)random_below(100);
        rc = model_call(m, &op);
        EXPECT(rc, -ENODEV);
        break;
    }
    model_follow_evictions(NULL);
    model_compare();
}

static long control(uint32_t subop, uint32_t domid, uint64_t *value, uint64_t *dropped)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION, .domid = domid,
                 .value = value ? *value : 0 },
    };
    long rc;

    world_enter(model_dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    if ( value )
        *value = u.ctl.value;
    if ( dropped )
        *dropped = u.ctl.dropped;

    return rc;
}

void model_evict(struct model_domain *only, uint64_t pages)
{
    uint64_t evicted = all_evicted(), value = pages, dropped;
    long rc = control(TMEM_CONTROL_FLUSH, only ? only->d->domain_id : TMEM_CONTROL_ALL_CLIENTS, &value, &dropped);

    CHECK(rc == 0 || (only && !client_of(only) && rc == -ENODEV), "control: flush: %ld", rc);
    if ( rc )
        return;
    /* What it gives are frames: of pages, of the index, or without content. */
    CHECK(value <= pages || all_evicted() > evicted, "%lu pages were given for %lu",
          (unsigned long)value, (unsigned long)pages);
    CHECK(dropped == all_evicted() - evicted, "%lu pages were dropped, %lu are told",
          (unsigned long)(all_evicted() - evicted), (unsigned long)dropped);
    /* A frame for each, or for those in its frame, or in its slab. */
    CHECK(dropped <= 64 * value, "%lu pages went for %lu frames", (unsigned long)dropped, (unsigned long)value);
    model_follow_evictions(NULL);
    model_compare();
}

void model_freeze(struct model_domain *m, bool frozen)
{
    long rc = control(frozen ? TMEM_CONTROL_FREEZE : TMEM_CONTROL_THAW, m->d->domain_id, NULL, NULL);

    CHECK(rc == (client_of(m) ? 0 : -ENODEV), "control: freeze: %ld", rc);
    if ( !rc )
        m->frozen = frozen;
}

void model_set(struct model_domain *m, unsigned int setting, uint64_t value)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = TMEM_CONTROL_SET, .version = TMEM_CONTROL_VERSION,
                 .domid = m->d->domain_id, .nr = setting, .value = value },
    };
    bool bad = setting < TMEM_SET_WEIGHT || setting > TMEM_SET_DEDUP ||
               (setting == TMEM_SET_WEIGHT && value > TMEM_MAX_WEIGHT) ||
               (setting >= TMEM_SET_COMPRESS && value > 1);
    unsigned long faults = fault_hits();
    long rc;

    world_enter(model_dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    if ( rc == -ENOMEM )
        CHECK(!client_of(m) && model_memory_was_short(faults), "no memory to set something");
    else
        CHECK(rc == (bad ? -EINVAL : 0), "setting %u to %lu: %ld", setting, (unsigned long)value, rc);
    if ( !rc && setting >= TMEM_SET_COMPRESS )
        m->packs = true;
    model_follow_evictions(NULL);
    if ( !rc && setting == TMEM_SET_CAP )
        CHECK(!value || m->ephemeral <= value, "%u pages are over the cap of %lu", m->ephemeral,
              (unsigned long)value);
    model_compare();
}

/* The guest's own memory grows or shrinks, which may need tmem's. */
void model_balloon(struct model_domain *m)
{
    unsigned int gfn = GFN_BALLOON + random_below(MODEL_GFNS - GFN_BALLOON);

    if ( world_frame(m->d, gfn) )
    {
        CHECK(world_balloon_out(m->d, gfn), "a page could not be given up");
        m->balloon--;
    }
    else if ( world_balloon_in(m->d, gfn) )
        m->balloon++;
    else
        CHECK(m->d->tot_pages >= m->d->max_pages || !tmem_freeable_pages() ||
              avail_domheap_pages() <= tmem_reserve_pages + heap_claimed() + 64,
              "a guest was refused memory that tmem could give");
    model_follow_evictions(NULL);
    model_compare();
}

static void kill_slowly(struct model_domain *m)
{
    unsigned int nr = m - model;

    m->dying = true;
    while ( world_kill_step(m->d) )
    {
        model_compare();
        /* Others go on, and evict what the dying one still has. */
        if ( random_below(2) )
            model_evict(NULL, random_below(30));
        if ( random_below(2) )
            model_hostile(&model[(nr + 1) % model_now.domains]);
    }
    world_kill(m->d);
    world_rcu_barrier();
}

/* The toolstack sees to it that there is memory for a new domain. */
static void make_room(void)
{
    unsigned int i, gfn;

    heap_claim(0);
    for ( i = 0; i < model_now.domains; i++ )
        for ( gfn = GFN_BALLOON; gfn < MODEL_GFNS; gfn++ )
            if ( !model[i].dying && avail_domheap_pages() < tmem_reserve_pages + 16 &&
                 world_balloon_out(model[i].d, gfn) )
                model[i].balloon--;
}

void model_kill(struct model_domain *m)
{
    kill_slowly(m);
    make_room();
    model_make_domain(m - model);
    model_compare();
}

/* A domain, and how its operations choose their handles: few often, all at times. */
static unsigned int some(unsigned int limit)
{
    return random_below(random_below(4) ? (limit + 7) / 8 : limit);
}

static uint64_t some_frame(void)
{
    static const uint64_t far[] = { MODEL_GFNS, 1ULL << 31, 1ULL << 40, 1ULL << 52, 1ULL << 63, ~0ULL };

    switch ( random_below(16) )
    {
    case 0:
        return GFN_PAGE_TABLE + random_below(GFN_NONE + 1 - GFN_PAGE_TABLE);
    case 1:
        return random_below(4) ? GFN_RAM : far[random_below(ARRAY_SIZE(far))];
    default:
        return GFN_RAM + random_below(8);
    }
}

static int32_t some_pool(const struct model_domain *m)
{
    unsigned int tries, pool;

    for ( tries = 0; tries < 8; tries++ )
    {
        pool = some(TMEM_MAX_POOLS);
        if ( m->pools[pool].exists )
            return pool;
    }

    return random_below(TMEM_MAX_POOLS + 2) - 1;
}

/* Often what somebody else has put, too. */
static uint64_t some_seed(void)
{
    return random_below(3) ? random_64() : random_below(40);
}

static void burst(struct model_domain *m)
{
    unsigned int object = some(MODEL_OBJECTS), index, step = 1 + random_below(2);
    int32_t pool = some_pool(m);

    for ( index = 0; index < MODEL_INDEXES; index += step )
        model_put(m, pool, object, index, GFN_RAM, some_seed());
}

static void some_setting(struct model_domain *m)
{
    static const uint64_t values[] = { 0, 0, 1, 1, 2, 20, 100, TMEM_MAX_WEIGHT, TMEM_MAX_WEIGHT + 1, ~0ULL };

    /* Caps small enough to matter, and none most of the time. */
    if ( random_below(3) == 0 )
        model_set(m, TMEM_SET_CAP, random_below(2) ? 0 : 1 + random_below(60));
    else
        model_set(m, random_below(6), values[random_below(ARRAY_SIZE(values))]);
}

void model_step(void)
{
    static const uint32_t flags[] = { 0, 0, TMEM_POOL_PERSIST, TMEM_POOL_PERSIST, TMEM_POOL_SHARED };
    struct model_domain *m = &model[random_below(model_now.domains)];
    unsigned int dice = random_below(1000);

    if ( dice < 450 )
        model_put(m, some_pool(m), some(MODEL_OBJECTS), some(MODEL_INDEXES), some_frame(), some_seed());
    else if ( dice < 750 )
        model_get(m, some_pool(m), some(MODEL_OBJECTS), some(MODEL_INDEXES), some_frame());
    else if ( dice < 850 )
        model_flush_page(m, some_pool(m), some(MODEL_OBJECTS), some(MODEL_INDEXES));
    else if ( dice < 865 )
        model_flush_object(m, some_pool(m), some(MODEL_OBJECTS));
    else if ( dice < 895 )
        model_new_pool(m, random_below(8) ? EPHEMERAL_POOL | flags[random_below(ARRAY_SIZE(flags))]
                                          : (uint32_t)random_64());
    else if ( dice < 903 )
        model_destroy_pool(m, some_pool(m));
    else if ( dice < 928 )
        burst(m);
    else if ( dice < 950 )
        model_hostile(m);
    else if ( dice < 960 )
        model_evict(random_below(2) ? m : NULL, random_below(4) ? random_below(40) : random_64());
    else if ( dice < 965 )
        model_freeze(m, true);
    else if ( dice < 980 )
        model_freeze(m, false);
    else if ( dice < 996 )
        model_balloon(m);
    else if ( dice < 997 )
        some_setting(m);
    else if ( dice < 998 && !model_now.claims_stay )
        heap_claim(random_below(2) ? 0 : random_below(40));
    else if ( dice < 999 && !model_now.claims_stay )
        model_kill(m);
    else
        model_check();
}
