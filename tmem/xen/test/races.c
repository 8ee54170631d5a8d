/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vCPUs of several domains, dom0's control, allocations of Xen's and deaths of
 * domains, all at once. Built with TSAN, every unordered access is a failure.
 */

#include <unistd.h>

#include "cases.h"
#include "model.h"

#define DOMAINS         2
#define VCPUS           2               /* of each */
#define OWN_INDEXES     24
#define VERSIONS        8
#define GFN_OWN(vcpu)   (vcpu)          /* nobody else writes to it */
#define GFN_SHARED      6               /* all write to it, all the time */
#define GFN_FLEETING    7               /* comes and goes */
#define POOL_SHARED     0               /* of all vCPUs; destroyed and made again */
#define POOL_OWN        1               /* persistent; an object for each vCPU */

static struct world_of_races {
    struct domain *d[DOMAINS];
    /* Held for reading while a vCPU of the domain runs. */
    pthread_rwlock_t running[DOMAINS];
    unsigned int incarnation[DOMAINS];
    bool packs;
    uint64_t seed;
    unsigned int rounds;
    unsigned int made, done;            /* rounds of all vCPUs; vCPUs. Atomic */
} world;

struct vcpu_state {
    pthread_t thread;
    unsigned int domain, nr, incarnation;
    int version[OWN_INDEXES];           /* of the page that is in POOL_OWN; -1: none */
};

/* The others go on as long as any vCPU does. */
static bool over(void)
{
    return __atomic_load_n(&world.done, __ATOMIC_RELAXED) == DOMAINS * VCPUS;
}

/* Until the vCPUs have made so many rounds more. */
static void wait_for_rounds(unsigned int rounds)
{
    unsigned int until = __atomic_load_n(&world.made, __ATOMIC_RELAXED) + rounds;

    while ( !over() && (int)(__atomic_load_n(&world.made, __ATOMIC_RELAXED) - until) < 0 )
        usleep(50);
}

static uint64_t seed_of(unsigned int domain, uint64_t object, uint32_t index, unsigned int version)
{
    return ((((uint64_t)domain * 16 + object) * 256 + index) * VERSIONS + version) << 3 | (version & 3);
}

static long op_on(uint32_t cmd, int32_t pool, uint64_t object, uint32_t index, uint64_t gfn)
{
    tmem_op_t op = {
        .cmd = cmd, .pool_id = pool,
        .u.gen = { .oid.oid[1] = object, .index = index, .cmfn = gfn },
    };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

static long new_pool(uint32_t flags)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = flags };

    world_guest_range(&op, sizeof(op));
    return world_op(&op);
}

/* A guest writes to, or reads, a frame only while it has it. */
static struct page_info *hold(struct domain *d, unsigned int gfn)
{
    struct page_info *page;
    p2m_type_t type;

    return check_get_page_from_gfn(d, _gfn(gfn), false, &type, &page) ? NULL : page;
}

static void write_frame(struct domain *d, unsigned int gfn, uint64_t seed)
{
    struct page_info *page = hold(d, gfn);

    if ( !page )
        return;
    content_fill(page, seed);
    put_page(page);
}

/* Is it one of the versions that any vCPU may have put under this handle? */
static bool is_some_version(const struct page_info *page, unsigned int domain, uint64_t object, uint32_t index)
{
    unsigned int version;

    for ( version = 0; version < VERSIONS; version++ )
        if ( content_is(page, seed_of(domain, object, index, version)) )
            return true;

    return false;
}

static void on_own_object(struct vcpu_state *v, struct domain *d)
{
    struct page_info *page = world_frame(d, GFN_OWN(v->nr));
    unsigned int index = random_below(OWN_INDEXES), version = random_below(VERSIONS);
    uint64_t object = 10 + v->nr;
    long rc;

    switch ( random_below(4) )
    {
    case 0:
    case 1:
        content_fill(page, seed_of(v->domain, object, index, version));
        rc = op_on(TMEM_PUT_PAGE, POOL_OWN, object, index, GFN_OWN(v->nr));
        CHECK(rc == 1 || rc == -ENOMEM || rc == -EFROZEN, "put: %ld", rc);
        CHECK(rc != -ENOMEM || v->version[index] < 0 || world.packs, "no memory to replace a page");
        v->version[index] = rc == 1 ? (int)version : -1;
        break;
    case 2:
        rc = op_on(TMEM_GET_PAGE, POOL_OWN, object, index, GFN_OWN(v->nr));
        CHECK(v->version[index] < 0 ? rc == 0 || rc == -EEMPTY : rc == 1,
              "a persistent page that was %sthere: %ld", v->version[index] < 0 ? "not " : "", rc);
        CHECK(rc != 1 || content_is(page, seed_of(v->domain, object, index, v->version[index])),
              "another page than was put");
        break;
    default:
        CHECK(op_on(TMEM_FLUSH_PAGE, POOL_OWN, object, index, 0) == 1, "flush");
        v->version[index] = -1;
        break;
    }
}

static void on_shared_pool(struct vcpu_state *v, struct domain *d)
{
    struct page_info *page = world_frame(d, GFN_OWN(v->nr));
    unsigned int index = random_below(120);
    uint64_t object = random_below(3);
    long rc;

    switch ( random_below(400) )
    {
    case 2 ... 3:
        rc = op_on(TMEM_FLUSH_OBJECT, POOL_SHARED, object, 0, 0);
        CHECK(rc == 1 || rc == -ENODEV, "flush object: %ld", rc);
        break;
    case 0 ... 1:
        rc = op_on(TMEM_DESTROY_POOL, POOL_SHARED, 0, 0, 0);
        CHECK(rc == 0 || rc == 1, "destroy: %ld", rc);
        /* The number may go to a pool of the other kind while a put is under way. */
        rc = new_pool(random_below(4) ? EPHEMERAL_POOL : PERSISTENT_POOL);
        CHECK(rc >= 0 || rc == -ENOMEM || rc == -EPERM, "new pool: %ld", rc);
        if ( rc > 0 )
            op_on(TMEM_DESTROY_POOL, rc == POOL_OWN ? ~0 : rc, 0, 0, 0);
        break;
    case 4 ... 30:
        rc = op_on(TMEM_FLUSH_PAGE, POOL_SHARED, object, index, 0);
        CHECK(rc == 1 || rc == -ENODEV, "flush: %ld", rc);
        break;
    case 31 ... 250:
        content_fill(page, seed_of(v->domain, object, index, random_below(VERSIONS)));
        rc = op_on(TMEM_PUT_PAGE, POOL_SHARED, object, index, GFN_OWN(v->nr));
        CHECK(rc == 1 || rc == -ENOMEM || rc == -EFROZEN || rc == -ENODEV, "put: %ld", rc);
        break;
    default:
        rc = op_on(TMEM_GET_PAGE, POOL_SHARED, object, index, GFN_OWN(v->nr));
        CHECK(rc == 0 || rc == 1 || rc == -EEMPTY || rc == -ENODEV, "get: %ld", rc);
        CHECK(rc != 1 || is_some_version(page, v->domain, object, index), "a page that nobody put there");
        break;
    }
}

/* Frames that others write to, take away and bring back meanwhile. */
static void on_fleeting_frames(struct vcpu_state *v, struct domain *d)
{
    unsigned int gfn = GFN_SHARED + random_below(2);
    uint64_t object = 3;
    long rc;

    switch ( random_below(6) )
    {
    case 0:
        write_frame(d, gfn, seed_of(v->domain, object, 0, random_below(VERSIONS)));
        break;
    case 1:
        world_balloon_out(d, GFN_FLEETING);
        break;
    case 2:
        world_balloon_in(d, GFN_FLEETING);
        break;
    case 3:
        world_set_p2m(d, GFN_SHARED, world_frame(d, GFN_SHARED), random_below(2) ? p2m_ram_rw : p2m_ram_ro);
        break;
    case 4:
        rc = op_on(TMEM_PUT_PAGE, POOL_SHARED, object, random_below(20), gfn);
        CHECK(rc == 1 || rc == -ENOMEM || rc == -EFROZEN || rc == -ENODEV || rc == -EFAULT, "put: %ld", rc);
        break;
    default:
        rc = op_on(TMEM_GET_PAGE, POOL_SHARED, object, random_below(20), gfn);
        CHECK(rc == 0 || rc == 1 || rc == -EEMPTY || rc == -ENODEV || rc == -EFAULT, "get: %ld", rc);
        break;
    }
}

static void make_pools(void)
{
    long rc = new_pool(EPHEMERAL_POOL);

    CHECK(rc == POOL_SHARED, "new pool: %ld", rc);
    rc = new_pool(PERSISTENT_POOL);
    CHECK(rc == POOL_OWN, "new pool: %ld", rc);
}

static void make_domain(unsigned int nr)
{
    struct domain *d = world_domain(nr + 1, 8, 8, 60);

    d->translated = nr % 2;

    world.d[nr] = d;
    world_enter(d);
    make_pools();
    world.incarnation[nr]++;
}

static void *vcpu_thread(void *data)
{
    struct vcpu_state *v = data;
    unsigned int round, i;

    random_seed(world.seed * 100 + v->domain * VCPUS + v->nr);
    for ( round = 0; round < world.rounds; round++ )
    {
        struct domain *d;

        pthread_rwlock_rdlock(&world.running[v->domain]);
        d = world.d[v->domain];
        world_enter(d);
        if ( v->incarnation != world.incarnation[v->domain] )
        {
            v->incarnation = world.incarnation[v->domain];
            for ( i = 0; i < OWN_INDEXES; i++ )
                v->version[i] = -1;
        }
        switch ( random_below(4) )
        {
        case 0:
            on_own_object(v, d);
            break;
        case 1:
            on_fleeting_frames(v, d);
            break;
        default:
            on_shared_pool(v, d);
            break;
        }
        pthread_rwlock_unlock(&world.running[v->domain]);
        __atomic_fetch_add(&world.made, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&world.done, 1, __ATOMIC_RELAXED);

    return NULL;
}

static void control(uint32_t subop, uint32_t domid, uint32_t nr, uint64_t value, void *buf)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION,
                 .domid = domid, .nr = nr, .value = value, .buf = (uintptr_t)buf },
    };
    long rc;

    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    CHECK(rc == 0 || rc == -ENODEV || rc == -ESRCH || rc == -ENOMEM, "control %u: %ld", subop, rc);
}

static void some_setting(uint32_t domid)
{
    switch ( random_below(4) )
    {
    case 0:
        control(TMEM_CONTROL_SET, domid, TMEM_SET_WEIGHT, random_below(3), NULL);
        break;
    case 1:
        control(TMEM_CONTROL_SET, domid, TMEM_SET_CAP, random_below(3) * 30, NULL);
        break;
    default:
        control(TMEM_CONTROL_SET, domid, TMEM_SET_COMPRESS + random_below(2), random_below(4) != 0, NULL);
        break;
    }
}

static void *control_thread(void *data)
{
    struct tmem_stats_global g;
    uint64_t ops = 0;

    random_seed(world.seed * 100 + 90);
    world_enter(model_dom0);
    while ( !over() )
    {
        uint32_t domid = random_below(4) ? 1 + random_below(DOMAINS) : TMEM_CONTROL_ALL_CLIENTS;

        memset(&g, 0, sizeof(g));
        world_guest_range(&g, sizeof(g));
        control(TMEM_CONTROL_GLOBAL, 0, 0, 0, &g);
        CHECK(g.ops >= ops, "the count of operations went from %lu to %lu", (unsigned long)ops,
              (unsigned long)g.ops);
        ops = g.ops;
        control(TMEM_CONTROL_FLUSH, domid, 0, random_below(20), NULL);
        if ( world.packs )
            some_setting(1 + random_below(DOMAINS));
        control(TMEM_CONTROL_FREEABLE, 0, 0, 0, NULL);
        if ( random_below(10) == 0 )
        {
            control(TMEM_CONTROL_FREEZE, domid, 0, 0, NULL);
            wait_for_rounds(20);
            control(TMEM_CONTROL_THAW, domid, 0, 0, NULL);
        }
        wait_for_rounds(200);
    }

    return NULL;
}

/* Xen's own needs: takes memory until tmem has to give some, and returns it. */
static void *allocator_thread(void *data)
{
    struct page_info *taken[400];
    unsigned int nr = 0, wanted;

    random_seed(world.seed * 100 + 91);
    while ( !over() )
    {
        wanted = random_below(ARRAY_SIZE(taken));
        while ( nr < wanted && (taken[nr] = alloc_domheap_pages(NULL, 0, 0)) )
            nr++;
        if ( random_below(3) == 0 )
        {
            struct page_info *pair = alloc_domheap_pages(NULL, 1, 0);

            if ( pair )
                free_domheap_pages(pair, 1);
        }
        wait_for_rounds(100);
        while ( nr > wanted / 2 )
            free_domheap_page(taken[--nr]);
    }
    while ( nr )
        free_domheap_page(taken[--nr]);

    return NULL;
}

static void *killer_thread(void *data)
{
    unsigned int nr;

    random_seed(world.seed * 100 + 92);
    while ( !over() )
    {
        nr = random_below(DOMAINS);
        pthread_rwlock_wrlock(&world.running[nr]);
        world_kill(world.d[nr]);
        make_domain(nr);
        pthread_rwlock_unlock(&world.running[nr]);
        world_rcu_barrier();
        wait_for_rounds(2000);
    }

    return NULL;
}

static void race(uint64_t seed, unsigned int rounds, bool deaths, bool packs)
{
    void *(*const others[])(void *) = { control_thread, allocator_thread, killer_thread };
    struct vcpu_state vcpus[DOMAINS * VCPUS] = { 0 };
    pthread_t threads[ARRAY_SIZE(others)];
    unsigned int i;

    random_seed(seed);
    world = (struct world_of_races){ .seed = seed, .rounds = rounds, .packs = packs };
    world_start(&(struct world_options){ .frames = 560, .preempt_percent = 30, .threads = true,
                                         .packs = packs });
    model_dom0 = world_domain(0, 1, 4, 16);
    for ( i = 0; i < DOMAINS; i++ )
    {
        pthread_rwlock_init(&world.running[i], NULL);
        make_domain(i);
    }
    for ( i = 0; i < ARRAY_SIZE(vcpus); i++ )
    {
        vcpus[i].domain = i / VCPUS;
        vcpus[i].nr = i % VCPUS;
        CHECK(!pthread_create(&vcpus[i].thread, NULL, vcpu_thread, &vcpus[i]), "no thread");
    }
    for ( i = 0; i < 2U + deaths; i++ )
        CHECK(!pthread_create(&threads[i], NULL, others[i], NULL), "no thread");
    for ( i = 0; i < ARRAY_SIZE(vcpus); i++ )
        pthread_join(vcpus[i].thread, NULL);
    for ( i = 0; i < 2U + deaths; i++ )
        pthread_join(threads[i], NULL);
    check_system();
    world_stop();
}

static pthread_barrier_t both;

static void *first_pool_thread(void *data)
{
    unsigned int round;
    long *rc = data;

    for ( round = 0; round < world.rounds; round++ )
    {
        pthread_barrier_wait(&both);
        world_enter(world.d[0]);
        *rc = new_pool(EPHEMERAL_POOL);
        pthread_barrier_wait(&both);
    }

    return NULL;
}

/* Both make the client; one of them has to drop what it made. */
static void two_vcpus_make_the_first_pool(uint64_t seed, unsigned int scale)
{
    pthread_t threads[2];
    unsigned int round, i;
    long rc[2];

    random_seed(seed);
    world = (struct world_of_races){ .seed = seed, .rounds = 2000 * scale };
    world_start(&(struct world_options){ .frames = 300, .threads = true });
    CHECK(!pthread_barrier_init(&both, NULL, 3), "no barrier");
    for ( i = 0; i < 2; i++ )
        CHECK(!pthread_create(&threads[i], NULL, first_pool_thread, &rc[i]), "no thread");
    for ( round = 0; round < world.rounds; round++ )
    {
        world.d[0] = world_domain(1, 1, 1, 10);
        pthread_barrier_wait(&both);
        pthread_barrier_wait(&both);
        CHECK(rc[0] + rc[1] == 1 && rc[0] >= 0 && rc[1] >= 0, "pools %ld and %ld", rc[0], rc[1]);
        check_system();
        world_kill(world.d[0]);
        world_rcu_barrier();
    }
    for ( i = 0; i < 2; i++ )
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&both);
    world_stop();
}

static void vcpus_and_control(uint64_t seed, unsigned int scale)
{
    race(seed, 30000 * scale, false, false);
}

static void vcpus_control_and_deaths(uint64_t seed, unsigned int scale)
{
    race(seed, 30000 * scale, true, false);
}

static void packed_contents_and_settings(uint64_t seed, unsigned int scale)
{
    race(seed, 20000 * scale, true, true);
}

const struct test_case race_cases[] = {
    CASE(two_vcpus_make_the_first_pool),
    CASE(vcpus_and_control),
    CASE(vcpus_control_and_deaths),
    CASE(packed_contents_and_settings),
    END_OF_CASES
};
