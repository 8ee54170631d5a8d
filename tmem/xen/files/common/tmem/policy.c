/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: who gives way, and what the control domain sets.
 *
 * Without weights the oldest ephemeral page of all gives way, whosesoever it
 * is. As soon as a client has a weight, the clients without one have no share
 * and give way first, oldest page first; then the client that holds the most
 * frames for its weight. That one is always over its share of all that the
 * weighted clients hold, since not all of them can hold less than the average;
 * and what a client leaves of its share goes to the others by their weights.
 * Frames count, of contents and of records, not pages: a million pages of zeros
 * are as much as takes their records.
 */

#include <xen/event.h>
#include <xen/rcupdate.h>

#include "private.h"

bool __read_mostly tmem_frozen;

struct tmem_client *tmem_next_client(struct tmem_walk *w)
{
    struct tmem_client *c;

    while ( !w->domains_done )
    {
        w->domain = w->domain ? rcu_dereference(w->domain->next_in_list)
                              : rcu_dereference(domain_list);
        w->domains_done = !w->domain;
        if ( w->domain && (c = ACCESS_ONCE(w->domain->tmem)) )
            return c;
    }

    return tmem_next_shared(&w->slot);
}

/* Does `a` give way before `b`? Reads without locks: a guess is good enough. */
static bool gives_way_before(const struct tmem_client *a,
                             const struct tmem_client *b)
{
    uint64_t weight_a = ACCESS_ONCE(a->weight);
    uint64_t weight_b = ACCESS_ONCE(b->weight);
    uint64_t holds_a, holds_b;

    if ( !weight_a != !weight_b )
        return !weight_a;

    /* frames / weight, without dividing. Frames < 2^44, weights < 2^16. */
    holds_a = tmem_held_frames(a) * weight_b;
    holds_b = tmem_held_frames(b) * weight_a;
    if ( holds_a != holds_b )
        return holds_a > holds_b;

    return tmem_older(ACCESS_ONCE(a->oldest), ACCESS_ONCE(b->oldest));
}

struct tmem_client *tmem_victim(void)
{
    struct tmem_client *c, *victim = NULL;
    struct tmem_walk w;

    for_each_client ( w, c )
        if ( ACCESS_ONCE(c->stats.ephemeral.now) &&
             (!victim || gives_way_before(c, victim)) )
            victim = c;

    return victim;
}

void tmem_make_room(struct tmem_client *c)
{
    /* That of a shared pool changes without its lock. */
    uint64_t cap = ACCESS_ONCE(c->cap), now = c->stats.ephemeral.now;

    if ( !cap || now < cap )
        return;
    if ( now > cap )
        tmem_drop_oldest(c);
    tmem_drop_oldest(c);
}

/* The new cap holds for puts from the first step on. */
static long set_cap(struct tmem_client *c, uint64_t cap)
{
    for ( ; ; )
    {
        unsigned int dropped = 0;
        uint64_t start;

        spin_lock(&c->lock);
        start = rdtsc();
        ACCESS_ONCE(c->cap) = cap;
        while ( cap && c->stats.ephemeral.now > cap && dropped++ < TMEM_BATCH )
            tmem_drop_oldest(c);
        tmem_time(c, TMEM_TIME_STEP, rdtsc() - start);
        spin_unlock(&c->lock);

        if ( dropped <= TMEM_BATCH )
            return 0;
        if ( hypercall_preempt_check() )
            return -ERESTART;
    }
}

static long check_content(unsigned int setting, uint64_t value)
{
    if ( value > 1 )
        return -EINVAL;

    return value && setting == TMEM_SET_DEDUP ? tmem_dedup_enable() : 0;
}

static void set_content(struct tmem_client *c, unsigned int setting, bool value)
{
    if ( setting == TMEM_SET_DEDUP )
        ACCESS_ONCE(c->dedup) = value;
    else
        ACCESS_ONCE(c->compress) = value;
}

long tmem_set_all(unsigned int setting, uint64_t value)
{
    struct tmem_client *c;
    struct tmem_walk w;
    long rc;

    /* A weight or a cap that all have is none. */
    if ( setting != TMEM_SET_COMPRESS && setting != TMEM_SET_DEDUP )
        return -EINVAL;
    rc = check_content(setting, value);
    if ( rc )
        return rc;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
        set_content(c, setting, value);
    rcu_read_unlock(&domlist_read_lock);

    return 0;
}

long tmem_set(struct tmem_client *c, unsigned int setting, uint64_t value)
{
    long rc = 0;

    switch ( setting )
    {
    case TMEM_SET_WEIGHT:
        if ( value > TMEM_MAX_WEIGHT )
            return -EINVAL;
        ACCESS_ONCE(c->weight) = value;
        break;

    case TMEM_SET_CAP:
        rc = set_cap(c, value);
        break;

    case TMEM_SET_COMPRESS:
    case TMEM_SET_DEDUP:
        rc = check_content(setting, value);
        if ( !rc )
            set_content(c, setting, value);
        return rc;

    default:
        return -EINVAL;
    }

    if ( !rc )
        tmem_shared_inherit();

    return rc;
}

void tmem_wait_for_all(void)
{
    struct tmem_client *c;
    struct tmem_walk w;

    smp_mb();

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
        spin_barrier(&c->lock);
    rcu_read_unlock(&domlist_read_lock);
}

void tmem_freeze_all(bool frozen)
{
    ACCESS_ONCE(tmem_frozen) = frozen;
    /* Puts that have not seen it yet are done when this is. */
    tmem_wait_for_all();
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
