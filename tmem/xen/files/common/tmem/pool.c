/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: the life of clients and pools.
 */

#include <xen/event.h>
#include <xen/nospec.h>
#include <xen/xmalloc.h>

#include "lookup.h"

static void client_free(struct tmem_client *c)
{
    tmem_index_free(c);
    xfree(c);
}

int tmem_client_init(struct tmem_client *c, struct domain *d)
{
    c->domain = d;
    c->stats.domid = d ? d->domain_id : DOMID_INVALID;
    spin_lock_init(&c->lock);
    INIT_LIST_HEAD(&c->lru);
    tmem_content_init(c);

    return tmem_index_init(c);
}

struct tmem_client *tmem_client_get(struct domain *d)
{
    struct tmem_client *c = ACCESS_ONCE(d->tmem);

    if ( c )
        return c;

    c = xzalloc(struct tmem_client);
    if ( !c )
        return NULL;
    if ( tmem_client_init(c, d) )
    {
        client_free(c);
        return NULL;
    }

    /*
     * Two vCPUs, or the control domain and one, may both be making it. And a
     * domain that starts to die waits for this lock before it empties it.
     */
    domain_lock(d);
    if ( !d->tmem && !d->is_dying )
    {
        smp_wmb();
        ACCESS_ONCE(d->tmem) = c;
        c = NULL;
    }
    domain_unlock(d);
    if ( c )
        client_free(c);

    return ACCESS_ONCE(d->tmem);
}

long tmem_new_pool(struct domain *d, const tmem_op_t *op)
{
    uint32_t flags = op->u.creat.flags;
    struct tmem_shared *fresh = NULL;
    struct tmem_client *c;
    struct tmem_pool *pool;
    bool shared = false;
    unsigned int id;
    int rc = -EPERM;

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
    c = pool ? tmem_client_get(d) : NULL;
    if ( !c )
    {
        xfree(pool);
        return -ENOMEM;
    }
    pool->persistent = flags & TMEM_POOL_PERSIST;
    INIT_LIST_HEAD(&pool->objects);
    pool->secret = tmem_random();
    pool->stats.persistent = pool->persistent;
    pool->stats.uuid[0] = op->u.creat.uuid[0];
    pool->stats.uuid[1] = op->u.creat.uuid[1];

    if ( flags & TMEM_POOL_SHARED )
    {
        spin_lock(&c->lock);
        shared = tmem_shared_may_join(c, pool->stats.uuid);
        spin_unlock(&c->lock);
        fresh = shared ? tmem_shared_new(pool->stats.uuid) : NULL;
        if ( shared && !fresh )
        {
            xfree(pool);
            return -ENOMEM;
        }
    }

    spin_lock(&c->lock);
    /* The control domain may have had second thoughts meanwhile. */
    if ( shared )
        shared = tmem_shared_may_join(c, pool->stats.uuid);
    for ( id = 0; id < TMEM_MAX_POOLS && c->pools[id]; id++ )
        ;
    if ( id < TMEM_MAX_POOLS )
        rc = shared ? tmem_shared_join(pool, c, &fresh) : 0;
    if ( !rc )
    {
        pool->id = id;
        pool->own = !shared;
        pool->stats.id = id;
        c->pools[id] = pool;
        ACCESS_ONCE(c->shared_pools) = c->shared_pools | (shared << id);
        c->stats.nr_pools++;
        ACCESS_ONCE(c->persistent_pools) =
            (c->persistent_pools & ~(1U << id)) | (pool->persistent << id);
        tmem_trace(c, TMEM_TRACE_POOL, id, tmem_trace_flags(pool));
        rc = id;
    }
    spin_unlock(&c->lock);

    tmem_shared_discard(fresh);
    if ( rc < 0 )
        xfree(pool);

    return rc;
}

bool tmem_drain_object(struct tmem_client *c, struct tmem_object *obj,
                       unsigned int *budget)
{
    bool last;

    ASSERT(spin_is_locked(&c->lock));

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

bool tmem_drain_pool(struct tmem_client *c, struct tmem_pool *pool)
{
    unsigned int budget = TMEM_BATCH;

    while ( !list_empty(&pool->objects) )
        if ( !tmem_drain_object(c, list_entry(pool->objects.next,
                                              struct tmem_object, siblings),
                                &budget) )
            return false;

    return true;
}

static void remove_pool(struct tmem_client *c, unsigned int id)
{
    ASSERT(spin_is_locked(&c->lock));

    c->pools[id] = NULL;
    ACCESS_ONCE(c->shared_pools) = c->shared_pools & ~(1U << id);
    c->stats.nr_pools--;
}

/*
 * One step of leaving a shared pool; true when the sharer's own pool is off.
 * Called with the client's lock and in an RCU critical section; lets go of the
 * lock for a while, and other vCPUs may be leaving, too.
 */
static bool leave_pool(struct tmem_client *c, unsigned int id)
{
    struct tmem_pool *pool = c->pools[id];
    struct tmem_shared *s = pool->shared;
    bool done;

    ASSERT(spin_is_locked(&c->lock));

    tmem_shared_leave(pool);
    if ( pool->empties )
    {
        spin_unlock(&c->lock);
        done = tmem_shared_drain(s);
        spin_lock(&c->lock);
        /* RCU keeps s: no other pool can have come to point to its place. */
        pool = c->pools[id];
        if ( !done || !pool || pool->shared != s )
            return false;
    }
    remove_pool(c, id);

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
        uint64_t start;
        bool gone;

        rcu_read_lock(&tmem_shared_rcu);
        spin_lock(&c->lock);
        start = rdtsc();
        pool = c->pools[id];
        if ( !pool )
            break;
        if ( !pool->dying )
            tmem_trace(c, TMEM_TRACE_POOL_GONE, id, tmem_trace_flags(pool));
        pool->dying = true;
        pool->own = false;
        if ( pool->shared )
            gone = leave_pool(c, id);
        else if ( (gone = tmem_drain_pool(c, pool)) )
        {
            remove_pool(c, id);
            c->pools_flushed++;
        }
        tmem_time(c, TMEM_TIME_STEP, rdtsc() - start);
        spin_unlock(&c->lock);
        rcu_read_unlock(&tmem_shared_rcu);

        if ( gone )
        {
            if ( pool->empties )
                tmem_shared_free(pool->shared);
            xfree(pool);
            return 1;
        }
        if ( hypercall_preempt_check() )
            return -ERESTART;
        rc = 1;
    }
    spin_unlock(&c->lock);
    rcu_read_unlock(&tmem_shared_rcu);

    return rc;
}

/* As tmem_destroy_pool(), but what is put meanwhile may stay. */
long tmem_flush_object(struct tmem_client *c, const tmem_op_t *op)
{
    const xen_tmem_oid_t *oid = &op->u.gen.oid;
    uint64_t start = tmem_start(c);
    bool found = false, done;

    for ( ; ; )
    {
        unsigned int budget = TMEM_BATCH;
        struct tmem_pool *pool;
        struct tmem_object *obj;
        uint64_t key;

        spin_lock(&c->lock);
        add_sized(&c->stats.ops, !found);
        pool = tmem_find_pool(c, op->pool_id);
        if ( !pool )
        {
            c->stats.errors++;
            spin_unlock(&c->lock);
            return -ENODEV;
        }
        key = tmem_key(c, pool, oid);
        obj = tmem_find_object(c, key, oid);
        /* All of it is told as gone with the first step. */
        if ( !found )
            tmem_trace(c, obj ? TMEM_TRACE_OBJECT : TMEM_TRACE_NO_OBJECT, key,
                       0);
        done = true;
        if ( obj )
        {
            uint64_t step = rdtsc();

            found = true;
            done = tmem_drain_object(c, obj, &budget);
            tmem_time(c, TMEM_TIME_STEP, rdtsc() - step);
        }
        if ( done )
        {
            pool->stats.object_flushes_tried++;
            pool->stats.object_flushes += found;
            tmem_account(c, TMEM_TIME_FLUSH_OBJECT, start);
        }
        spin_unlock(&c->lock);

        if ( done )
            return 1;
        if ( hypercall_preempt_check() )
            return -ERESTART;
    }
}

void tmem_client_empty(struct tmem_client *c)
{
    uint64_t start = rdtsc();

    ASSERT(spin_is_locked(&c->lock));

    tmem_drain_free(c);
    tmem_index_free(c);
    tmem_time(c, TMEM_TIME_STEP, rdtsc() - start);
    tmem_retire_stats(c);
}

int tmem_domain_reset(struct domain *d)
{
    struct tmem_client *c = ACCESS_ONCE(d->tmem);
    unsigned int id;

    for ( id = 0; c && id < TMEM_MAX_POOLS; id++ )
    {
        long rc = tmem_destroy_pool(c, id);

        if ( rc < 0 )
            return rc;
    }

    return 0;
}

int tmem_domain_kill(struct domain *d)
{
    struct tmem_client *c = d->tmem;
    int rc;

    if ( !c )
        return 0;

    rc = tmem_domain_reset(d);
    if ( rc )
        return rc;

    spin_lock(&c->lock);
    if ( !c->dying )
        tmem_client_empty(c);
    spin_unlock(&c->lock);

    return 0;
}

/*
 * A guest that goes on in another domain has to have copies of its persistent
 * pages: what tells the toolstack of a guest's memory has no place for them.
 */
long tmem_set_drained(struct tmem_client *c, const tmem_op_t *op)
{
    struct tmem_pool *pool;

    spin_lock(&c->lock);
    c->stats.ops++;
    pool = tmem_find_pool(c, op->pool_id);
    if ( pool )
        pool->drained = op->u.gen.index;
    else
        c->stats.errors++;
    spin_unlock(&c->lock);

    return pool ? 1 : -ENODEV;
}

bool tmem_may_suspend(const struct domain *d)
{
    struct tmem_client *c = ACCESS_ONCE(d->tmem);
    unsigned long pages = 0;
    unsigned int id;

    if ( !c )
        return true;

    spin_lock(&c->lock);
    for ( id = 0; id < TMEM_MAX_POOLS; id++ )
        if ( c->pools[id] && c->pools[id]->persistent && !c->pools[id]->drained )
            pages += c->pools[id]->stats.pages.now;
    spin_unlock(&c->lock);

    if ( !pages )
        return true;
    printk(XENLOG_G_WARNING
           "tmem: d%d may not be suspended: it would lose %lu swapped pages, "
           "which its driver leaves in tmem; swapoff in the guest brings them back\n",
           d->domain_id, pages);

    return false;
}

void tmem_domain_free(struct domain *d)
{
    XFREE(d->tmem);
}
