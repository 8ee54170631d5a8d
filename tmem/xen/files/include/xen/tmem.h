/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the rest of Xen knows of transcendent memory.
 */

#ifndef __XEN_TMEM_H__
#define __XEN_TMEM_H__

#include <xen/errno.h>
#include <xen/types.h>

struct domain;
struct xen_sysctl_tmem_op;

#ifdef CONFIG_TMEM

/* Set by "tmem" on the command line. */
extern bool opt_tmem;

/*
 * Pages of the heap that neither tmem nor guests get, so that Xen itself never
 * runs out. 0 when tmem is off.
 */
extern unsigned long tmem_reserve_pages;

/*
 * Pages that tmem would give back at once. Takes no lock, so the figure may
 * be stale by the operations under way.
 */
unsigned long tmem_freeable_pages(void);

/* Whether it would give back at least so many. Takes no lock either. */
bool tmem_backs(unsigned long pages);

/*
 * Give pages back to the heap because an allocation of this order is about to
 * fail. Returns false when there was nothing to give, or it did not help often
 * enough (*attempt counts, from 0 for each allocation), and for an allocation
 * that must not wait for tmem. The caller holds neither the heap lock nor a
 * page_alloc_lock.
 */
bool tmem_relinquish(unsigned int order, unsigned int memflags,
                     unsigned int *attempt);

/*
 * Give back all that a dying domain, whose vCPUs are paused, holds.
 * -ERESTART when there is more to do than one call should.
 */
int tmem_domain_kill(struct domain *d);

/* The last step of a domain's destruction, after an RCU grace period. */
void tmem_domain_free(struct domain *d);

/*
 * Statistics and control; the caller has checked that whoever asks may. -ENODEV
 * when tmem is off; -ERESTART when there is more to do than one call should.
 */
long tmem_control(struct xen_sysctl_tmem_op *op);

#else

#define tmem_reserve_pages 0UL

static inline unsigned long tmem_freeable_pages(void)
{
    return 0;
}

static inline bool tmem_backs(unsigned long pages)
{
    return false;
}

static inline bool tmem_relinquish(unsigned int order, unsigned int memflags,
                                   unsigned int *attempt)
{
    return false;
}

static inline int tmem_domain_kill(struct domain *d)
{
    return 0;
}

static inline void tmem_domain_free(struct domain *d)
{
}

static inline long tmem_control(struct xen_sysctl_tmem_op *op)
{
    return -ENOSYS;
}

#endif

#endif /* __XEN_TMEM_H__ */
