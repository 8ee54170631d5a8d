/* SPDX-License-Identifier: GPL-2.0-only */
/* What tmem has after an operation, compared with the model: which pages are gone, counters, charges, frames. */

#include "lookup.h"
#include "model.h"

void model_drop(struct model_domain *m, struct model_pool *pool, struct model_page *page)
{
    page->there = false;
    pool->stats.pages.now--;
    if ( pool->stats.persistent )
        m->persistent--;
    else
        m->ephemeral--;
}

static bool is_there(const struct model_domain *m, unsigned int id, unsigned int object, unsigned int index)
{
    const struct tmem_client *c = client_of(m);
    const tmem_op_t op = { .u.gen = { .oid = model_object_ids[object], .index = model_index_of(index) } };
    struct tmem_spot spot;

    return tmem_find_page(c, c->pools[id], &op, &spot);
}

struct ages {
    uint64_t youngest_gone, oldest_left;
    unsigned int gone;
};

/* The pages of a pool that are not there any more, but for the one that was put. */
static void drop_evicted(struct model_domain *m, unsigned int id, const struct model_page *put, struct ages *a)
{
    struct model_pool *pool = &m->pools[id];
    unsigned int object, index;

    for ( object = 0; object < MODEL_OBJECTS; object++ )
        for ( index = 0; index < MODEL_INDEXES; index++ )
        {
            struct model_page *page = &pool->page[object][index];

            if ( !page->there || page == put )
                continue;
            if ( is_there(m, id, object, index) )
                a->oldest_left = min(a->oldest_left, page->age);
            else
            {
                a->youngest_gone = max(a->youngest_gone, page->age);
                a->gone++;
                model_drop(m, pool, page);
            }
        }
}

/* Where the heap would not give a page for an index, all of a slab go with the oldest page. */
static bool slabs_go_whole;

void model_before(void)
{
    slabs_go_whole = avail_domheap_pages() + TMEM_REFILL <= heap_claimed() + tmem_reserve_pages;
}

bool model_follow_evictions(const struct model_page *put)
{
    bool put_was_evicted = false;
    unsigned int i, id;

    for ( i = 0; i < model_now.domains; i++ )
    {
        struct model_domain *m = &model[i];
        struct ages a = { .oldest_left = ~0ULL };
        uint64_t evicted;
        bool its_put = put && (const char *)put >= (const char *)m && (const char *)put < (const char *)(m + 1);

        if ( !client_of(m) || m->dying || client_of(m)->stats.evicted == m->evicted )
            continue;
        evicted = client_of(m)->stats.evicted - m->evicted;
        m->evicted += evicted;
        for ( id = 0; id < TMEM_MAX_POOLS; id++ )
            if ( m->pools[id].exists && !m->pools[id].stats.persistent )
                drop_evicted(m, id, put, &a);
        if ( its_put && put->there && a.gone + 1 == evicted )
        {
            put_was_evicted = true;
            a.youngest_gone = max(a.youngest_gone, put->age);
        }
        else
            CHECK(a.gone == evicted, "domain %u: %lu pages were evicted, %u are missing", i + 1,
                  (unsigned long)evicted, a.gone);
        CHECK(m->packs || slabs_go_whole || a.youngest_gone < a.oldest_left,
              "domain %u: a page was evicted before an older one", i + 1);
    }

    return put_was_evicted;
}

#define SAME(pool, field)                                               \
    CHECK((pool)->stats.field == m->pools[id].stats.field,              \
          "domain %u, pool %u: " #field " is %lu, should be %lu",       \
          m->d->domain_id, id, (unsigned long)(pool)->stats.field,      \
          (unsigned long)m->pools[id].stats.field)

static void compare_pools(const struct model_domain *m)
{
    const struct tmem_client *c = client_of(m);
    unsigned int id;

    for ( id = 0; id < TMEM_MAX_POOLS; id++ )
    {
        const struct tmem_pool *pool = c->pools[id];

        CHECK(m->pools[id].exists == (pool && !pool->dying), "domain %u: pool %u %s",
              m->d->domain_id, id, pool ? "is still there" : "is gone");
        if ( !pool )
            continue;
        SAME(pool, persistent);
        SAME(pool, pages.now);
        SAME(pool, pages.most);
        SAME(pool, puts);
        SAME(pool, puts_tried);
        SAME(pool, puts_refused);
        SAME(pool, dup_flushed);
        SAME(pool, dup_replaced);
        SAME(pool, gets);
        SAME(pool, gets_tried);
        SAME(pool, flushes);
        SAME(pool, flushes_tried);
        SAME(pool, object_flushes);
        SAME(pool, object_flushes_tried);
    }
}

/*
 * A plain persistent page costs a frame, with its record as long as these are not strewn over many slabs.
 * A packed one is at most a chunk in two frames of its own. check.c tells all of it exactly.
 */
static void compare_charge(const struct model_domain *m)
{
    const struct tmem_client *c = client_of(m);
    unsigned long slabs = c->slabs[TMEM_SLAB_PERSISTENT].nr, index = slabs + slabs / 6;
    unsigned int own = 10 + m->balloon, least = m->packs ? 0 : m->persistent, most = m->persistent;

    if ( m->packs )
        most = 2 * most + index;
    else if ( index > DIV_ROUND_UP(most, 16U) )
        least = most += index - DIV_ROUND_UP(most, 16U);
    CHECK(m->d->tot_pages >= own + least && m->d->tot_pages <= own + most,
          "domain %u is charged %u pages for %u of its own and %u persistent ones in %lu slabs",
          m->d->domain_id, m->d->tot_pages, own, m->persistent, slabs);
    CHECK(m->persistent || m->d->tot_pages == own, "domain %u is charged for nothing", m->d->domain_id);
}

void model_compare(void)
{
    unsigned long frames = 0;
    unsigned int i;

    for ( i = 0; i < model_now.domains; i++ )
    {
        struct model_domain *m = &model[i];
        const struct tmem_client *c = client_of(m);

        frames += c ? c->stats.frames.now : 0;
        if ( m->dying || !c )
            continue;
        compare_pools(m);
        CHECK(c->stats.ephemeral.now == m->ephemeral && c->stats.persistent.now == m->persistent,
              "domain %u has %lu ephemeral and %lu persistent pages, should have %u and %u", i + 1,
              (unsigned long)c->stats.ephemeral.now, (unsigned long)c->stats.persistent.now,
              m->ephemeral, m->persistent);
        compare_charge(m);
    }
    frames += tmem_dedup_frames();
    CHECK(heap_frames_of_tmem() == frames, "the heap lent %lu frames, tmem counts %lu",
          heap_frames_of_tmem(), frames);
}

void model_check(void)
{
    unsigned long duplicates, ephemeral = 0, persistent = 0;
    struct tmem_stats_global g;
    union { tmem_op_t op; tmem_control_t ctl; } u = {
        .ctl = { .cmd = TMEM_CONTROL, .subop = TMEM_CONTROL_GLOBAL, .version = TMEM_CONTROL_VERSION,
                 .buf = (uintptr_t)&g },
    };
    unsigned int i;

    model_compare();
    duplicates = check_system();

    memset(&g, 0, sizeof(g));
    world_enter(model_dom0);
    world_guest_range(&u, sizeof(u));
    world_guest_range(&g, sizeof(g));
    CHECK(!world_op(&u.op), "no figures of the whole system");
    for ( i = 0; i < model_now.domains; i++ )
    {
        if ( model[i].dying )
            return;
        ephemeral += model[i].ephemeral;
        persistent += model[i].persistent;
    }
    CHECK(g.ephemeral.now == ephemeral && g.persistent.now == persistent,
          "the system has %lu and %lu pages, counts %lu and %lu", ephemeral, persistent,
          (unsigned long)g.ephemeral.now, (unsigned long)g.persistent.now);
    CHECK(g.frames.now == heap_frames_of_tmem(), "the heap lent %lu frames, the system counts %lu",
          heap_frames_of_tmem(), (unsigned long)g.frames.now);
    CHECK(g.contents.now == ephemeral - duplicates, "%lu ephemeral pages of which %lu are copies, %lu are counted",
          ephemeral, duplicates, (unsigned long)g.contents.now);
}
