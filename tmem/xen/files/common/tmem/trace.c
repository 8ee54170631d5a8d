/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what guests ask of it, one record after another, for the
 * control domain.
 *
 * Records are in one ring, so that the order of clients among each other is in
 * them, too. Who tells something draws a number, and writes the record to the
 * number's place; nobody waits for anybody, a reader least of all. When the
 * reader is late, the oldest records are overwritten; he knows from the numbers
 * how many. A record is whole when its own number is in it, which is written
 * last, and while the one that will overwrite it has not been drawn.
 *
 * That takes for granted that between drawing a number and writing it a
 * processor is not held up for as long as others take for a whole ring.
 *
 * A guest's names are not told: objects are known by a hash that is keyed with
 * secrets of the client and the pool (tmem_key()). Contents are not looked at.
 */

#include <xen/cache.h>
#include <xen/guest_access.h>
#include <xen/rcupdate.h>
#include <xen/vmap.h>

#include "private.h"

/* Copied out at a time; and the most in one call, so that it is a short one. */
#define BATCH       32
#define MOST_READ   4096

bool __read_mostly tmem_tracing;

/* NULL: there is no trace. */
struct tmem_trace_record *__read_mostly tmem_trace_records;
unsigned int __read_mostly tmem_trace_mask;
uint64_t __cacheline_aligned tmem_trace_next;

/* Which pools there are: without that, nobody knows what a get leaves. */
static void tell_pools(struct tmem_client *c)
{
    unsigned int id;

    spin_lock(&c->lock);
    for ( id = 0; c->domain && id < TMEM_MAX_POOLS; id++ )
        if ( c->pools[id] && !c->pools[id]->dying )
            tmem_trace_add(c, TMEM_TRACE_POOL, id,
                           tmem_trace_flags(c->pools[id]));
    spin_unlock(&c->lock);
}

static long begin_trace(unsigned int nr)
{
    struct tmem_client *c;
    struct tmem_walk w;

    if ( nr < TMEM_TRACE_LEAST || nr > TMEM_TRACE_MOST || (nr & (nr - 1)) )
        return -EINVAL;
    if ( tmem_trace_records )
        return -EBUSY;

    tmem_trace_records = vzalloc(nr * sizeof(*tmem_trace_records));
    if ( !tmem_trace_records )
        return -ENOMEM;
    tmem_trace_mask = nr - 1;
    /* Who draws a number has seen all of the above. */
    ACCESS_ONCE(tmem_trace_next) = 1;
    smp_wmb();
    ACCESS_ONCE(tmem_tracing) = true;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
        tell_pools(c);
    rcu_read_unlock(&domlist_read_lock);

    return 0;
}

/* Nobody writes to the ring any more when this returns. */
static void end_trace(void)
{
    ACCESS_ONCE(tmem_tracing) = false;
    /* All records are written with the lock of a client that has been found. */
    tmem_wait_for_all();
}

/* Copies one; false: it is still being written, or has been overwritten. */
static bool copy_record(struct tmem_trace_record *to, uint64_t number)
{
    const struct tmem_trace_record *r =
        &tmem_trace_records[number & tmem_trace_mask];

    to->number = ACCESS_ONCE(r->number);
    if ( to->number != (uint32_t)number )
        return false;
    smp_rmb();
    to->time = ACCESS_ONCE(r->time);
    to->object = ACCESS_ONCE(r->object);
    to->index = ACCESS_ONCE(r->index);
    to->domid = ACCESS_ONCE(r->domid);
    to->kind = ACCESS_ONCE(r->kind);
    to->pad = 0;

    return true;
}

/* How many records from a number on are overwritten, or may be right now. */
static uint64_t overwritten(uint64_t from)
{
    uint64_t drawn = ACCESS_ONCE(tmem_trace_next) - from;
    uint64_t room = tmem_trace_mask + 1ULL;

    return drawn > room ? drawn - room : 0;
}

static long read_records(struct xen_sysctl_tmem_op *op)
{
    unsigned int room = min(op->u.trace.nr, MOST_READ + 0U), done = 0;
    uint64_t from = op->u.trace.next ?: 1;
    long rc = 0;

    if ( !tmem_trace_records )
        return -ENODATA;
    if ( from > ACCESS_ONCE(tmem_trace_next) )
        return -EINVAL;

    op->u.trace.lost = 0;
    while ( done < room )
    {
        struct tmem_trace_record batch[BATCH];
        uint64_t gone = overwritten(from);
        unsigned int nr, most;

        /* What is told in one call has no gap in it, only one before it. */
        if ( gone && done )
            break;
        from += gone;
        op->u.trace.lost += gone;
        most = min_t(uint64_t, ACCESS_ONCE(tmem_trace_next) - from,
                     min(room - done, BATCH + 0U));
        for ( nr = 0; nr < most && copy_record(&batch[nr], from + nr); nr++ )
            ;
        smp_rmb();
        /* The first of these may have been overwritten while they were read. */
        gone = min_t(uint64_t, overwritten(from), nr);
        if ( gone && done )
            break;
        if ( nr > gone &&
             copy_to_guest_offset(op->u.trace.to, done, batch + gone,
                                  nr - gone) )
        {
            rc = -EFAULT;
            break;
        }
        op->u.trace.lost += gone;
        done += nr - gone;
        from += nr;
        /* All are read, or the next one is not written yet. */
        if ( !most || (nr < most && !overwritten(from)) )
            break;
    }
    op->u.trace.nr = done;
    op->u.trace.next = from;
    op->u.trace.now = NOW();

    return rc;
}

long tmem_trace_control(struct xen_sysctl_tmem_op *op)
{
    if ( op->u.trace.pad )
        return -EINVAL;

    switch ( op->subop )
    {
    case TMEM_CONTROL_TRACE_BEGIN:
        op->u.trace.now = NOW();
        return begin_trace(op->u.trace.nr);

    case TMEM_CONTROL_TRACE_READ:
        return read_records(op);

    case TMEM_CONTROL_TRACE_END:
        if ( !tmem_trace_records )
            return -ENODATA;
        end_trace();
        return 0;

    case TMEM_CONTROL_TRACE_FREE:
        if ( !tmem_trace_records )
            return -ENODATA;
        end_trace();
        vfree(tmem_trace_records);
        tmem_trace_records = NULL;
        return 0;
    }

    return -EINVAL;
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
