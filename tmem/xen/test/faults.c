/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A whole scenario again and again: the first time its first allocation fails,
 * then the second, and so on until none is left to fail. The model tells after
 * every operation whether the one that failed left anything behind.
 */

#include "cases.h"
#include "model.h"

static const struct model_options options = {
    .frames = 3000, .domains = 2, .max_pages = 200, .preempt_percent = 30,
};

/* Grows the index and both kinds of pools, replaces, gets, destroys. */
static void scenario(void)
{
    unsigned int i;

    for ( i = 0; i < 2; i++ )
    {
        model_new_pool(&model[i], EPHEMERAL_POOL);
        model_new_pool(&model[i], PERSISTENT_POOL);
    }
    for ( i = 0; i < 340; i++ )
    {
        struct model_domain *m = &model[i % 2];
        unsigned int pool = i / 2 % 2, index = i / 2 % MODEL_INDEXES;
        unsigned int object = (i + i / (2 * MODEL_INDEXES)) % MODEL_OBJECTS;

        model_put(m, pool, object, index, GFN_RAM, i << 3);
        if ( i % 5 == 0 )
            model_put(m, pool, object, index, i % 10 ? GFN_RAM : GFN_NONE, (i + 1000) << 3);
        if ( i % 7 == 0 )
            model_get(m, pool, object, index, i % 14 ? GFN_RAM : GFN_READ_ONLY);
    }
    model_evict(NULL, 20);
    model_flush_object(&model[0], 0, 1);
    model_destroy_pool(&model[1], 1);
    for ( i = 0; i < 40; i++ )
        model_put(&model[1], 0, 0, i, GFN_RAM, i << 3);
}

static void fail_each(uint64_t seed, bool all_after)
{
    unsigned long n, hits;

    for ( n = 1; ; n++ )
    {
        random_seed(seed);
        model_start(&options);
        fault_at(n, all_after);
        scenario();
        hits = fault_hits();
        fault_none();
        /* When memory is back, all is as ever. */
        model_new_pool(&model[0], PERSISTENT_POOL);
        model_put(&model[0], 0, 5, 95, GFN_RAM, 8);
        model_get(&model[0], 0, 5, 95, GFN_RAM);
        model_stop();
        if ( !hits )
            break;
    }
    CHECK(n > 100, "the scenario makes only %lu allocations", n - 1);
}

static void each_allocation_fails_once(uint64_t seed, unsigned int scale)
{
    fail_each(seed, false);
}

static void memory_ends_at_each_allocation(uint64_t seed, unsigned int scale)
{
    fail_each(seed, true);
}

const struct test_case fault_cases[] = {
    CASE(each_allocation_fails_once),
    CASE(memory_ends_at_each_allocation),
    END_OF_CASES
};
