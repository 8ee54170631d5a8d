/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: telling of operations while somebody traces them. While
 * nobody does, an operation pays for one look at a flag.
 */

#ifndef __TMEM_TRACE_H__
#define __TMEM_TRACE_H__

#include <asm/system.h>

#include "account.h"

/* A guess: switched without locks, see trace.c. */
extern bool tmem_tracing;

/* The ring, and the number to be drawn next: 0 is nobody's, an empty place's. */
extern struct tmem_trace_record *tmem_trace_records;
extern unsigned int tmem_trace_mask;
extern uint64_t tmem_trace_next;

/* trace.c */
/* What the control domain asks for: TMEM_CONTROL_TRACE_*. */
long tmem_trace_control(struct xen_sysctl_tmem_op *op);

/* Of a pool, as records tell it: TMEM_POOL_*. */
static inline uint32_t tmem_trace_flags(const struct tmem_pool *pool)
{
    return (pool->persistent ? TMEM_POOL_PERSIST : 0) |
           (pool->shared ? TMEM_POOL_SHARED : 0);
}

/* In line: a call and its return are a fifth of it. */
static always_inline void tmem_trace_add(const struct tmem_client *c,
                                         unsigned int kind, uint64_t object,
                                         uint32_t index)
{
    uint64_t number = arch_fetch_and_add(&tmem_trace_next, 1);
    struct tmem_trace_record *r =
        &tmem_trace_records[number & tmem_trace_mask];

    /* Not a const pointer: Xen 4.17. */
    ASSERT(spin_is_locked((spinlock_t *)&c->lock));

    ACCESS_ONCE(r->time) = tmem_now();
    ACCESS_ONCE(r->object) = object;
    ACCESS_ONCE(r->index) = index;
    ACCESS_ONCE(r->domid) = c->stats.domid;
    ACCESS_ONCE(r->kind) = kind;
    smp_wmb();
    ACCESS_ONCE(r->number) = number;
}

/*
 * Of a page, or an object, by its key (tmem_key()); of a pool, by its number.
 * With the client's lock, so that records are in the order of what they tell.
 */
static always_inline void tmem_trace(const struct tmem_client *c,
                                     unsigned int kind, uint64_t object,
                                     uint32_t index)
{
    if ( unlikely(ACCESS_ONCE(tmem_tracing)) )
        tmem_trace_add(c, kind, object, index);
}

#endif /* __TMEM_TRACE_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
