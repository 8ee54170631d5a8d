/* SPDX-License-Identifier: GPL-2.0-only */
/* Random operations of several domains against the model. */

#include "cases.h"
#include "model.h"

static void run(uint64_t seed, unsigned int steps, const struct model_options *options)
{
    unsigned int i;

    random_seed(seed);
    model_start(options);
    for ( i = 0; i < steps; i++ )
        model_step();
    model_stop();
}

/* More frames than all can use. */
static void plenty_of_memory(uint64_t seed, unsigned int scale)
{
    run(seed, 20000 * scale, &(struct model_options){
        .frames = 20000, .domains = 3, .max_pages = 600, .preempt_percent = 40 });
}

/* Evictions all the time. */
static void little_memory(uint64_t seed, unsigned int scale)
{
    run(seed, 20000 * scale, &(struct model_options){
        .frames = 700, .domains = 4, .max_pages = 90, .preempt_percent = 40 });
}

/* Hardly enough for the domains' index. */
static void hardly_any_memory(uint64_t seed, unsigned int scale)
{
    run(seed, 20000 * scale, &(struct model_options){
        .frames = 150, .domains = 4, .max_pages = 60, .preempt_percent = 40 });
}

/* Contents that are packed and shared, with and without enough memory for them. */
static void packed_contents(uint64_t seed, unsigned int scale)
{
    run(seed, 15000 * scale, &(struct model_options){
        .frames = 10000, .domains = 3, .max_pages = 300, .preempt_percent = 40, .packs = true });
    run(seed, 15000 * scale, &(struct model_options){
        .frames = 500, .domains = 4, .max_pages = 80, .preempt_percent = 40, .packs = true });
}

/* Every allocation may fail. */
static void failing_allocations(uint64_t seed, unsigned int scale)
{
    static const unsigned int per_mille[] = { 5, 50, 300, 900 };
    unsigned int i, round;

    for ( round = 0; round < ARRAY_SIZE(per_mille); round++ )
    {
        random_seed(seed + round);
        model_start(&(struct model_options){
            .frames = 3000, .domains = 3, .max_pages = 300, .preempt_percent = 40, .packs = round % 2 });
        fault_probability(per_mille[round], seed);
        for ( i = 0; i < 5000 * scale; i++ )
            model_step();
        model_stop();
    }
}

const struct test_case random_cases[] = {
    CASE(plenty_of_memory),
    CASE(little_memory),
    CASE(hardly_any_memory),
    CASE(packed_contents),
    CASE(failing_allocations),
    END_OF_CASES
};
