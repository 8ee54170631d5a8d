/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the rest of Xen knows of transcendent memory.
 */

#ifndef __XEN_TMEM_H__
#define __XEN_TMEM_H__

#include <xen/errno.h>
#include <xen/lib.h>
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
 * On how many pages a request may count that d, or Xen itself, makes: those that
 * are free, but for what is Xen's own, and, where claims are more than what is
 * free, what tmem would give back. Heap lock held.
 */
unsigned long tmem_avail_when_short(unsigned long avail, unsigned long request,
                                    unsigned int memflags,
                                    const struct domain *d);
static inline unsigned long tmem_heap_avail(unsigned long avail,
                                            unsigned long claims,
                                            unsigned long request,
                                            unsigned int memflags,
                                            const struct domain *d)
{
    if ( likely(avail >= claims + request + tmem_reserve_pages) || !opt_tmem )
        return avail;

    return tmem_avail_when_short(avail, request, memflags, d);
}

/* Likewise how many pages all claims together may be on. Heap lock held. */
unsigned long tmem_claimable_pages(unsigned long avail, unsigned long claims);

/*
 * For an allocation that fails: gives pages back to the heap, so that it is
 * worth another attempt; false: it is not. Policy, with its bounds, is in
 * common/tmem/heap.c. low: the highest zones are not for it. *attempt: 0 for
 * each allocation. The caller holds neither the heap lock nor a page_alloc_lock.
 */
bool tmem_make_way(const struct domain *d, unsigned int order,
                   unsigned int memflags, bool low, unsigned int *attempt);

/*
 * Pages that tmem would give back at once. Takes no lock, so the figure may
 * be stale by the operations under way.
 */
unsigned long tmem_freeable_pages(void);

/* Whether it would give back at least so many. Takes no lock either. */
bool tmem_backs(unsigned long pages);

/*
 * The part of tmem_make_way() that does not look at claims. Returns false when
 * there was nothing to give, or it did not help often enough, and for an
 * allocation that must not wait for tmem, or may not have others pay for it.
 */
bool tmem_relinquish(unsigned int order, unsigned int memflags,
                     unsigned int *attempt);

/*
 * A frame in use has been marked as broken, or to be taken offline, and may be
 * tmem's. In any context.
 */
extern bool tmem_frames_marked;
static inline void tmem_frame_is_marked(void)
{
    ACCESS_ONCE(tmem_frames_marked) = true;
}

/*
 * Whether a domain may be suspended, which is to be saved or to go elsewhere.
 * Not while tmem has pages that only it has: nobody would take them along.
 */
bool tmem_may_suspend(const struct domain *d);

/*
 * Give back all that a domain holds whose guest begins anew, and whose vCPUs
 * are paused. -ERESTART when there is more to do than one call should.
 */
int tmem_domain_reset(struct domain *d);

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

static inline unsigned long tmem_heap_avail(unsigned long avail,
                                            unsigned long claims,
                                            unsigned long request,
                                            unsigned int memflags,
                                            const struct domain *d)
{
    return avail;
}

static inline unsigned long tmem_claimable_pages(unsigned long avail,
                                                 unsigned long claims)
{
    return avail;
}

static inline bool tmem_make_way(const struct domain *d, unsigned int order,
                                 unsigned int memflags, bool low,
                                 unsigned int *attempt)
{
    return false;
}

static inline void tmem_frame_is_marked(void)
{
}

static inline bool tmem_may_suspend(const struct domain *d)
{
    return true;
}

static inline int tmem_domain_reset(struct domain *d)
{
    return 0;
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
