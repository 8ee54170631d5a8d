/* SPDX-License-Identifier: GPL-2.0-only */
/* Domains that die while everything goes on. */

#include "cases.h"
#include "model.h"

static void fill_pools(struct model_domain *m)
{
    unsigned int i;

    model_new_pool(m, EPHEMERAL_POOL);
    model_new_pool(m, PERSISTENT_POOL);
    for ( i = 0; i < 400; i++ )
        model_put(m, i % 2, i / 2 % MODEL_OBJECTS, i / 2 % MODEL_INDEXES, GFN_RAM, random_64());
}

/* Every step is preempted; others evict the dying domain's pages in between. */
static void killed_in_steps(uint64_t seed, unsigned int scale)
{
    unsigned int round;

    for ( round = 0; round < 20 * scale; round++ )
    {
        random_seed(seed + round);
        model_start(&(struct model_options){
            .frames = 2000, .domains = 2, .max_pages = 400, .preempt_percent = 100 });
        fill_pools(&model[0]);
        fill_pools(&model[1]);
        model_kill(&model[0]);
        CHECK(!model[0].d->tmem, "a new domain has its predecessor's pools");
        model_new_pool(&model[0], EPHEMERAL_POOL);
        model_get(&model[0], 0, 0, 0, GFN_RAM);
        model_kill(&model[1]);
        model_stop();
    }
}

static struct model_domain *doomed;
static bool preempted;

static void note_preemption(const tmem_op_t *op)
{
    preempted = true;
}

/*
 * domain_kill() begins while the domain is between two steps of destroying a
 * pool itself: its vCPU never gets to go on.
 */
static void killed_while_it_destroys_a_pool(uint64_t seed, unsigned int scale)
{
    long do_tmem_op(XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop);
    tmem_op_t op = { .cmd = TMEM_DESTROY_POOL, .pool_id = 1 };
    XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop = { &op };

    random_seed(seed);
    model_start(&(struct model_options){
        .frames = 2000, .domains = 1, .max_pages = 400, .preempt_percent = 100 });
    doomed = &model[0];
    fill_pools(doomed);
    world_enter(doomed->d);
    world_guest_range(&op, sizeof(op));
    CHECK(do_tmem_op(uop) == -ERESTART, "200 pages went in one step");
    model_kill(doomed);
    model_stop();

    /* The same for a guest that lives: another domain's frames don't matter to it. */
    random_seed(seed);
    model_start(&(struct model_options){
        .frames = 2000, .domains = 1, .max_pages = 400, .preempt_percent = 100 });
    fill_pools(&model[0]);
    world_between = note_preemption;
    world_enter(model[0].d);
    world_guest_range(&op, sizeof(op));
    CHECK(world_op(&op) == 1 && preempted, "a destruction was not preempted");
    world_between = NULL;
    model[0].persistent = 0;
    memset(&model[0].pools[1], 0, sizeof(model[0].pools[1]));
    model_stop();
}

/* A domain whose last charged page is a persistent one still goes. */
static void nothing_but_persistent_pages(uint64_t seed, unsigned int scale)
{
    tmem_op_t op = { .cmd = TMEM_NEW_POOL, .u.creat.flags = PERSISTENT_POOL };
    struct domain *d;
    unsigned int i;

    random_seed(seed);
    world_start(&(struct world_options){ .frames = 1000, .preempt_percent = 50 });
    d = world_domain(1, 1, 4, 200);
    content_fill(world_frame(d, 0), 0);
    world_enter(d);
    world_guest_range(&op, sizeof(op));
    CHECK(!world_op(&op), "no pool");
    for ( i = 0; i < 150; i++ )
    {
        op = (tmem_op_t){ .cmd = TMEM_PUT_PAGE, .u.gen.index = i };
        CHECK(world_op(&op) == 1, "no put");
    }
    world_balloon_out(d, 0);
    CHECK(d->tot_pages == 150, "%u pages are charged", d->tot_pages);
    CHECK(d->refcnt == 2, "the charge does not hold the domain");
    check_system();
    world_stop();
}

const struct test_case death_cases[] = {
    CASE(killed_in_steps),
    CASE(killed_while_it_destroys_a_pool),
    CASE(nothing_but_persistent_pages),
    END_OF_CASES
};
