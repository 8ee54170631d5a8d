/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared pools: domains that join, use, leave and die at the same time. Every
 * domain has a client of its own to hold; a pool's pages are seen by all.
 */

#include <stdlib.h>
#include <unistd.h>

#include "cases.h"
#include "model.h"

#define SHARERS         3
#define VCPUS           2
#define UUIDS           2
#define INDEXES         40
#define OBJECTS         3
#define SHARED_POOL     (EPHEMERAL_POOL | TMEM_POOL_SHARED)

static struct domain *dom0, *sharer[SHARERS];
static pthread_rwlock_t running[SHARERS];
static unsigned int rounds, done;

static long op_on(uint32_t cmd, int32_t pool, uint64_t object, uint32_t index, uint64_t gfn)
{
    tmem_op_t op = {
        .cmd = cmd, .pool_id = pool,
        .u.gen = { .oid.oid[1] = object, .index = index, .cmfn = gfn },
    };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static long join(uint32_t flags, uint64_t uuid)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat = { .uuid = { uuid, ~uuid }, .flags = flags } };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static long control(uint32_t subop, uint32_t domid, uint32_t nr, uint64_t buf, uint64_t value)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION,
                 .domid = domid, .nr = nr, .buf = buf, .value = value },
    };
    long rc;

    world_enter(dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);

    return rc ?: u.ctl.nr;
}

static void let_in(unsigned int nr)
{
    unsigned int uuid;

    for ( uuid = 1; uuid <= UUIDS; uuid++ )
        CHECK(control(TMEM_CONTROL_SHARED_AUTH, nr + 1, 1, uuid, ~(uint64_t)uuid) >= 0, "not let in");
}

static void start(uint64_t seed, unsigned int frames, unsigned int percent, bool threads)
{
    unsigned int i;

    random_seed(seed);
    world_start(&(struct world_options){
        .frames = frames, .preempt_percent = percent, .threads = threads });
    dom0 = world_domain(0, 4, 4, 100);
    for ( i = 0; i < SHARERS; i++ )
    {
        sharer[i] = world_domain(i + 1, 4, 4, 60);
        let_in(i);
    }
}

static uint64_t seed_of(uint64_t uuid, uint64_t object, uint32_t index, unsigned int version)
{
    return (((uuid * 16 + object) * 256 + index) * 4 + version) << 3 | CONTENT_RANDOM;
}

static long put(int pool, uint64_t object, uint32_t index, uint64_t seed, unsigned int gfn)
{
    content_fill(world_frame(current->domain, gfn), seed);
    return op_on(TMEM_PUT_PAGE, pool, object, index, gfn);
}

static long get(int pool, uint64_t object, uint32_t index, uint64_t seed)
{
    long rc = op_on(TMEM_GET_PAGE, pool, object, index, 1);

    CHECK(rc != 1 || content_is(world_frame(current->domain, 1), seed), "another page than was put");
    return rc;
}

/* What one does, the other sees; the pool lasts as long as its sharers. */
static void sharing(uint64_t seed, unsigned int scale)
{
    struct tmem_stats_shared stats[TMEM_MAX_SHARED];
    unsigned int i;
    int a, b, c;

    start(seed, 4000, 50, false);
    world_enter(sharer[0]);
    CHECK(join(SHARED_POOL | TMEM_POOL_PERSIST, 1) == -EPERM, "shared and persistent");
    CHECK(join(EPHEMERAL_POOL, 0) == 0, "private");
    a = join(SHARED_POOL, 1);
    world_enter(sharer[1]);
    b = join(SHARED_POOL, 1);
    CHECK(a == 1 && b == 0, "pools %d %d", a, b);
    CHECK(get(b, 1, 1, 0) == -EEMPTY, "fresh");
    for ( i = 0; i < 600; i++ )
        CHECK(put(b, 1, i, i << 3, 0) == 1, "put %u", i);
    world_enter(sharer[0]);
    for ( i = 0; i < 600; i++ )
        CHECK(get(a, 1, i, i << 3) == 1 && get(a, 1, i, i << 3) == 1, "page %u", i);
    CHECK(op_on(TMEM_FLUSH_PAGE, a, 1, 7, 0) == 1, "flush");
    world_enter(sharer[2]);
    c = join(SHARED_POOL, 3);
    CHECK(c >= 0 && get(c, 1, 8, 0) == -EEMPTY, "a stranger's is private");
    world_enter(sharer[1]);
    CHECK(get(b, 1, 7, 0) == 0, "flushed by the other");
    CHECK(op_on(TMEM_DESTROY_POOL, b, 0, 0, 0) == 1, "leave");
    CHECK(get(b, 1, 8, 0) == -ENODEV, "left");
    world_enter(dom0);
    world_guest_range(stats, sizeof(stats));
    CHECK(control(TMEM_CONTROL_SHARED_POOLS, 0, TMEM_MAX_SHARED, (uintptr_t)stats, 0) == 1, "shared pools");
    CHECK(stats[0].sharers == 1 && stats[0].pool.pages.now == 599, "%u sharers",
          (unsigned int)stats[0].sharers);
    world_kill(sharer[0]);
    CHECK(control(TMEM_CONTROL_SHARED_POOLS, 0, 0, 0, 0) == 0, "gone with its last sharer");
    world_rcu_barrier();
    world_stop();
}

/* 17 are too many, and one that is left makes place. */
static void sixteen(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    start(seed, 4000, 0, false);
    CHECK(control(TMEM_CONTROL_SHARED_AUTH, 2, 2, 1, 1) == -EINVAL, "perhaps");
    for ( i = 10; i < 10 + TMEM_MAX_SHARED - UUIDS; i++ )
        CHECK(control(TMEM_CONTROL_SHARED_AUTH, 1, 1, i, ~(uint64_t)i) >= 0, "let in");
    CHECK(control(TMEM_CONTROL_SHARED_AUTH, 1, 1, 99, 99) == -ENOSPC, "17 UUIDs");
    CHECK(control(TMEM_CONTROL_SHARED_AUTH, 1, 0, 99, 99) == -ENOENT, "was not let in");
    world_enter(sharer[0]);
    for ( i = 10; i < 10 + TMEM_MAX_SHARED - UUIDS; i++ )
        CHECK(join(SHARED_POOL, i) == i - 10, "pool %u", i);
    CHECK(join(SHARED_POOL, 1) == 14, "15th");
    world_enter(sharer[1]);
    CHECK(join(SHARED_POOL, 2) == 0, "16th");
    CHECK(join(SHARED_POOL, 1) == 1, "another sharer");
    CHECK(control(TMEM_CONTROL_SHARED_AUTH, 2, 1, 50, ~50UL) >= 0, "let in");
    world_enter(sharer[1]);
    CHECK(join(SHARED_POOL, 50) == -EPERM, "17th");
    world_enter(sharer[0]);
    CHECK(op_on(TMEM_DESTROY_POOL, 3, 0, 0, 0) == 1, "leave");
    world_enter(sharer[1]);
    CHECK(join(SHARED_POOL, 50) == 2, "in its place");
    world_stop();
}

/* Any allocation on the way to a shared pool may fail. */
static void joining_without_memory(uint64_t seed, unsigned int scale)
{
    unsigned int n;
    long rc;

    for ( n = 1; n < 40; n++ )
    {
        start(seed, 4000, 0, false);
        world_enter(sharer[0]);
        fault_at(n, false);
        rc = join(SHARED_POOL, 1);
        CHECK(rc == 0 || rc == -ENOMEM, "join: %ld", rc);
        fault_at(n, true);
        world_enter(sharer[1]);
        rc = join(SHARED_POOL, 1);
        CHECK(rc == 0 || rc == -ENOMEM, "join: %ld", rc);
        fault_none();
        world_stop();
    }
}

struct vcpu_state {
    pthread_t thread;
    unsigned int nr;
    uint64_t seed;
};

static void *vcpu_thread(void *data)
{
    struct vcpu_state *v = data;
    unsigned int who = v->nr / VCPUS, gfn = v->nr % VCPUS, round;
    int pool[UUIDS] = { 0, 1 };

    random_seed(v->seed * 100 + v->nr);
    for ( round = 0; round < rounds; round++ )
    {
        unsigned int which = random_below(UUIDS), index = random_below(INDEXES);
        uint64_t object = random_below(OBJECTS), uuid = which + 1;
        long rc;

        pthread_rwlock_rdlock(&running[who]);
        world_enter(sharer[who]);
        switch ( random_below(100) )
        {
        case 0 ... 4:
            rc = op_on(TMEM_DESTROY_POOL, pool[which], 0, 0, 0);
            CHECK(rc == 0 || rc == 1, "leave: %ld", rc);
            break;
        case 5 ... 12:
            rc = join(random_below(8) ? SHARED_POOL : EPHEMERAL_POOL, uuid);
            CHECK(rc >= 0 || rc == -EPERM || rc == -ENOMEM, "join: %ld", rc);
            if ( rc >= UUIDS )
                op_on(TMEM_DESTROY_POOL, rc, 0, 0, 0);
            break;
        case 13 ... 50:
            /* Which pool has that number now nobody knows: content tells of neither. */
            content_fill(world_frame(sharer[who], gfn), seed_of(0, object, index, random_below(4)));
            rc = op_on(TMEM_PUT_PAGE, pool[which], object, index, gfn);
            CHECK(rc == 1 || rc == -ENOMEM || rc == -EFROZEN || rc == -ENODEV, "put: %ld", rc);
            break;
        case 51 ... 54:
            rc = op_on(TMEM_FLUSH_OBJECT, pool[which], object, 0, 0);
            CHECK(rc == 1 || rc == -ENODEV, "flush object: %ld", rc);
            break;
        case 55 ... 60:
            rc = op_on(TMEM_FLUSH_PAGE, pool[which], object, index, 0);
            CHECK(rc == 1 || rc == -ENODEV, "flush: %ld", rc);
            break;
        default:
            rc = op_on(TMEM_GET_PAGE, pool[which], object, index, gfn);
            CHECK(rc == 0 || rc == 1 || rc == -EEMPTY || rc == -ENODEV, "get: %ld", rc);
            if ( rc == 1 )
            {
                unsigned int version;

                for ( version = 0; version < 4; version++ )
                    if ( content_is(world_frame(sharer[who], gfn), seed_of(0, object, index, version)) )
                        break;
                CHECK(version < 4, "a page that nobody put there");
            }
            break;
        }
        pthread_rwlock_unlock(&running[who]);
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);

    return NULL;
}

static bool over(void)
{
    return __atomic_load_n(&done, __ATOMIC_RELAXED) == SHARERS * VCPUS;
}

/* The control domain, and whoever needs memory. */
static void *control_thread(void *data)
{
    static struct tmem_stats_shared stats[TMEM_MAX_SHARED];
    static struct tmem_stats_pool pools[TMEM_MAX_POOLS];
    static struct tmem_stats_global g;
    uint64_t seed = *(uint64_t *)data;

    random_seed(seed + 1000);
    while ( !over() )
    {
        unsigned int who = random_below(SHARERS) + 1;

        world_enter(dom0);
        switch ( random_below(12) )
        {
        case 0:
            world_guest_range(stats, sizeof(stats));
            CHECK(control(TMEM_CONTROL_SHARED_POOLS, 0, TMEM_MAX_SHARED, (uintptr_t)stats, 0) <= TMEM_MAX_SHARED,
                  "more shared pools than there may be");
            break;
        case 1:
            world_guest_range(pools, sizeof(pools));
            control(TMEM_CONTROL_POOLS, who, TMEM_MAX_POOLS, (uintptr_t)pools, 0);
            break;
        case 2:
            world_guest_range(&g, sizeof(g));
            control(TMEM_CONTROL_GLOBAL, 0, 0, (uintptr_t)&g, 0);
            break;
        case 3:
            control(TMEM_CONTROL_FREEZE, random_below(2) ? who : TMEM_CONTROL_ALL_CLIENTS, 0, 0, 0);
            break;
        case 4 ... 5:
            control(TMEM_CONTROL_THAW, who, 0, 0, 0);
            control(TMEM_CONTROL_THAW, TMEM_CONTROL_ALL_CLIENTS, 0, 0, 0);
            break;
        case 6:
            control(TMEM_CONTROL_SET, who, TMEM_SET_WEIGHT, 0, random_below(4));
            break;
        case 7:
            control(TMEM_CONTROL_SET, who, TMEM_SET_CAP, 0, random_below(3) ? random_below(100) : 0);
            break;
        case 8:
            control(TMEM_CONTROL_FLUSH, TMEM_CONTROL_ALL_CLIENTS, 0, 0, random_below(200));
            break;
        case 9:
            control(TMEM_CONTROL_FREEABLE, 0, 0, 0, 0);
            break;
        case 10:
            let_in(who - 1);
            break;
        case 11:
            if ( random_below(10) )
                break;
            /* A sharer dies with its pools, and one of its number comes. */
            pthread_rwlock_wrlock(&running[who - 1]);
            world_kill(sharer[who - 1]);
            sharer[who - 1] = world_domain(who, 4, 4, 60);
            let_in(who - 1);
            pthread_rwlock_unlock(&running[who - 1]);
            break;
        }
        world_rcu_barrier();
        usleep(200);
    }

    return NULL;
}

static void sharers_at_once(uint64_t seed, unsigned int scale)
{
    struct vcpu_state v[SHARERS * VCPUS];
    pthread_t controller;
    unsigned int i;

    start(seed, 700, 10, true);
    for ( i = 0; i < SHARERS; i++ )
        pthread_rwlock_init(&running[i], NULL);
    rounds = 4000 * scale;
    done = 0;
    pthread_create(&controller, NULL, control_thread, &seed);
    for ( i = 0; i < SHARERS * VCPUS; i++ )
    {
        v[i] = (struct vcpu_state){ .nr = i, .seed = seed };
        pthread_create(&v[i].thread, NULL, vcpu_thread, &v[i]);
    }
    for ( i = 0; i < SHARERS * VCPUS; i++ )
        pthread_join(v[i].thread, NULL);
    pthread_join(controller, NULL);
    control(TMEM_CONTROL_THAW, TMEM_CONTROL_ALL_CLIENTS, 0, 0, 0);
    world_stop();
}

/* A pool's slot is not to be had again and again by who does not go on with its destruction. */
static void leaving_half_way(uint64_t seed, unsigned int scale)
{
    tmem_op_t op = { .cmd = TMEM_DESTROY_POOL };
    XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop = { &op };
    unsigned int i;

    start(seed, 4000, 100, false);
    world_enter(sharer[0]);
    CHECK(join(SHARED_POOL, 1) == 0, "joining");
    for ( i = 0; i < 3 * TMEM_BATCH; i++ )
        CHECK(put(0, 1, i, seed_of(1, 1, i, 0), 0) == 1, "put");
    world_guest_range(&op, sizeof(op));
    /* One step, and no continuation. */
    CHECK(do_tmem_op(uop) == -ERESTART, "the pool was destroyed in one step");
    for ( i = 0; i < TMEM_MAX_SHARED; i++ )
        CHECK(join(SHARED_POOL, 1) == -EPERM, "joined again although it is still leaving");
    CHECK(join(SHARED_POOL, 2) == 1, "another pool");
    world_guest_range(&op, sizeof(op));
    CHECK(world_op(&op) == 1, "the rest of the destruction");
    CHECK(join(SHARED_POOL, 1) == 0, "joining after that");
    world_stop();
}

const struct test_case shared_cases[] = {
    CASE(leaving_half_way),
    CASE(sharing),
    CASE(sixteen),
    CASE(joining_without_memory),
    CASE(sharers_at_once),
    END_OF_CASES
};
