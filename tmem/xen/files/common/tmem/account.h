/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: levels of what is held, and times.
 */

#ifndef __TMEM_ACCOUNT_H__
#define __TMEM_ACCOUNT_H__

#include "types.h"

/* account.c */
/*
 * A put has met what can't be: nothing of what it needs was to be missing then.
 * It is refused; this counts it, and says so once. Lock held.
 */
void tmem_broken_bound(struct tmem_client *c);
void tmem_pass_on(struct tmem_client *c, enum tmem_level_id id);
uint64_t tmem_start_timed(struct tmem_client *c);
/* Keep the counts of a client that is empty and about to go. Lock held. */
void tmem_retire_stats(struct tmem_client *c);
void tmem_global_stats(struct tmem_stats_global *g);

/* Folds to a few instructions where id is a constant. */
static always_inline void tmem_level(struct tmem_client *c,
                                     enum tmem_level_id id, int change)
{
    struct tmem_level *level =
        id == TMEM_LEVEL_EPHEMERAL ? &c->stats.ephemeral :
        id == TMEM_LEVEL_PERSISTENT ? &c->stats.persistent :
        id == TMEM_LEVEL_OBJECTS ? &c->stats.objects :
        id == TMEM_LEVEL_NODES ? &c->stats.nodes :
        id == TMEM_LEVEL_DUPLICATES ? &c->duplicates :
                                       &c->stats.frames;

    add_sized(&level->now, change);
    if ( change > 0 && level->now > level->most )
        level->most = level->now;

    c->pending[id] += change;
    if ( unlikely(c->pending[id] + TMEM_LEVEL_STEP - 1U >
                  2 * (TMEM_LEVEL_STEP - 1U)) )
        tmem_pass_on(c, id);
}

/*
 * Reading the processor's counter can take longer than finding a page. So
 * only one operation in TMEM_TIMED_EVERY, on average, is timed and sets the
 * clock that pages are stamped by. That is fine enough for their ages: the
 * clock stands still only while every client makes fewer operations than that,
 * and never runs back.
 */
#define TMEM_TIMED_EVERY        16

extern uint32_t tmem_clock;

/* Before the lock: a guess, by which a guest's vCPUs may race. */
static inline bool tmem_timed(const struct tmem_client *c)
{
    return ACCESS_ONCE(c->stats.ops) >= ACCESS_ONCE(c->timed_from);
}

/* When an operation began, in cycles; 0 when it is not timed. */
static inline uint64_t tmem_start(struct tmem_client *c)
{
    return unlikely(tmem_timed(c)) ? tmem_start_timed(c) : 0;
}

static inline uint32_t tmem_now(void)
{
    return ACCESS_ONCE(tmem_clock);     /* 17 ms; 417 days until ages are wrong */
}

static inline bool tmem_older(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline void tmem_time(struct tmem_client *c, unsigned int what,
                             uint64_t cycles)
{
    struct tmem_timing *t = &c->time[what];

    t->total += cycles;
    if ( cycles > t->most )
        t->most = cycles;
    if ( !t->count++ || cycles < t->least )
        t->least = cycles;
}

/* At the end of an operation: what its cycles are counted as. */
static inline void tmem_account(struct tmem_client *c, unsigned int what,
                                uint64_t start)
{
    if ( unlikely(start) )
    {
        uint64_t cycles = rdtsc() - start;

        tmem_time(c, what, cycles);
        c->stats.cycles += cycles * TMEM_TIMED_EVERY;
    }
}

#endif /* __TMEM_ACCOUNT_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
