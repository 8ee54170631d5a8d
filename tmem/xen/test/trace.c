/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A trace tells all that guests ask, in order, and what it has lost; it costs no memory while there
 * is none, and nobody waits for its reader.
 */

#include <unistd.h>

#include "cases.h"
#include "model.h"

#define ROOM        TMEM_TRACE_LEAST
#define MANY        256
#define SHARED_UUID 7

static struct domain *dom0, *d;
static struct tmem_trace_record told[MANY];
static unsigned int nr_told;
static uint64_t next_number, lost;

static long control(uint32_t subop, uint32_t domid, uint32_t *nr, uint64_t *value, uint64_t *dropped, void *buf)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION, .domid = domid,
                 .nr = nr ? *nr : 0, .value = value ? *value : 0, .buf = (uintptr_t)buf },
    };
    long rc;

    world_enter(dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    if ( nr )
        *nr = u.ctl.nr;
    if ( value )
        *value = u.ctl.value;
    if ( dropped )
        *dropped = u.ctl.dropped;

    return rc;
}

static long trace(uint32_t subop, uint32_t room)
{
    return control(subop, 0, &room, NULL, NULL, NULL);
}

static long read_some(struct tmem_trace_record *to, uint32_t *nr, uint64_t *from, uint64_t *gone)
{
    world_guest_range(to, *nr * sizeof(*to));

    return control(TMEM_CONTROL_TRACE_READ, 0, nr, from, gone, to);
}

/* What has been told since the last look. */
static void look(void)
{
    nr_told = MANY;
    CHECK(!read_some(told, &nr_told, &next_number, &lost), "no trace");
}

static void start(uint64_t seed, const struct world_options *options)
{
    random_seed(seed);
    world_start(options);
    dom0 = world_domain(0, 1, 1, 10);
    d = world_domain(1, 4, 4, 500);
    world_enter(d);
    next_number = 0;
}

static long call(struct domain *who, tmem_op_t op)
{
    world_enter(who);
    world_guest_range(&op, sizeof(op));

    return world_op(&op);
}

static long new_pool(struct domain *who, uint32_t flags)
{
    return call(who, (tmem_op_t){ .cmd = TMEM_NEW_POOL,
                                  .u.creat = { .uuid = { SHARED_UUID, ~SHARED_UUID }, .flags = flags } });
}

static long page_op(struct domain *who, uint32_t cmd, int32_t pool, uint64_t object, uint32_t index)
{
    return call(who, (tmem_op_t){ .cmd = cmd, .pool_id = pool,
                                  .u.gen = { .oid.oid[0] = object, .index = index } });
}

static void is(unsigned int nr, unsigned int kind, domid_t domid, unsigned int pool, uint32_t index)
{
    const struct tmem_trace_record *r = &told[nr];

    CHECK(nr < nr_told, "record %u is missing", nr);
    CHECK(r->kind == kind && r->domid == domid && (r->object & (TMEM_MAX_POOLS - 1)) == pool && r->index == index,
          "record %u: kind %u of domain %u, pool %u, index %u", nr, r->kind, r->domid,
          (unsigned int)r->object & (TMEM_MAX_POOLS - 1), r->index);
    CHECK(!r->pad && r->number == (uint32_t)(next_number - nr_told + nr), "record %u: number %u", nr, r->number);
}

/* Each operation with its outcome, in order, under names that only tell equal from unequal. */
static void what_is_done_is_told(uint64_t seed, unsigned int scale)
{
    uint64_t none = 0;

    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0, "pool");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 5, 1) == 1, "a put that is not told");
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    CHECK(new_pool(d, PERSISTENT_POOL) == 1, "pool");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 6, 1) == 1 && page_op(d, TMEM_PUT_PAGE, 0, 6, 1) == 1, "put");
    CHECK(page_op(d, TMEM_PUT_PAGE, 1, 6, 2) == 1, "put");
    CHECK(page_op(d, TMEM_GET_PAGE, 0, 6, 1) == 1 && page_op(d, TMEM_GET_PAGE, 0, 6, 1) == 0, "get");
    CHECK(page_op(d, TMEM_GET_PAGE, 1, 6, 2) == 1, "get");
    CHECK(page_op(d, TMEM_FLUSH_PAGE, 1, 6, 2) == 1 && page_op(d, TMEM_FLUSH_PAGE, 1, 6, 2) == 1, "flush");
    look();
    CHECK(nr_told == 10 && !lost, "%u records", nr_told);
    is(0, TMEM_TRACE_POOL, 1, 0, 0);
    is(1, TMEM_TRACE_POOL, 1, 1, TMEM_POOL_PERSIST);
    is(2, TMEM_TRACE_PUT, 1, 0, 1);
    is(3, TMEM_TRACE_OVER, 1, 0, 1);
    is(4, TMEM_TRACE_PUT, 1, 1, 2);
    is(5, TMEM_TRACE_HIT, 1, 0, 1);
    is(6, TMEM_TRACE_MISS, 1, 0, 1);
    is(7, TMEM_TRACE_HIT, 1, 1, 2);
    is(8, TMEM_TRACE_FLUSH, 1, 1, 2);
    is(9, TMEM_TRACE_NO_FLUSH, 1, 1, 2);
    CHECK(told[2].object == told[3].object && told[3].object == told[6].object, "one object, two names");
    CHECK(told[2].object >> 4 != told[4].object >> 4, "one name in two pools");
    CHECK(told[2].object >> 4 != 6, "an object's own name");

    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 6, 3) == 1 && page_op(d, TMEM_FLUSH_OBJECT, 0, 6, 0) == 1, "flush");
    CHECK(page_op(d, TMEM_FLUSH_OBJECT, 0, 6, 0) == 1, "flush");
    CHECK(page_op(d, TMEM_GET_PAGE, 0, 5, 1) == 1, "get");
    CHECK(!control(TMEM_CONTROL_FREEZE, 1, NULL, &none, NULL, NULL), "freeze");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 5, 1) == -EFROZEN, "put");
    CHECK(page_op(d, TMEM_PUT_PAGE, 7, 5, 1) == -ENODEV, "put");
    CHECK(world_balloon_out(d, 3), "balloon");
    CHECK(call(d, (tmem_op_t){ .cmd = TMEM_PUT_PAGE, .u.gen = { .oid.oid[0] = 5, .index = 9, .cmfn = 3 } }) == -EFAULT,
          "put");
    CHECK(page_op(d, TMEM_DESTROY_POOL, 0, 0, 0) == 1, "destroy");
    look();
    CHECK(nr_told == 7 && !lost, "%u records", nr_told);
    is(0, TMEM_TRACE_PUT, 1, 0, 3);
    is(1, TMEM_TRACE_OBJECT, 1, 0, 0);
    is(2, TMEM_TRACE_NO_OBJECT, 1, 0, 0);
    CHECK(told[1].object == told[0].object && told[2].object == told[0].object, "another object");
    is(3, TMEM_TRACE_HIT, 1, 0, 1);
    is(4, TMEM_TRACE_REFUSED, 1, 0, 1);
    is(5, TMEM_TRACE_REFUSED, 1, 0, 9);
    is(6, TMEM_TRACE_POOL_GONE, 1, 0, 0);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    world_stop();
}

/* Whose page goes, and before the put that needed its frame; by a cap, by need, when asked. */
static void evictions_are_told(uint64_t seed, unsigned int scale)
{
    uint32_t setting = TMEM_SET_CAP;
    uint64_t cap = 2, pages = 1;
    unsigned int i;

    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0, "pool");
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    for ( i = 0; i < 3; i++ )
        CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, i) == 1, "put");
    CHECK(!control(TMEM_CONTROL_SET, 1, &setting, &cap, NULL, NULL), "cap");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, 3) == 1, "put");
    CHECK(!control(TMEM_CONTROL_FLUSH, 1, NULL, &pages, NULL, NULL) && pages == 1, "flush");
    look();
    CHECK(nr_told == 8, "%u records", nr_told);
    is(4, TMEM_TRACE_EVICTED, 1, 0, 0);
    is(5, TMEM_TRACE_EVICTED, 1, 0, 1);
    is(6, TMEM_TRACE_PUT, 1, 0, 3);
    is(7, TMEM_TRACE_EVICTED, 1, 0, 2);
    CHECK(told[7].object == told[6].object, "another object");
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    world_stop();
}

/* Pages of a shared pool are nobody's, and a hit leaves them. */
static void shared_pools_are_told(uint64_t seed, unsigned int scale)
{
    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(!tmem_shared_authorise(tmem_client_get(d), (uint64_t[2]){ SHARED_UUID, ~SHARED_UUID }, true), "authorise");
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    CHECK(new_pool(d, EPHEMERAL_POOL | TMEM_POOL_SHARED) == 0, "pool");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, 1) == 1 && page_op(d, TMEM_GET_PAGE, 0, 1, 1) == 1, "put, get");
    CHECK(page_op(d, TMEM_GET_PAGE, 0, 1, 1) == 1 && page_op(d, TMEM_DESTROY_POOL, 0, 0, 0) == 1, "get, destroy");
    look();
    CHECK(nr_told == 5, "%u records", nr_told);
    is(0, TMEM_TRACE_POOL, 1, 0, TMEM_POOL_SHARED);
    is(1, TMEM_TRACE_PUT, DOMID_INVALID, 0, 1);
    is(2, TMEM_TRACE_HIT, DOMID_INVALID, 0, 1);
    is(3, TMEM_TRACE_HIT, DOMID_INVALID, 0, 1);
    is(4, TMEM_TRACE_POOL_GONE, 1, 0, TMEM_POOL_SHARED);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    world_stop();
}

/* A reader who is late loses the oldest, is told how many, and gets all others, each once. */
static void what_is_lost_is_counted(uint64_t seed, unsigned int scale)
{
    unsigned int i, read = 0, ops = ROOM + 1000;
    uint64_t gone = 0;
    uint32_t index;

    start(seed, &(struct world_options){ .frames = 2000 });
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0, "pool");
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    for ( i = 0; i < ops; i++ )
        page_op(d, TMEM_FLUSH_PAGE, 0, 1, i);
    index = ops - ROOM;
    do {
        look();
        gone += lost;
        for ( i = 0; i < nr_told; i++ )
            is(i, TMEM_TRACE_NO_FLUSH, 1, 0, index++);
        read += nr_told;
    } while ( nr_told );
    /* And the pool's record. */
    CHECK(read == ROOM && gone == ops + 1 - ROOM && index == ops, "%u of %u records, %lu lost", read, ops,
          (unsigned long)gone);

    /* Reading takes nothing away, and nobody reads what is yet to come. */
    next_number -= 1;
    look();
    CHECK(nr_told == 1 && told[0].index == ops - 1, "the last record again");
    next_number += 1;
    nr_told = MANY;
    CHECK(read_some(told, &nr_told, &next_number, &lost) == -EINVAL, "a record that is not there yet");
    next_number -= 1;
    /* Nowhere to put them: nothing is said to be read. */
    page_op(d, TMEM_FLUSH_PAGE, 0, 1, 0);
    nr_told = 1;
    CHECK(control(TMEM_CONTROL_TRACE_READ, 0, &nr_told, &next_number, &lost, (void *)16) == -EFAULT, "to nowhere");
    look();
    CHECK(nr_told == 1 && !lost, "%u records", nr_told);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    world_stop();
}

/* Memory is there from beginning to end, of a size that has bounds. */
static void no_trace_no_memory(uint64_t seed, unsigned int scale)
{
    unsigned long before;

    start(seed, &(struct world_options){ .frames = 2000 });
    before = heap_vmallocs();
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0 && page_op(d, TMEM_PUT_PAGE, 0, 1, 1) == 1, "put");
    CHECK(trace(TMEM_CONTROL_TRACE_READ, 1) == -ENODATA && trace(TMEM_CONTROL_TRACE_END, 0) == -ENODATA &&
          trace(TMEM_CONTROL_TRACE_FREE, 0) == -ENODATA, "a trace that nobody began");
    CHECK(trace(TMEM_CONTROL_TRACE_BEGIN, TMEM_TRACE_LEAST / 2) == -EINVAL &&
          trace(TMEM_CONTROL_TRACE_BEGIN, TMEM_TRACE_MOST * 2) == -EINVAL &&
          trace(TMEM_CONTROL_TRACE_BEGIN, ROOM + 1) == -EINVAL, "a room of a wrong size");
    world_vmalloc_fails = true;
    CHECK(trace(TMEM_CONTROL_TRACE_BEGIN, ROOM) == -ENOMEM, "without memory");
    world_vmalloc_fails = false;
    CHECK(heap_vmallocs() == before && page_op(d, TMEM_PUT_PAGE, 0, 1, 2) == 1, "put");

    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM) && heap_vmallocs() == before + 1, "begin");
    CHECK(trace(TMEM_CONTROL_TRACE_BEGIN, ROOM) == -EBUSY, "a second trace");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, 3) == 1 && !trace(TMEM_CONTROL_TRACE_END, 0), "end");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, 4) == 1, "put");
    look();
    CHECK(nr_told == 2, "%u records", nr_told);
    is(1, TMEM_TRACE_PUT, 1, 0, 3);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0) && heap_vmallocs() == before, "memory of no trace");
    CHECK(page_op(d, TMEM_PUT_PAGE, 0, 1, 5) == 1, "put");

    /* The next one begins anew. */
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    next_number = 0;
    look();
    CHECK(nr_told == 1 && next_number == 2, "%u records", nr_told);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0) && heap_vmallocs() == before, "memory of no trace");
    world_stop();
}

/* Each of its pools goes once, in however many steps, and nothing is told of it later. */
static void a_dying_domain_is_told(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    start(seed, &(struct world_options){ .frames = 2000, .preempt_percent = 100 });
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0 && new_pool(d, PERSISTENT_POOL) == 1, "pools");
    for ( i = 0; i < 400; i++ )
        CHECK(page_op(d, TMEM_PUT_PAGE, i % 2, 1, i) == 1, "put");
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
    for ( i = 0; world_kill_step(d); i++ )
        ;
    CHECK(i > 4, "%u steps", i);
    world_kill(d);
    look();
    CHECK(nr_told == 4, "%u records", nr_told);
    is(2, TMEM_TRACE_POOL_GONE, 1, 0, 0);
    is(3, TMEM_TRACE_POOL_GONE, 1, 1, TMEM_POOL_PERSIST);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    world_stop();
}

/* Random operations: records are as many, of each kind, as tmem counts. */
static void records_agree_with_counters(uint64_t seed, unsigned int scale)
{
    uint64_t seen[TMEM_TRACE_EVICTED + 1] = { 0 }, evicted = 0, from = 0, gone;
    struct tmem_stats_pool sum = { 0 };
    unsigned int i, id, step;

    random_seed(seed);
    model_start(&(struct model_options){ .frames = 700, .domains = 3, .max_pages = 90, .preempt_percent = 40 });
    dom0 = model_dom0;
    CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, TMEM_TRACE_MOST), "begin");
    for ( i = 0; i < 3; i++ )
    {
        model_new_pool(&model[i], EPHEMERAL_POOL);
        model_new_pool(&model[i], PERSISTENT_POOL);
    }
    for ( step = 0; step < 20000 * scale && step < 200000; step++ )
    {
        struct model_domain *m = &model[random_below(3)];
        unsigned int pool = random_below(2), object = random_below(MODEL_OBJECTS);
        unsigned int index = random_below(MODEL_INDEXES);

        switch ( random_below(40) )
        {
        case 0:
            model_evict(NULL, random_below(20));
            break;
        case 1:
            model_flush_object(m, pool, object);
            break;
        case 2 ... 5:
            model_flush_page(m, pool, object, index);
            break;
        case 6 ... 15:
            model_get(m, pool, object, index, random_below(MODEL_GFNS));
            break;
        default:
            model_put(m, pool, object, index, GFN_RAM, random_64());
            break;
        }
    }
    for ( ; ; )
    {
        nr_told = MANY;
        CHECK(!read_some(told, &nr_told, &from, &gone) && !gone, "read");
        for ( i = 0; i < nr_told; i++ )
            seen[told[i].kind]++;
        if ( !nr_told )
            break;
    }
    for ( i = 0; i < 3; i++ )
    {
        struct tmem_client *c = client_of(&model[i]);

        evicted += c->stats.evicted;
        for ( id = 0; id < 2; id++ )
        {
            const struct tmem_stats_pool *s = &c->pools[id]->stats;

            sum.puts += s->puts;
            sum.puts_tried += s->puts_tried;
            sum.dup_replaced += s->dup_replaced;
            sum.gets += s->gets;
            sum.gets_tried += s->gets_tried;
            sum.flushes += s->flushes;
            sum.flushes_tried += s->flushes_tried;
            sum.object_flushes += s->object_flushes;
        }
    }
    CHECK(seen[TMEM_TRACE_POOL] == 6, "pools");
    CHECK(seen[TMEM_TRACE_OVER] == sum.dup_replaced && seen[TMEM_TRACE_PUT] == sum.puts - sum.dup_replaced &&
          seen[TMEM_TRACE_REFUSED] == sum.puts_tried - sum.puts, "puts");
    CHECK(seen[TMEM_TRACE_HIT] == sum.gets && sum.gets &&
          seen[TMEM_TRACE_MISS] + seen[TMEM_TRACE_FAILED] == sum.gets_tried - sum.gets, "gets");
    CHECK(seen[TMEM_TRACE_FAILED], "no get of a frame that is not the guest's");
    CHECK(seen[TMEM_TRACE_FLUSH] == sum.flushes && seen[TMEM_TRACE_NO_FLUSH] == sum.flushes_tried - sum.flushes,
          "flushes");
    CHECK(seen[TMEM_TRACE_EVICTED] == evicted && evicted, "%lu evictions, %lu are told", (unsigned long)evicted,
          (unsigned long)seen[TMEM_TRACE_EVICTED]);
    CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
    model_stop();
}

/* vCPUs that work while traces come and go. */

#define VCPUS       3
#define ROUNDS      20000

static unsigned int working;            /* atomic */

static void *vcpu_thread(void *data)
{
    unsigned int nr = (uintptr_t)data, i;

    random_seed(nr);
    for ( i = 0; i < ROUNDS; i++ )
        page_op(d, TMEM_FLUSH_PAGE, 0, 100 + nr, i);
    __atomic_fetch_sub(&working, 1, __ATOMIC_RELAXED);

    return NULL;
}

/* Records are whole, their numbers without gaps but for what is lost, each vCPU's own in its order. */
static void vcpus_do_not_wait(uint64_t seed, unsigned int scale)
{
    static struct tmem_trace_record some[512];
    uint64_t object[VCPUS] = { 0 };
    unsigned int traces = 0, i, j, nr_objects = 0;
    unsigned long records = 0;
    pthread_t threads[VCPUS];

    start(seed, &(struct world_options){ .frames = 2000, .threads = true });
    CHECK(new_pool(d, EPHEMERAL_POOL) == 0, "pool");
    working = VCPUS;
    for ( i = 0; i < VCPUS; i++ )
        CHECK(!pthread_create(&threads[i], NULL, vcpu_thread, (void *)(uintptr_t)i), "no thread");
    while ( __atomic_load_n(&working, __ATOMIC_RELAXED) )
    {
        uint32_t last[VCPUS] = { 0 };
        uint64_t from = 1, gone, expected;
        unsigned int reads, more;

        CHECK(!trace(TMEM_CONTROL_TRACE_BEGIN, ROOM), "begin");
        traces++;
        for ( reads = more = 0; reads < 20 || more; reads++ )
        {
            uint32_t nr = ARRAY_SIZE(some);

            /* The last of it is read when nothing is added any more. */
            if ( reads == 20 )
                CHECK(!trace(TMEM_CONTROL_TRACE_END, 0), "end");
            expected = from;
            CHECK(!read_some(some, &nr, &from, &gone), "read");
            CHECK(from == expected + gone + nr, "%u records from %lu to %lu, %lu lost", nr,
                  (unsigned long)expected, (unsigned long)from, (unsigned long)gone);
            for ( i = 0; i < nr; i++ )
            {
                const struct tmem_trace_record *r = &some[i];

                CHECK(r->number == (uint32_t)(from - nr + i), "number %u for %lu", r->number,
                      (unsigned long)from - nr + i);
                if ( r->kind == TMEM_TRACE_POOL )
                    continue;
                CHECK(r->kind == TMEM_TRACE_NO_FLUSH && r->domid == 1 && !(r->object & 15), "a record that is not whole");
                for ( j = 0; j < nr_objects && object[j] != r->object; j++ )
                    ;
                CHECK(j < VCPUS, "more objects than there are");
                if ( j == nr_objects )
                    object[nr_objects++] = r->object;
                CHECK(!last[j] || r->index > last[j], "%u after %u", r->index, last[j]);
                last[j] = r->index;
            }
            records += nr;
            more = reads < 20 || nr;
        }
        CHECK(!trace(TMEM_CONTROL_TRACE_FREE, 0), "free");
        usleep(100);
    }
    for ( i = 0; i < VCPUS; i++ )
        pthread_join(threads[i], NULL);
    CHECK(traces && records, "%u traces, %lu records", traces, records);
    world_stop();
}

const struct test_case trace_cases[] = {
    CASE(what_is_done_is_told),
    CASE(evictions_are_told),
    CASE(shared_pools_are_told),
    CASE(what_is_lost_is_counted),
    CASE(no_trace_no_memory),
    CASE(a_dying_domain_is_told),
    CASE(records_agree_with_counters),
    CASE(vcpus_do_not_wait),
    END_OF_CASES
};
