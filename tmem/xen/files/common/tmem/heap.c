/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what Xen's heap asks it.
 *
 * Three questions (xen/tmem.h): on how many pages a request may count, how many
 * may be claimed, and whether tmem makes way for a request that fails. The heap
 * knows none of the answers' reasons; they are here.
 *
 * `spare` is what makes the first two cheap, as they are asked with the heap
 * lock held: the frames that could be given back at once, less those that
 * claims have been asked for. It never tells more than there is: a frame is
 * taken out of it before it goes to the heap or to persistent content, and
 * comes back to it after it came from there.
 */

#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/rcupdate.h>

#include "private.h"

bool __read_mostly opt_tmem;
boolean_param("tmem", opt_tmem);

unsigned long __read_mostly tmem_reserve_pages;

/* Orders up to this are served by evicting, in the hope that they fit then. */
#define MAX_SERVED_ORDER    3

/*
 * How often one allocation of Xen has pages evicted, twice as many each time up
 * to the most. One that has to have memory of some kind, by its address or its
 * node, need not be helped by whatever is the oldest.
 */
#define ATTEMPTS            16
#define ATTEMPTS_AT_SOME    2

/*
 * Where evicting helps by chance only, a guest has no more pages evicted than
 * these in a second, nor in one go.
 */
#define PAGES_BY_CHANCE     48
#define TIME_OF_A_PAGE      (SECONDS(1) / PAGES_BY_CHANCE)

static atomic_t spare = ATOMIC_INIT(0);

static int __init cf_check tmem_init(void)
{
    if ( !opt_tmem )
        return 0;

    /* For Xen's own needs, allocations of several pages among them. */
    tmem_reserve_pages = min(avail_domheap_pages() / 256,
                             64UL << (20 - PAGE_SHIFT));
    printk("tmem: on; leaves %lu pages of the heap free\n", tmem_reserve_pages);

    return 0;
}
__initcall(tmem_init);

/* The frames that could be given back. */

void tmem_spare_frames(int change)
{
    atomic_add(change, &spare);
}

long tmem_spare_now(void)
{
    return max(atomic_read(&spare), 0);
}

/*
 * Exact but for the operations under way, and those of each client that claims
 * have been asked for and that nothing has taken yet.
 */
unsigned long tmem_freeable_pages(void)
{
    struct tmem_client *c;
    struct tmem_walk w;
    unsigned long pages = 0;

    if ( !opt_tmem )
        return 0;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
        pages += tmem_ephemeral_frames(c) + ACCESS_ONCE(c->nr_free);
    rcu_read_unlock(&domlist_read_lock);

    return pages + tmem_dedup_frames();
}

bool tmem_backs(unsigned long pages)
{
    return opt_tmem && tmem_freeable_pages() >= pages;
}

/* What is claimed. */

/*
 * A frame that persistent content takes can't be given to whom memory has been
 * promised. So claims are asked first, for several frames at a time: those are
 * out of `spare` from then on, before the heap lock is taken, so that of this
 * and a claim that is made at the same time one sees the other.
 */
static bool claims_can_spare(unsigned int nr)
{
    uint64_t available, claimed;

    tmem_spare_frames(-nr);
    get_outstanding_claims(&available, &claimed);
    if ( !claimed || available + tmem_spare_now() >=
                     claimed + tmem_reserve_pages )
        return true;
    tmem_spare_frames(nr);

    return false;
}

bool tmem_commit_frames(struct tmem_client *c, unsigned int nr)
{
    unsigned int lacking;

    ASSERT(spin_is_locked(&c->lock));

    if ( unlikely(c->asked_for < nr) )
    {
        lacking = nr - c->asked_for;
        if ( claims_can_spare(lacking + TMEM_REFILL) )
            c->asked_for += lacking + TMEM_REFILL;
        else if ( claims_can_spare(lacking) )
            c->asked_for += lacking;
        else
            return false;
    }
    c->asked_for -= nr;

    return true;
}

void tmem_uncommit_frames(struct tmem_client *c, unsigned int nr)
{
    ASSERT(spin_is_locked(&c->lock));

    c->asked_for += nr;
    if ( unlikely(c->asked_for > 2 * TMEM_REFILL) )
    {
        tmem_spare_frames(c->asked_for - TMEM_REFILL);
        c->asked_for = TMEM_REFILL;
    }
}

void tmem_commit_nothing(struct tmem_client *c)
{
    ASSERT(spin_is_locked(&c->lock));

    tmem_spare_frames(c->asked_for);
    c->asked_for = 0;
}

bool tmem_claims_allow(unsigned int nr)
{
    bool allow = claims_can_spare(nr);

    if ( allow )
        tmem_spare_frames(nr);

    return allow;
}

/* Is it a guest's own memory, of which the last pages of the heap are none? */
static bool is_guests(const struct domain *d, unsigned int memflags)
{
    return d && !is_hardware_domain(d) && !(memflags & MEMF_no_refcount);
}

unsigned long tmem_avail_when_short(unsigned long avail, unsigned long request,
                                    unsigned int memflags,
                                    const struct domain *d)
{
    if ( memflags & MEMF_tmem )
        return avail - min(avail, tmem_reserve_pages);
    if ( !is_guests(d, memflags) )
        return avail + tmem_spare_now();

    /*
     * The last pages are Xen's own: overcommitted guests would take them all,
     * and then no grant could be mapped any more.
     */
    return avail < tmem_reserve_pages + request
           ? 0 : avail + tmem_spare_now() - tmem_reserve_pages;
}

unsigned long tmem_claimable_pages(unsigned long avail, unsigned long claims)
{
    if ( !opt_tmem )
        return avail;
    avail += tmem_spare_now();

    return max(avail - min(avail, tmem_reserve_pages), claims);
}

/* Whether others have claimed what a request would take, and tmem give back. */
static bool all_is_claimed(const struct domain *d, unsigned long request,
                           unsigned int memflags)
{
    unsigned long kept = is_guests(d, memflags) ? tmem_reserve_pages : 0;
    uint64_t available, claimed;

    get_outstanding_claims(&available, &claimed);
    if ( !claimed ||
         (d && !(memflags & MEMF_no_refcount) &&
          d->outstanding_pages >= request) )
        return false;

    return claimed + request + kept > available &&
           !tmem_backs(claimed + request + kept - available);
}

/* Making way. */

/* How many pages a guest may have evicted now where that helps by chance. */
static unsigned int allow_by_chance(struct domain *d, unsigned int nr)
{
    s_time_t now = NOW(), old, from;
    unsigned int allowed;

    do {
        old = ACCESS_ONCE(d->tmem_evicted_until);
        from = max_t(s_time_t, old, now - SECONDS(1));
        allowed = min_t(s_time_t, nr, (now - from) / TIME_OF_A_PAGE);
        if ( now < from || !allowed )
            return 0;
    } while ( cmpxchg(&d->tmem_evicted_until, old,
                      from + allowed * TIME_OF_A_PAGE) != old );

    return allowed;
}

/* Not of a guest, who may be hostile: dom0's, or Xen's for itself. */
static bool is_trusted(const struct domain *d)
{
    return is_system_domain(d) || is_control_domain(d) ||
           is_hardware_domain(d);
}

static bool is_at_some(unsigned int memflags)
{
    return (memflags & MEMF_exact_node) || memflags >> _MEMF_bits;
}

/*
 * For whom the heap has pages enough, but none at such an address, on that node
 * or so many next to each other, evicting helps by chance. Guests may ask for
 * that as often as they like. So where the address or the node is asked for by
 * a guest, or for one, nothing is evicted as long as the heap has as many pages
 * elsewhere; and never more than PAGES_BY_CHANCE for a guest that asks.
 */
static bool is_elsewhere(const struct domain *d, unsigned int order,
                         bool at_some)
{
    return at_some && d && !is_trusted(d) &&
           avail_domheap_pages() >= tmem_reserve_pages + (1UL << order);
}

static unsigned int most_by_chance(unsigned int nr, unsigned int order,
                                   bool at_some)
{
    struct domain *d = current->domain;

    if ( is_trusted(d) )
        return nr;
    if ( is_elsewhere(d, order, at_some) )
        return 0;

    return allow_by_chance(d, nr);
}

static bool relinquish(unsigned int order, unsigned int memflags, bool at_some,
                       unsigned int *attempt)
{
    unsigned long wanted = 1UL << order;
    unsigned int nr;

    if ( !opt_tmem || (memflags & MEMF_tmem) ||
         system_state < SYS_STATE_active ||
         *attempt >= (at_some ? ATTEMPTS_AT_SOME : ATTEMPTS) )
        return false;

    /*
     * A large extent is asked for in hope, by callers that fall back to
     * smaller ones. Not worth all of the cache when it is only the heap's
     * fragmentation that refuses it.
     */
    if ( order > MAX_SERVED_ORDER && avail_domheap_pages() >= wanted )
        return false;

    nr = max(wanted, min(TMEM_REFILL << *attempt, TMEM_MOST_RELINQUISHED) + 0UL);
    ++*attempt;
    if ( order || at_some )
        nr = most_by_chance(nr, order, at_some);

    return nr && tmem_give_way(nr);
}

bool tmem_relinquish(unsigned int order, unsigned int memflags,
                     unsigned int *attempt)
{
    return relinquish(order, memflags, is_at_some(memflags), attempt);
}

bool tmem_make_way(const struct domain *d, unsigned int order,
                   unsigned int memflags, bool low, unsigned int *attempt)
{
    /* Some guests may only have low memory, without a word of it in memflags. */
    bool at_some = is_at_some(memflags) || (d && low);

    if ( !opt_tmem || (memflags & MEMF_tmem) ||
         is_elsewhere(d, order, at_some) ||
         all_is_claimed(d, 1UL << order, memflags) )
        return false;

    return relinquish(order, memflags, at_some, attempt);
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
