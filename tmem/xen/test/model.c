/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>

#include "lookup.h"
#include "model.h"

struct model_domain model[MODEL_DOMAINS];
struct domain *model_dom0;

struct model_options model_now;
static uint64_t ages;

const xen_tmem_oid_t model_object_ids[MODEL_OBJECTS] = {
    { { 0, 0, 0 } }, { { 1, 0, 0 } }, { { 0, 1, 0 } }, { { 0, 0, 1 } },
    { { 1ULL << 63, 1, 1 } }, { { ~0ULL, ~0ULL, ~0ULL } },
};

uint32_t model_index_of(unsigned int nr)
{
    return nr < MODEL_INDEXES - 2 ? nr : nr == MODEL_INDEXES - 2 ? 1U << 31 : ~0U;
}

/* Domains. */

void model_make_domain(unsigned int nr)
{
    struct model_domain *m = &model[nr];
    unsigned int gfn;

    memset(m, 0, sizeof(*m));
    m->d = world_domain(nr + 1, 10, MODEL_GFNS, model_now.max_pages);
    m->d->translated = nr % 2;
    m->packs = model_now.packs;
    for ( gfn = 0; gfn < 10; gfn++ )
        content_fill(world_frame(m->d, gfn), 0);
    world_frame(m->d, GFN_PAGE_TABLE)->type = PGT_l1_page_table | 1;
    world_set_p2m(m->d, GFN_READ_ONLY, world_frame(m->d, GFN_READ_ONLY), p2m_ram_ro);
    world_set_p2m(m->d, GFN_FOREIGN, world_frame(model_dom0, 0), p2m_ram_rw);
    world_set_p2m(m->d, GFN_MMIO, NULL, p2m_mmio_direct);
    world_set_p2m(m->d, GFN_PAGED, NULL, p2m_ram_paged);
}

void model_start(const struct model_options *options)
{
    const struct world_options world = {
        .frames = options->frames,
        .preempt_percent = options->preempt_percent,
        .packs = options->packs,
    };
    unsigned int i;

    model_now = *options;
    world_start(&world);
    model_dom0 = world_domain(0, 1, 4, 16);
    content_fill(world_frame(model_dom0, 0), 0);
    for ( i = 0; i < model_now.domains; i++ )
        model_make_domain(i);
    ages = 0;
}

void model_stop(void)
{
    model_check();
    world_stop();
}

/* Operations. */

long model_call(const struct model_domain *m, tmem_op_t *op)
{
    model_before();
    world_enter(m->d);
    world_guest_range(op, sizeof(*op));
    return world_op(op);
}

static long page_call(const struct model_domain *m, uint32_t cmd, int32_t pool, unsigned int object,
                      unsigned int index, uint64_t gfn)
{
    tmem_op_t op = {
        .cmd = cmd, .pool_id = pool,
        .u.gen = { .oid = model_object_ids[object], .index = model_index_of(index), .cmfn = gfn,
                   /* Ignored, whatever they are. */
                   .tmem_offset = random_64(), .pfn_offset = random_64(), .len = random_64() },
    };

    return model_call(m, &op);
}

/* May an allocation have failed? */
bool model_memory_was_short(unsigned long faults)
{
    return fault_hits() != faults ||
           avail_domheap_pages() < tmem_reserve_pages + heap_claimed() + TMEM_REFILL + 2 * TMEM_SPARE_KEPT;
}

static struct model_pool *pool_of(struct model_domain *m, int32_t pool)
{
    return pool >= 0 && pool < TMEM_MAX_POOLS && m->pools[pool].exists ? &m->pools[pool] : NULL;
}

long model_new_pool(struct model_domain *m, uint32_t flags)
{
    tmem_op_t op = {
        .cmd = TMEM_NEW_POOL, .pool_id = random_64(),
        .u.creat = { .uuid = { random_64(), random_64() }, .flags = flags, .arg1 = random_64() },
    };
    unsigned long faults = fault_hits(), xmallocs = heap_xmallocs();
    unsigned int pool = 0;
    bool bad = (flags & (TMEM_POOL_RESERVED_BITS | TMEM_POOL_PRECOMPRESSED)) || (flags >> 24) != 1 ||
               ((flags >> 4) & 15) ||
               (flags & (TMEM_POOL_PERSIST | TMEM_POOL_SHARED)) == (TMEM_POOL_PERSIST | TMEM_POOL_SHARED);
    bool had_client = client_of(m);
    long rc = model_call(m, &op);

    while ( pool < TMEM_MAX_POOLS && m->pools[pool].exists )
        pool++;
    model_follow_evictions(NULL);
    if ( rc == -ENOMEM && !bad )
    {
        CHECK(model_memory_was_short(faults), "a pool was refused, although there was memory");
        CHECK(!client_of(m) == !had_client && heap_xmallocs() == xmallocs,
              "a refused pool left something behind");
    }
    else if ( bad || pool == TMEM_MAX_POOLS )
        EXPECT(rc, -EPERM);
    else
    {
        EXPECT(rc, pool);
        memset(&m->pools[pool], 0, sizeof(m->pools[pool]));
        m->pools[pool].exists = true;
        m->pools[pool].stats.persistent = flags & TMEM_POOL_PERSIST;
    }
    model_compare();

    return rc;
}

/* Between the steps of a destruction its pool is out of reach. */
static struct model_domain *destroying;

static void use_dying_pool(const tmem_op_t *op)
{
    struct model_domain *m = destroying;
    int32_t pool = op->pool_id;

    if ( op->cmd != TMEM_DESTROY_POOL )
        return;
    EXPECT(page_call(m, TMEM_PUT_PAGE, pool, 0, 0, GFN_RAM), -ENODEV);
    EXPECT(page_call(m, TMEM_GET_PAGE, pool, 0, 0, GFN_RAM), -ENODEV);
    EXPECT(page_call(m, TMEM_FLUSH_PAGE, pool, 0, 0, 0), -ENODEV);
    EXPECT(page_call(m, TMEM_FLUSH_OBJECT, pool, 0, 0, 0), -ENODEV);
    world_enter(m->d);
    world_guest_range((void *)op, sizeof(*op));
}

long model_destroy_pool(struct model_domain *m, uint32_t pool)
{
    tmem_op_t op = { .cmd = TMEM_DESTROY_POOL, .pool_id = pool };
    struct model_pool *there = pool_of(m, pool);
    long rc;

    destroying = m;
    world_between = use_dying_pool;
    rc = model_call(m, &op);
    world_between = NULL;
    EXPECT(rc, !!there);
    if ( there )
    {
        if ( there->stats.persistent )
            m->persistent -= there->stats.pages.now;
        else
            m->ephemeral -= there->stats.pages.now;
        memset(there, 0, sizeof(*there));
    }
    model_compare();

    return rc;
}

static bool readable(uint64_t gfn)
{
    return gfn <= GFN_READ_ONLY;
}

/* Only a translated guest has frames that are read-only by their number. */
static bool writable(const struct model_domain *m, uint64_t gfn)
{
    return gfn < GFN_PAGE_TABLE || (gfn == GFN_READ_ONLY && !m->d->translated);
}

long model_put(struct model_domain *m, int32_t pool, unsigned int object,
               unsigned int index, uint64_t gfn, uint64_t seed)
{
    struct model_pool *to = pool_of(m, pool);
    struct model_page *page = to ? &to->page[object][index] : NULL;
    unsigned long faults = fault_hits();
    unsigned int room = m->d->max_pages - m->d->tot_pages;
    bool replaces = page && page->there;
    long rc;

    if ( readable(gfn) )
        content_fill(world_frame(m->d, gfn), seed);
    rc = page_call(m, TMEM_PUT_PAGE, pool, object, index, gfn);
    if ( model_follow_evictions(page) )
    {
        model_drop(m, to, page);
        replaces = false;
    }

    if ( !to )
    {
        EXPECT(rc, -ENODEV);
        model_compare();
        return rc;
    }
    to->stats.puts_tried++;
    if ( !readable(gfn) || m->frozen )
        EXPECT(rc, readable(gfn) ? -EFROZEN : -EFAULT);
    else if ( rc != 1 )
    {
        EXPECT(rc, -ENOMEM);
        CHECK(!replaces || m->packs, "no memory to replace a page");
        /* A frame, and a slab for its record, with which a page of buckets may be due. */
        CHECK((to->stats.persistent && room < 3) || model_memory_was_short(faults),
              "a put was refused, although there was memory");
    }

    if ( rc != 1 )
    {
        if ( replaces )
        {
            model_drop(m, to, page);
            to->stats.dup_flushed++;
        }
        to->stats.puts_refused += rc == -ENOMEM;
        model_compare();
        return rc;
    }
    to->stats.puts++;
    to->stats.dup_replaced += replaces;
    if ( !replaces )
    {
        if ( to->stats.persistent )
            m->persistent++;
        else
            m->ephemeral++;
        if ( ++to->stats.pages.now > to->stats.pages.most )
            to->stats.pages.most = to->stats.pages.now;
    }
    CHECK(m->d->tot_pages <= m->d->max_pages, "more pages than the domain may have");
    to->used = true;
    *page = (struct model_page){ .there = true, .seed = seed, .age = ++ages };
    model_compare();

    return rc;
}

long model_get(struct model_domain *m, int32_t pool, unsigned int object,
               unsigned int index, uint64_t gfn)
{
    struct model_pool *from = pool_of(m, pool);
    struct model_page *page = from ? &from->page[object][index] : NULL;
    uint64_t before = random_64() | 4;
    long rc;

    if ( readable(gfn) )
        content_fill(world_frame(m->d, gfn), before);
    rc = page_call(m, TMEM_GET_PAGE, pool, object, index, gfn);
    if ( !from )
        EXPECT(rc, -ENODEV);
    else
    {
        from->stats.gets_tried++;
        if ( !page->there )
            EXPECT(rc, from->used ? 0 : -EEMPTY);
        else
            EXPECT(rc, writable(m, gfn) ? 1 : -EFAULT);
    }
    if ( rc == 1 )
    {
        CHECK(content_is(world_frame(m->d, gfn), page->seed), "domain %u got another page than it put",
              m->d->domain_id);
        from->stats.gets++;
        if ( !from->stats.persistent )
            model_drop(m, from, page);
    }
    else if ( readable(gfn) )
        CHECK(content_is(world_frame(m->d, gfn), before), "a get that failed changed the page");
    CHECK(world_frame(model_dom0, 0)->count == 1 && content_is(world_frame(model_dom0, 0), 0),
          "another domain's page was used");
    model_compare();

    return rc;
}

long model_flush_page(struct model_domain *m, int32_t pool, unsigned int object,
                      unsigned int index)
{
    struct model_pool *from = pool_of(m, pool);
    long rc = page_call(m, TMEM_FLUSH_PAGE, pool, object, index, random_64());

    EXPECT(rc, from ? 1 : -ENODEV);
    if ( from )
    {
        from->stats.flushes_tried++;
        if ( from->page[object][index].there )
        {
            from->stats.flushes++;
            model_drop(m, from, &from->page[object][index]);
        }
    }
    model_compare();

    return rc;
}

static unsigned int between_steps;

static void count_steps(const tmem_op_t *op)
{
    between_steps++;
}

long model_flush_object(struct model_domain *m, int32_t pool, unsigned int object)
{
    struct model_pool *from = pool_of(m, pool);
    unsigned int index;
    bool found = false;
    long rc;

    between_steps = 0;
    world_between = count_steps;
    rc = page_call(m, TMEM_FLUSH_OBJECT, pool, object, 0, random_64());
    world_between = NULL;
    EXPECT(rc, from ? 1 : -ENODEV);
    if ( from )
    {
        for ( index = 0; index < MODEL_INDEXES; index++ )
            if ( from->page[object][index].there )
            {
                model_drop(m, from, &from->page[object][index]);
                found = true;
            }
        from->stats.object_flushes_tried++;
        from->stats.object_flushes += found;
    }
    model_compare();

    return rc;
}
