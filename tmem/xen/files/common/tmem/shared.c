/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: pools that several domains share.
 *
 * The pages of a shared pool belong to a client without a domain, which has a
 * lock, an index and a list of ages of its own. The pools of the sharers only
 * point to it: an operation finds it under its own client's lock, lets go of
 * that, and then works on the shared client as on any other, so that never two
 * clients' locks are held. What keeps the shared client there meanwhile is
 * RCU. It goes with its last sharer, who empties it first.
 *
 * Who may join is told by the control domain, by domain and UUID; so a guessed
 * UUID is of no use. Everybody else gets a private pool, which looks the same
 * as a shared one that nobody else uses.
 */

#include <xen/rcupdate.h>
#include <xen/xmalloc.h>

#include "lookup.h"

struct tmem_shared {
    struct tmem_client client;          /* with no domain */
    struct tmem_pool pool;              /* its only one, number 0 */
    struct list_head members;           /* the sharers' pools */
    unsigned int sharers;
    struct rcu_head rcu;
};

/* Slots, members and sharers. Inside a client's lock, with nothing inside. */
static DEFINE_SPINLOCK(shared_lock);
static struct tmem_shared *slots[TMEM_MAX_SHARED];

DEFINE_RCU_READ_LOCK(tmem_shared_rcu);

struct tmem_client *tmem_next_shared(unsigned int *slot)
{
    while ( *slot < TMEM_MAX_SHARED )
    {
        struct tmem_shared *s = rcu_dereference(slots[*slot]);

        ++*slot;
        if ( s )
            return &s->client;
    }

    return NULL;
}

static bool is_named(const struct tmem_pool *pool, const uint64_t uuid[2])
{
    return pool->stats.uuid[0] == uuid[0] && pool->stats.uuid[1] == uuid[1];
}

/* Whom the control domain lets in. */

static unsigned int find_authorised(struct tmem_client *c,
                                    const uint64_t uuid[2])
{
    unsigned int i;

    ASSERT(spin_is_locked(&c->lock));

    for ( i = 0; i < c->nr_authorised; i++ )
        if ( c->authorised[i][0] == uuid[0] && c->authorised[i][1] == uuid[1] )
            break;

    return i;
}

long tmem_shared_authorise(struct tmem_client *c, const uint64_t uuid[2],
                           bool may)
{
    unsigned int i;
    long rc = 0;

    spin_lock(&c->lock);
    i = find_authorised(c, uuid);
    if ( may && i == c->nr_authorised )
    {
        if ( i < TMEM_MAX_SHARED )
        {
            c->authorised[i][0] = uuid[0];
            c->authorised[i][1] = uuid[1];
            c->nr_authorised++;
        }
        else
            rc = -ENOSPC;
    }
    else if ( !may && i == c->nr_authorised )
        rc = -ENOENT;
    else if ( !may )
    {
        --c->nr_authorised;
        c->authorised[i][0] = c->authorised[c->nr_authorised][0];
        c->authorised[i][1] = c->authorised[c->nr_authorised][1];
    }
    spin_unlock(&c->lock);

    return rc;
}

bool tmem_shared_may_join(struct tmem_client *c, const uint64_t uuid[2])
{
    return find_authorised(c, uuid) < c->nr_authorised;
}

/*
 * A shared pool has the weight and the cap of that sharer who has the most.
 * Its pages count for the pool, and for none of the sharers.
 */
static void inherit(struct tmem_shared *s)
{
    const struct tmem_pool *member;
    unsigned int weight = 0;
    uint64_t cap = 1;
    bool capped = true;

    ASSERT(spin_is_locked(&shared_lock));

    list_for_each_entry ( member, &s->members, members )
    {
        uint64_t its_cap = ACCESS_ONCE(member->owner->cap);

        weight = max(weight, ACCESS_ONCE(member->owner->weight));
        capped &= its_cap != 0;
        cap = max(cap, its_cap);
    }
    ACCESS_ONCE(s->client.weight) = weight;
    ACCESS_ONCE(s->client.cap) = capped ? cap : 0;
}

void tmem_shared_inherit(void)
{
    unsigned int i;

    spin_lock(&shared_lock);
    for ( i = 0; i < TMEM_MAX_SHARED; i++ )
        if ( slots[i] && slots[i]->sharers )
            inherit(slots[i]);
    spin_unlock(&shared_lock);
}

/* Its life. */

struct tmem_shared *tmem_shared_new(const uint64_t uuid[2])
{
    struct tmem_shared *s = xzalloc(struct tmem_shared);

    if ( !s )
        return NULL;
    if ( tmem_client_init(&s->client, NULL) )
    {
        tmem_shared_discard(s);
        return NULL;
    }
    INIT_LIST_HEAD(&s->members);
    INIT_LIST_HEAD(&s->pool.objects);
    s->pool.own = true;
    s->pool.secret = tmem_random();
    s->pool.stats.shared = 1;
    s->pool.stats.uuid[0] = uuid[0];
    s->pool.stats.uuid[1] = uuid[1];
    s->client.pools[0] = &s->pool;

    return s;
}

void tmem_shared_discard(struct tmem_shared *s)
{
    if ( !s )
        return;
    tmem_index_free(&s->client);
    xfree(s);
}

/*
 * A guest that does not go on with the destruction of its pool has the pool's
 * slot for so long. One for each name, or few guests could take all.
 */
static bool is_leaving(const struct tmem_client *c, const uint64_t uuid[2])
{
    unsigned int i;

    for ( i = 0; i < TMEM_MAX_POOLS; i++ )
    {
        const struct tmem_pool *pool = c->pools[i];

        if ( pool && pool->shared && pool->dying && is_named(pool, uuid) )
            return true;
    }

    return false;
}

int tmem_shared_join(struct tmem_pool *pool, struct tmem_client *owner,
                     struct tmem_shared **fresh)
{
    unsigned int i, slot = TMEM_MAX_SHARED;
    struct tmem_shared *s = NULL;

    ASSERT(spin_is_locked(&owner->lock));

    if ( is_leaving(owner, pool->stats.uuid) )
        return -EPERM;

    spin_lock(&shared_lock);
    for ( i = 0; i < TMEM_MAX_SHARED && !s; i++ )
        if ( !slots[i] )
            slot = min(slot, i);
        /* Without sharers it is being emptied. */
        else if ( slots[i]->sharers &&
                  is_named(&slots[i]->pool, pool->stats.uuid) )
            s = slots[i];
    if ( !s && slot < TMEM_MAX_SHARED )
    {
        s = *fresh;
        *fresh = NULL;
        rcu_assign_pointer(slots[slot], s);
    }
    if ( s )
    {
        pool->owner = owner;
        pool->shared = s;
        pool->stats.shared = 1;
        list_add_tail(&pool->members, &s->members);
        ACCESS_ONCE(s->sharers) = s->sharers + 1;
        inherit(s);
    }
    spin_unlock(&shared_lock);

    return s ? 0 : -EPERM;
}

void tmem_shared_leave(struct tmem_pool *pool)
{
    struct tmem_shared *s = pool->shared;

    ASSERT(spin_is_locked(&pool->owner->lock));

    spin_lock(&shared_lock);
    if ( !list_empty(&pool->members) )
    {
        list_del_init(&pool->members);
        ACCESS_ONCE(s->sharers) = s->sharers - 1;
        pool->empties = !s->sharers;
        if ( s->sharers )
            inherit(s);
    }
    spin_unlock(&shared_lock);
}

bool tmem_shared_drain(struct tmem_shared *s)
{
    struct tmem_client *c = &s->client;
    bool done;

    spin_lock(&c->lock);
    done = c->dying;
    if ( !done )
    {
        s->pool.dying = true;
        s->pool.own = false;
        done = tmem_drain_pool(c, &s->pool);
        if ( done )
        {
            c->pools_flushed++;
            tmem_client_empty(c);
        }
    }
    spin_unlock(&c->lock);

    return done;
}

static void cf_check free_shared(struct rcu_head *head)
{
    xfree(container_of(head, struct tmem_shared, rcu));
}

void tmem_shared_free(struct tmem_shared *s)
{
    unsigned int i;

    spin_lock(&shared_lock);
    for ( i = 0; i < TMEM_MAX_SHARED; i++ )
        if ( slots[i] == s )
            rcu_assign_pointer(slots[i], NULL);
    spin_unlock(&shared_lock);

    call_rcu(&s->rcu, free_shared);
}

/* Operations. */

struct tmem_client *tmem_shared_enter(struct tmem_client *c, int32_t id,
                                      bool *frozen)
{
    struct tmem_pool *pool;
    struct tmem_client *found = NULL;

    rcu_read_lock(&tmem_shared_rcu);
    spin_lock(&c->lock);
    pool = tmem_any_pool(c, id);
    if ( pool && pool->shared )
        found = &pool->shared->client;
    *frozen = c->frozen;
    spin_unlock(&c->lock);
    if ( !found )
        rcu_read_unlock(&tmem_shared_rcu);

    return found;
}

/* The operation is counted with the pool; what it cost, with its caller. */
void tmem_shared_exit(struct tmem_client *c, uint64_t cycles, bool hit)
{
    rcu_read_unlock(&tmem_shared_rcu);

    spin_lock(&c->lock);
    c->stats.cycles += cycles;
    c->stats.ephemeral_gets += hit;
    spin_unlock(&c->lock);
}

/* Statistics. */

void tmem_shared_pool_stats(struct tmem_shared *s,
                            struct tmem_stats_pool *record)
{
    spin_lock(&s->client.lock);
    *record = s->pool.stats;
    spin_unlock(&s->client.lock);
}

bool tmem_shared_stats(unsigned int slot, struct tmem_stats_shared *record)
{
    struct tmem_shared *s;

    rcu_read_lock(&tmem_shared_rcu);
    s = rcu_dereference(slots[slot]);
    if ( s )
    {
        memset(record, 0, sizeof(*record));
        record->sharers = ACCESS_ONCE(s->sharers);
        record->weight = ACCESS_ONCE(s->client.weight);
        record->cap = ACCESS_ONCE(s->client.cap);
        spin_lock(&s->client.lock);
        record->evicted = s->client.stats.evicted;
        record->pool = s->pool.stats;
        spin_unlock(&s->client.lock);
        record->pool.id = slot;
    }
    rcu_read_unlock(&tmem_shared_rcu);

    return s;
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
