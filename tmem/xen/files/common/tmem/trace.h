/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: telling of operations while somebody traces them. While
 * nobody does, an operation pays for one look at a flag.
 */

#ifndef __TMEM_TRACE_H__
#define __TMEM_TRACE_H__

#include "types.h"

/* A guess: switched without locks, see trace.c. */
extern bool tmem_tracing;

/* trace.c */
void tmem_trace_add(const struct tmem_client *c, unsigned int kind,
                    uint64_t object, uint32_t index);
/* What the control domain asks for: TMEM_CONTROL_TRACE_*. */
long tmem_trace_control(struct xen_sysctl_tmem_op *op);

/* Of a pool, as records tell it: TMEM_POOL_*. */
static inline uint32_t tmem_trace_flags(const struct tmem_pool *pool)
{
    return (pool->persistent ? TMEM_POOL_PERSIST : 0) |
           (pool->shared ? TMEM_POOL_SHARED : 0);
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
