/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: levels and times, of clients and of the whole system.
 */

#include <xen/rcupdate.h>

#include "private.h"

/* How often the system's figures are summed before they may be incomplete. */
#define MAX_SUMS    8

/* The whole system's levels, fed in steps by the clients. */
static atomic_t level_now[TMEM_NR_LEVELS];
static unsigned int level_most[TMEM_NR_LEVELS];
static unsigned int contents_most, descriptors_most;

uint32_t __read_mostly tmem_clock;

/* What clients that are no more have counted. */
static struct tmem_stats_global retired;
static unsigned int nr_retired;
static DEFINE_SPINLOCK(retired_lock);

void tmem_pass_on(struct tmem_client *c, enum tmem_level_id id)
{
    unsigned int now = atomic_add_return(c->pending[id], &level_now[id]);

    /* Under the client's lock, or of one that nobody else can reach. */
    c->pending[id] = 0;
    /* A racing lower value may win; the next step mends it. */
    if ( now > ACCESS_ONCE(level_most[id]) )
        ACCESS_ONCE(level_most[id]) = now;

    if ( id == TMEM_LEVEL_EPHEMERAL || id == TMEM_LEVEL_DUPLICATES )
    {
        now = atomic_read(&level_now[TMEM_LEVEL_EPHEMERAL]) -
              atomic_read(&level_now[TMEM_LEVEL_DUPLICATES]);
        if ( (int)(now - ACCESS_ONCE(contents_most)) > 0 )
            ACCESS_ONCE(contents_most) = now;
    }
    if ( id == TMEM_LEVEL_EPHEMERAL || id == TMEM_LEVEL_PERSISTENT )
    {
        now = atomic_read(&level_now[TMEM_LEVEL_EPHEMERAL]) +
              atomic_read(&level_now[TMEM_LEVEL_PERSISTENT]);
        if ( now > ACCESS_ONCE(descriptors_most) )
            ACCESS_ONCE(descriptors_most) = now;
    }
}

/*
 * Which operations are timed is left to chance, so that no guest's pattern of
 * operations stays out of step with it, but for one in TMEM_TIMED_EVERY.
 */
uint64_t tmem_start_timed(struct tmem_client *c)
{
    uint32_t now = NOW() >> 24;
    uint64_t start = rdtsc();

    ACCESS_ONCE(c->timed_from) = ACCESS_ONCE(c->stats.ops) + 1 +
                                 (start ^ (start >> 8)) %
                                 (2 * TMEM_TIMED_EVERY - 1);
    /* Processors may race: the clock is late by their next operation timed. */
    if ( tmem_older(ACCESS_ONCE(tmem_clock), now) )
        ACCESS_ONCE(tmem_clock) = now;

    return start ?: 1;
}

void tmem_broken_bound(struct tmem_client *c)
{
    static bool said;

    ASSERT(spin_is_locked(&c->lock));
    c->broken_bounds++;
    if ( said )
        return;
    said = true;
    printk(XENLOG_ERR "tmem: BUG: a put found no index page set aside for it\n");
}

static void add_timing(struct tmem_timing *sum, const struct tmem_timing *t)
{
    if ( !t->count )
        return;
    if ( !sum->count || t->least < sum->least )
        sum->least = t->least;
    sum->most = max(sum->most, t->most);
    sum->count += t->count;
    sum->total += t->total;
}

static void add_client(struct tmem_stats_global *g,
                       const struct tmem_client *c)
{
    unsigned int i;

    g->ops += c->stats.ops;
    g->errors += c->stats.errors;
    g->failed_copies += c->failed_copies;
    g->ephemeral_refused += c->ephemeral_refused;
    g->persistent_refused += c->persistent_refused;
    g->free_frames += c->nr_free + c->nr_spare;
    g->pools_flushed += c->pools_flushed;
    g->broken_bounds += c->broken_bounds;
    g->ephemeral_puts += c->ephemeral_puts;
    g->ephemeral.now += c->stats.ephemeral.now;
    g->persistent.now += c->stats.persistent.now;
    g->objects.now += c->stats.objects.now;
    g->nodes.now += c->stats.nodes.now;
    g->frames.now += c->stats.frames.now;
    g->contents.now += c->stats.ephemeral.now - c->duplicates.now;
    g->deduplicated += c->stats.deduplicated;
    g->short_bytes += c->stats.short_bytes;
    g->lz4_bytes += c->stats.lz4_bytes;
    for ( i = 0; i < TMEM_NR_TIMES; i++ )
        add_timing(&g->time[i], &c->time[i]);
}

void tmem_retire_stats(struct tmem_client *c)
{
    unsigned int id;

    ASSERT(spin_is_locked(&c->lock));
    for ( id = 0; id < TMEM_NR_LEVELS; id++ )
        tmem_pass_on(c, id);
    spin_lock(&retired_lock);
    add_client(&retired, c);
    nr_retired++;
    c->retired = true;
    spin_unlock(&retired_lock);
}

static void most(struct tmem_level *level, enum tmem_level_id id)
{
    level->most = max_t(uint64_t, level->now, ACCESS_ONCE(level_most[id]));
}

/* Returns false when a client has retired meanwhile and may be missing. */
static bool sum_clients(struct tmem_stats_global *g)
{
    struct tmem_client *c;
    struct tmem_walk w;
    unsigned int before;
    bool same;

    spin_lock(&retired_lock);
    *g = retired;
    before = nr_retired;
    spin_unlock(&retired_lock);

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
    {
        spin_lock(&c->lock);
        if ( !c->retired )
            add_client(g, c);
        spin_unlock(&c->lock);
    }
    rcu_read_unlock(&domlist_read_lock);

    spin_lock(&retired_lock);
    same = nr_retired == before;
    spin_unlock(&retired_lock);

    return same;
}

void tmem_global_stats(struct tmem_stats_global *g)
{
    unsigned int tries = 0;

    /* Guests decide how often shared pools retire; they must not keep us. */
    while ( !sum_clients(g) && ++tries < MAX_SUMS )
        ;
    g->enabled = opt_tmem;
    g->frozen = ACCESS_ONCE(tmem_frozen);
    tmem_frames_stats(g);
    most(&g->ephemeral, TMEM_LEVEL_EPHEMERAL);
    most(&g->persistent, TMEM_LEVEL_PERSISTENT);
    most(&g->objects, TMEM_LEVEL_OBJECTS);
    most(&g->nodes, TMEM_LEVEL_NODES);
    g->descriptors.now = g->ephemeral.now + g->persistent.now;
    g->descriptors.most = max_t(uint64_t, g->descriptors.now,
                                ACCESS_ONCE(descriptors_most));
    /* Frames of shared contents belong to no client. */
    g->frames.now += tmem_dedup_frames();
    most(&g->frames, TMEM_LEVEL_FRAMES);
    g->contents.most = max_t(uint64_t, g->contents.now,
                             ACCESS_ONCE(contents_most));
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
