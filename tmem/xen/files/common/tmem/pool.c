/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: the life of clients and pools.
 */

#include <xen/event.h>
#include <xen/nospec.h>
#include <xen/xmalloc.h>

#include "private.h"

static void client_free(struct tmem_client *c)
{
    tmem_index_free(c);
    xfree(c);
}

/* The domain's client, made at its first pool. */
static struct tmem_client *client_get(struct domain *d)
{
    struct tmem_client *c = ACCESS_ONCE(d->tmem);

    if ( c )
        return c;

    c = xzalloc(struct tmem_client);
    if ( !c )
        return NULL;
    c->domain = d;
    c->stats.domid = d->domain_id;
    spin_lock_init(&c->lock);
    INIT_LIST_HEAD(&c->lru);
    INIT_PAGE_LIST_HEAD(&c->free);
    if ( tmem_index_init(c) )
    {
        client_free(c);
        return NULL;
    }

    /* Two vCPUs may both be making the first pool. */
    smp_wmb();
    if ( cmpxchg(&d->tmem, NULL, c) )
        client_free(c);

    return d->tmem;
}

long tmem_new_pool(struct domain *d, const tmem_op_t *op)
{
    uint32_t flags = op->u.creat.flags;
    struct tmem_client *c;
    struct tmem_pool *pool;
    unsigned int id;

    if ( (flags & TMEM_POOL_RESERVED_BITS) ||
         ((flags >> TMEM_POOL_VERSION_SHIFT) & TMEM_POOL_VERSION_MASK) !=
          TMEM_SPEC_VERSION ||
         ((flags >> TMEM_POOL_PAGESIZE_SHIFT) & TMEM_POOL_PAGESIZE_MASK) !=
          PAGE_SHIFT - 12 ||
         (flags & TMEM_POOL_PRECOMPRESSED) )
        return -EPERM;
    if ( (flags & TMEM_POOL_PERSIST) && (flags & TMEM_POOL_SHARED) )
        return -EPERM;

    /* The client last: nothing is to be left of a pool that is refused. */
    pool = xzalloc(struct tmem_pool);
    c = pool ? client_get(d) : NULL;
    if ( !c )
    {
        xfree(pool);
        return -ENOMEM;
    }
    pool->persistent = flags & TMEM_POOL_PERSIST;
    INIT_LIST_HEAD(&pool->objects);
    pool->stats.persistent = pool->persistent;
    /*
     * Nobody is authorised to share: as ever, such a pool is made a private
     * one, which its user can't tell from a shared pool without other members.
     */
    pool->stats.uuid[0] = op->u.creat.uuid[0];
    pool->stats.uuid[1] = op->u.creat.uuid[1];

    spin_lock(&c->lock);
    for ( id = 0; id < TMEM_MAX_POOLS && c->pools[id]; id++ )
        ;
    if ( id < TMEM_MAX_POOLS )
    {
        pool->id = id;
        pool->stats.id = id;
        c->pools[id] = pool;
        c->stats.nr_pools++;
    }
    spin_unlock(&c->lock);

    if ( id == TMEM_MAX_POOLS )
    {
        xfree(pool);
        return -EPERM;
    }

    return id;
}

struct tmem_pool *tmem_find_pool(const struct tmem_client *c, int32_t id)
{
    struct tmem_pool *pool;

    if ( id < 0 || id >= TMEM_MAX_POOLS )
        return NULL;
    pool = c->pools[array_index_nospec(id, TMEM_MAX_POOLS)];

    return pool && !pool->dying ? pool : NULL;
}

bool tmem_drain_object(struct tmem_client *c, struct tmem_object *obj,
                       unsigned int *budget)
{
    bool last;

    /* The object goes with its last page. */
    do {
        struct tmem_page *page = hlist_entry(obj->pages.first,
                                             struct tmem_page, siblings);

        if ( !*budget )
            return false;
        --*budget;
        last = !page->siblings.next;
        tmem_drop_page(c, page);
    } while ( !last );

    return true;
}

/* One step of emptying a pool; true when it is empty. */
static bool drain_pool(struct tmem_client *c, struct tmem_pool *pool)
{
    unsigned int budget = TMEM_BATCH;

    while ( !list_empty(&pool->objects) )
        if ( !tmem_drain_object(c, list_entry(pool->objects.next,
                                              struct tmem_object, siblings),
                                &budget) )
            return false;

    return true;
}

/*
 * Returns 1 when done, 0 when there is no such pool, -ERESTART between steps
 * when other work waits. The pool can't be used from the first step on.
 */
long tmem_destroy_pool(struct tmem_client *c, unsigned int id)
{
    long rc = 0;

    if ( id >= TMEM_MAX_POOLS )
        return 0;
    id = array_index_nospec(id, TMEM_MAX_POOLS);

    for ( ; ; )
    {
        struct tmem_pool *pool;

        spin_lock(&c->lock);
        pool = c->pools[id];
        if ( !pool )
            break;
        pool->dying = true;
        if ( drain_pool(c, pool) )
        {
            c->pools[id] = NULL;
            c->stats.nr_pools--;
            c->pools_flushed++;
            spin_unlock(&c->lock);
            xfree(pool);
            return 1;
        }
        spin_unlock(&c->lock);

        if ( hypercall_preempt_check() )
            return -ERESTART;
        rc = 1;
    }
    spin_unlock(&c->lock);

    return rc;
}

/* As tmem_destroy_pool(), but what is put meanwhile may stay. */
long tmem_flush_object(struct tmem_client *c, const tmem_op_t *op)
{
    const xen_tmem_oid_t *oid = &op->u.gen.oid;
    uint64_t start = rdtsc();
    bool found = false;

    for ( ; ; )
    {
        unsigned int budget = TMEM_BATCH;
        struct tmem_pool *pool;
        struct tmem_object *obj;

        spin_lock(&c->lock);
        c->stats.ops += !found;
        pool = tmem_find_pool(c, op->pool_id);
        if ( !pool )
        {
            c->stats.errors++;
            spin_unlock(&c->lock);
            return -ENODEV;
        }
        obj = tmem_find_object(c, pool->id, oid,
                               tmem_hash_oid(c, pool->id, oid));
        if ( !obj || tmem_drain_object(c, obj, &budget) )
        {
            uint64_t cycles = rdtsc() - start;

            pool->stats.object_flushes_tried++;
            pool->stats.object_flushes += obj || found;
            tmem_time(c, TMEM_TIME_FLUSH_OBJECT, cycles);
            c->stats.cycles += cycles;
            spin_unlock(&c->lock);
            return 1;
        }
        found = true;
        spin_unlock(&c->lock);

        if ( hypercall_preempt_check() )
            return -ERESTART;
    }
}

int tmem_domain_kill(struct domain *d)
{
    struct tmem_client *c = d->tmem;
    unsigned int id;

    if ( !c )
        return 0;

    for ( id = 0; id < TMEM_MAX_POOLS; id++ )
    {
        long rc = tmem_destroy_pool(c, id);

        if ( rc < 0 )
            return rc;
    }

    spin_lock(&c->lock);
    if ( !c->dying )
    {
        tmem_drain_free(c);
        tmem_index_free(c);
        tmem_retire_stats(c);
    }
    spin_unlock(&c->lock);

    return 0;
}

void tmem_domain_free(struct domain *d)
{
    XFREE(d->tmem);
}
