/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Three guests that want more than there is, traced: the records go to the file that TMEM_TRACE_FILE
 * names, for a replay (tests/unit/test_tmem_harness.py), which has to take the pages that were taken here.
 */

#include <stdio.h>
#include <stdlib.h>

#include "cases.h"
#include "model.h"

#define GUESTS      3
#define OBJECTS     8
#define INDEXES     300

static struct domain *dom0, *guest[GUESTS];

static long control(uint32_t subop, uint32_t nr, uint64_t *value, void *buf, uint32_t *told)
{
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = subop, .version = TMEM_CONTROL_VERSION,
                 .nr = nr, .value = value ? *value : 0, .buf = (uintptr_t)buf },
    };
    long rc;

    world_enter(dom0);
    world_guest_range(&u, sizeof(u));
    rc = world_op(&u.op);
    if ( value )
        *value = u.ctl.value;
    if ( told )
        *told = u.ctl.nr;
    CHECK(!u.ctl.dropped || subop != TMEM_CONTROL_TRACE_READ, "records are lost");

    return rc;
}

static long call(struct domain *d, tmem_op_t op)
{
    world_enter(d);
    world_guest_range(&op, sizeof(op));

    return world_op(&op);
}

static void write_records(const char *path)
{
    static struct tmem_trace_record some[1024];
    FILE *file = path ? fopen(path, "w") : NULL;
    uint64_t next = 0;
    uint32_t nr;

    CHECK(file || !path, "%s can't be written", path);
    do {
        world_guest_range(some, sizeof(some));
        CHECK(!control(TMEM_CONTROL_TRACE_READ, ARRAY_SIZE(some), &next, some, &nr), "read");
        CHECK(!file || fwrite(some, sizeof(*some), nr, file) == nr, "%s can't be written", path);
    } while ( nr );
    CHECK(!file || !fclose(file), "%s can't be written", path);
}

static void guests_under_pressure(uint64_t seed, unsigned int scale)
{
    unsigned int i;

    random_seed(seed);
    world_start(&(struct world_options){ .frames = 1100, .preempt_percent = 20 });
    dom0 = world_domain(0, 1, 1, 10);
    CHECK(!control(TMEM_CONTROL_TRACE_BEGIN, TMEM_TRACE_MOST, NULL, NULL, NULL), "begin");
    for ( i = 0; i < GUESTS; i++ )
    {
        guest[i] = world_domain(i + 1, 4, 4, 300);
        CHECK(!call(guest[i], (tmem_op_t){ .cmd = TMEM_NEW_POOL, .u.creat.flags = EPHEMERAL_POOL }), "pool");
        CHECK(call(guest[i], (tmem_op_t){ .cmd = TMEM_NEW_POOL, .u.creat.flags = PERSISTENT_POOL }) == 1, "pool");
    }
    for ( i = 0; i < 30000; i++ )
    {
        static const uint32_t commands[] = { TMEM_PUT_PAGE, TMEM_PUT_PAGE, TMEM_GET_PAGE };
        struct domain *d = guest[random_below(4) % GUESTS];
        unsigned int one = random_below(INDEXES), other = random_below(INDEXES);
        tmem_op_t op = {
            .cmd = commands[random_below(3)], .pool_id = !random_below(20),
            .u.gen = { .oid.oid[0] = random_below(OBJECTS), .index = min(one, other) },
        };

        if ( !random_below(40) )
            op.cmd = random_below(10) ? TMEM_FLUSH_PAGE : TMEM_FLUSH_OBJECT;
        call(d, op);
    }
    CHECK(!control(TMEM_CONTROL_TRACE_END, 0, NULL, NULL, NULL), "end");
    write_records(getenv("TMEM_TRACE_FILE"));
    CHECK(!control(TMEM_CONTROL_TRACE_FREE, 0, NULL, NULL, NULL), "free");
    world_stop();
}

const struct test_case replay_cases[] = {
    CASE(guests_under_pressure),
    END_OF_CASES
};
