/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what its files share.
 *
 * A client is a domain that has made a pool, or a shared pool. Everything a
 * client holds is protected by its lock: pools, objects, pages, index,
 * statistics. No lock is shared between clients but for those of the table of
 * shared contents. Order: client->lock, then d->page_alloc_lock or a bucket of
 * contents, then the heap lock. Never two clients' locks at once, and no
 * allocation under a client's lock: a failing allocation may come back here to
 * evict.
 */

#ifndef __TMEM_PRIVATE_H__
#define __TMEM_PRIVATE_H__

#include "account.h"
#include "content.h"
#include "frames.h"
#include "trace.h"
#include "types.h"

/* random.c: 64 bits that nobody can guess; and more to make them of. */
uint64_t tmem_random(void);
void tmem_stir(void);

/* index.c: records and their tables. Callers hold the client's lock. */
int tmem_index_init(struct tmem_client *c);
void tmem_index_free(struct tmem_client *c);
/* Without the lock: have TMEM_SPARE_NEEDED index pages at hand. */
bool tmem_index_reserve(struct tmem_client *c);
/* As tmem_enter_page() and tmem_leave_page() in records.h, not in line. */
struct tmem_page *tmem_insert_page(struct tmem_client *c,
                                   struct tmem_pool *pool,
                                   const tmem_op_t *op,
                                   const struct tmem_spot *spot,
                                   struct page_info *frame);
struct page_info *tmem_remove_page(struct tmem_client *c,
                                   struct tmem_page *page);

/* shared.c */
struct tmem_shared;
extern rcu_read_lock_t tmem_shared_rcu;
struct tmem_client *tmem_next_shared(unsigned int *slot);
long tmem_shared_authorise(struct tmem_client *c, const uint64_t uuid[2],
                           bool may);
bool tmem_shared_may_join(struct tmem_client *c, const uint64_t uuid[2]);
/* The weight or the cap of a client has changed. */
void tmem_shared_inherit(void);
/* One that nobody has joined yet, and what to do with it when nobody will. */
struct tmem_shared *tmem_shared_new(const uint64_t uuid[2]);
void tmem_shared_discard(struct tmem_shared *s);
/* Joins the pool of that name; makes it of *fresh, if need be. Lock held. */
int tmem_shared_join(struct tmem_pool *pool, struct tmem_client *owner,
                     struct tmem_shared **fresh);
/* Sets pool->empties when this was the last sharer. Lock held. */
void tmem_shared_leave(struct tmem_pool *pool);
/* One step of emptying what the last sharer has left; true when done. */
bool tmem_shared_drain(struct tmem_shared *s);
/* Once nobody points to it any more; frees it a grace period later. */
void tmem_shared_free(struct tmem_shared *s);
/* A guess, without a lock. */
static inline bool tmem_maybe_shared(const struct tmem_client *c, uint32_t id)
{
    return id < TMEM_MAX_POOLS && (ACCESS_ONCE(c->shared_pools) & (1U << id));
}
/*
 * The client to work on if the pool is shared, which stays there until
 * tmem_shared_exit(); NULL if not. *frozen: the caller's own state.
 */
struct tmem_client *tmem_shared_enter(struct tmem_client *c, int32_t id,
                                      bool *frozen);
void tmem_shared_exit(struct tmem_client *c, uint64_t cycles, bool hit);
void tmem_shared_pool_stats(struct tmem_shared *s,
                            struct tmem_stats_pool *record);
bool tmem_shared_stats(unsigned int slot, struct tmem_stats_shared *record);

/* pool.c: clients and pools. */
int tmem_client_init(struct tmem_client *c, struct domain *d);
/* The domain's client, made if need be; NULL: no memory, or d is dying. */
struct tmem_client *tmem_client_get(struct domain *d);
/* Of a client without pages, for good. Lock held. */
void tmem_client_empty(struct tmem_client *c);
long tmem_new_pool(struct domain *d, const tmem_op_t *op);
long tmem_destroy_pool(struct tmem_client *c, unsigned int id);
long tmem_flush_object(struct tmem_client *c, const tmem_op_t *op);
/* Whether the guest has copies of all that a persistent pool of it holds. */
long tmem_set_drained(struct tmem_client *c, const tmem_op_t *op);
/* One step of emptying a pool; true when it is empty. Lock held. */
bool tmem_drain_pool(struct tmem_client *c, struct tmem_pool *pool);
/* Drops up to TMEM_BATCH pages; true when nothing is left. Lock held. */
bool tmem_drain_object(struct tmem_client *c, struct tmem_object *obj,
                       unsigned int *budget);

/* Without the lock, so that the pool may be another by now. */
static inline bool tmem_is_persistent(const struct tmem_client *c, uint32_t id)
{
    return id < TMEM_MAX_POOLS &&
           (ACCESS_ONCE(c->persistent_pools) & (1U << id));
}

#endif /* __TMEM_PRIVATE_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
