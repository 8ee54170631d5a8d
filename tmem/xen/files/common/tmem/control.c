/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: statistics and control, for the control domain.
 *
 * XEN_SYSCTL_tmem_op: who may call it is decided in do_sysctl().
 */

#include <xen/guest_access.h>
#include <xen/rcupdate.h>

#include "private.h"

static long get_global(struct xen_sysctl_tmem_op *op)
{
    struct tmem_stats_global g;

    tmem_global_stats(&g);
    op->u.stats.nr = 1;

    return copy_to_guest(op->u.stats.to.global, &g, 1) ? -EFAULT : 0;
}

static long get_clients(struct xen_sysctl_tmem_op *op)
{
    unsigned int nr = 0;
    struct domain *d;
    long rc = 0;

    rcu_read_lock(&domlist_read_lock);
    for_each_domain ( d )
    {
        struct tmem_client *c = ACCESS_ONCE(d->tmem);
        struct tmem_stats_client record;

        if ( !c )
            continue;
        spin_lock(&c->lock);
        record = c->stats;
        record.weight = ACCESS_ONCE(c->weight);
        record.cap = ACCESS_ONCE(c->cap);
        record.frozen = c->frozen || ACCESS_ONCE(tmem_frozen);
        record.compress = ACCESS_ONCE(c->compress);
        record.dedup = ACCESS_ONCE(c->dedup);
        record.free_frames = c->nr_free + c->nr_spare;
        record.descriptors = record.ephemeral.now + record.persistent.now;
        spin_unlock(&c->lock);
        if ( nr < op->u.stats.nr &&
             copy_to_guest_offset(op->u.stats.to.clients, nr, &record, 1) )
        {
            rc = -EFAULT;
            break;
        }
        nr++;
    }
    rcu_read_unlock(&domlist_read_lock);
    op->u.stats.nr = nr;

    return rc;
}

static long get_pools(struct xen_sysctl_tmem_op *op, struct tmem_client *c)
{
    unsigned int id, nr = 0;

    for ( id = 0; id < TMEM_MAX_POOLS; id++ )
    {
        struct tmem_stats_pool record;
        struct tmem_shared *shared = NULL;
        bool there;

        rcu_read_lock(&tmem_shared_rcu);
        spin_lock(&c->lock);
        there = c->pools[id];
        if ( there )
        {
            record = c->pools[id]->stats;
            shared = c->pools[id]->shared;
        }
        spin_unlock(&c->lock);
        if ( shared )
        {
            tmem_shared_pool_stats(shared, &record);
            record.id = id;
        }
        rcu_read_unlock(&tmem_shared_rcu);
        if ( !there )
            continue;
        if ( nr < op->u.stats.nr &&
             copy_to_guest_offset(op->u.stats.to.pools, nr, &record, 1) )
            return -EFAULT;
        nr++;
    }
    op->u.stats.nr = nr;

    return 0;
}

static long get_shared(struct xen_sysctl_tmem_op *op)
{
    unsigned int slot, nr = 0;

    for ( slot = 0; slot < TMEM_MAX_SHARED; slot++ )
    {
        struct tmem_stats_shared record;

        if ( !tmem_shared_stats(slot, &record) )
            continue;
        if ( nr < op->u.stats.nr &&
             copy_to_guest_offset(op->u.stats.to.shared, nr, &record, 1) )
            return -EFAULT;
        nr++;
    }
    op->u.stats.nr = nr;

    return 0;
}

static void set_frozen(struct tmem_client *c, bool frozen)
{
    spin_lock(&c->lock);
    c->frozen = frozen;
    spin_unlock(&c->lock);
}

/* Of one client, or where it is NULL of all. */
static long flush(struct xen_sysctl_tmem_op *op, struct tmem_client *c)
{
    unsigned long dropped;

    op->u.flush.freed = tmem_flush_pages(c, op->u.flush.pages, &dropped);
    op->u.flush.dropped = dropped;

    return 0;
}

static long control_all(struct xen_sysctl_tmem_op *op)
{
    switch ( op->subop )
    {
    case TMEM_CONTROL_FREEZE:
    case TMEM_CONTROL_THAW:
        tmem_freeze_all(op->subop == TMEM_CONTROL_FREEZE);
        return 0;

    case TMEM_CONTROL_FLUSH:
        return flush(op, NULL);

    case TMEM_CONTROL_SET:
        if ( op->u.set.pad )
            return -EINVAL;
        return tmem_set_all(op->u.set.setting, op->u.set.value);
    }

    return -EINVAL;
}

static long control_one(struct xen_sysctl_tmem_op *op, struct domain *d)
{
    struct tmem_client *c = ACCESS_ONCE(d->tmem);

    /* These may be told before the guest has made a pool. */
    if ( !c && (op->subop == TMEM_CONTROL_SET ||
                op->subop == TMEM_CONTROL_SHARED_AUTH) )
    {
        c = tmem_client_get(d);
        if ( !c )
            return d->is_dying ? -ESRCH : -ENOMEM;
    }
    if ( !c )
        return -ENODEV;

    switch ( op->subop )
    {
    case TMEM_CONTROL_SET:
        if ( op->u.set.pad )
            return -EINVAL;
        return tmem_set(c, op->u.set.setting, op->u.set.value);

    case TMEM_CONTROL_SHARED_AUTH:
        if ( op->u.shared_auth.allowed > 1 || op->u.shared_auth.pad )
            return -EINVAL;
        return tmem_shared_authorise(c, op->u.shared_auth.uuid,
                                     op->u.shared_auth.allowed);

    case TMEM_CONTROL_POOLS:
        return get_pools(op, c);

    case TMEM_CONTROL_FREEZE:
    case TMEM_CONTROL_THAW:
        set_frozen(c, op->subop == TMEM_CONTROL_FREEZE);
        return 0;

    case TMEM_CONTROL_FLUSH:
        return flush(op, c);
    }

    return -EINVAL;
}

long tmem_control(struct xen_sysctl_tmem_op *op)
{
    struct domain *d;
    long rc;

    if ( !opt_tmem )
        return -ENODEV;
    if ( op->version != TMEM_CONTROL_VERSION || op->pad )
        return -EINVAL;

    switch ( op->subop )
    {
    case TMEM_CONTROL_GLOBAL:
        return get_global(op);

    case TMEM_CONTROL_CLIENTS:
        return get_clients(op);

    case TMEM_CONTROL_SHARED_POOLS:
        return get_shared(op);

    case TMEM_CONTROL_FREEABLE:
        op->u.freeable.pages = tmem_freeable_pages();
        return 0;

    case TMEM_CONTROL_TRACE_BEGIN:
    case TMEM_CONTROL_TRACE_READ:
    case TMEM_CONTROL_TRACE_END:
    case TMEM_CONTROL_TRACE_FREE:
        return tmem_trace_control(op);
    }

    if ( op->domid == TMEM_CONTROL_ALL_CLIENTS )
        return control_all(op);

    d = rcu_lock_domain_by_id(op->domid);
    if ( !d )
        return -ESRCH;
    rc = control_one(op, d);
    rcu_unlock_domain(d);

    return rc;
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
