/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: finding what an operation names. Inline, because every
 * operation does it: calls and returns are dear since Xen has to guard them
 * against speculation. Callers hold the client's lock.
 */

#ifndef __TMEM_LOOKUP_H__
#define __TMEM_LOOKUP_H__

#include <xen/nospec.h>

#include "private.h"

#define FANOUT              (PAGE_SIZE / sizeof(void *))
#define FANOUT_SHIFT        (PAGE_SHIFT - 3)

static inline void **bucket_at(const struct tmem_table *t, unsigned int nr)
{
    return (void **)&t->root[nr >> (2 * FANOUT_SHIFT)]
                            [(nr >> FANOUT_SHIFT) & (FANOUT - 1)]
                            [nr & (FANOUT - 1)];
}

/* The bucket of a hash: as many of its low bits as give an existing one. */
static inline void **bucket_of(const struct tmem_table *t, uint32_t hash)
{
    unsigned int bits = fls(t->buckets - 1);
    unsigned int nr = hash & ((1U << bits) - 1);

    if ( nr >= t->buckets )
        nr &= (1U << (bits - 1)) - 1;

    return bucket_at(t, nr);
}

static inline uint32_t page_hash(uint32_t object_hash, uint32_t index)
{
    uint32_t h = object_hash + index * 0x9e3779b1U;

    h ^= h >> 16;
    h *= 0x85ebca6bU;
    h ^= h >> 13;

    return h;
}

static inline uint32_t tmem_hash_oid(const struct tmem_client *c,
                                     unsigned int pool_id,
                                     const xen_tmem_oid_t *oid)
{
    uint64_t h = c->seed + pool_id;
    unsigned int i;

    for ( i = 0; i < ARRAY_SIZE(oid->oid); i++ )
    {
        h = (h ^ oid->oid[i]) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }

    return h;
}

static inline bool object_is(const struct tmem_object *obj,
                             unsigned int pool_id, const xen_tmem_oid_t *oid)
{
    return obj->pool_id == pool_id && obj->oid[0] == oid->oid[0] &&
           obj->oid[1] == oid->oid[1] && obj->oid[2] == oid->oid[2];
}

static inline struct tmem_object *tmem_find_object(
    const struct tmem_client *c, unsigned int pool_id,
    const xen_tmem_oid_t *oid, uint32_t hash)
{
    struct tmem_object *obj = *bucket_of(&c->objects, hash);

    while ( obj && !object_is(obj, pool_id, oid) )
        obj = obj->next;

    return obj;
}

static inline struct tmem_page *tmem_find_page(
    const struct tmem_client *c, unsigned int pool_id,
    const xen_tmem_oid_t *oid, uint32_t hash, uint32_t index)
{
    struct tmem_page *page = *bucket_of(&c->pages, page_hash(hash, index));

    while ( page && !(page->index == index &&
                      object_is(page->object, pool_id, oid)) )
        page = page->next;

    return page;
}

/* A pool that can be used; _find_pool: whose pages are the client's own. */
static inline struct tmem_pool *tmem_any_pool(const struct tmem_client *c,
                                              int32_t id)
{
    struct tmem_pool *pool;

    if ( id < 0 || id >= TMEM_MAX_POOLS )
        return NULL;
    pool = c->pools[array_index_nospec(id, TMEM_MAX_POOLS)];

    return pool && !pool->dying ? pool : NULL;
}

static inline struct tmem_pool *tmem_find_pool(const struct tmem_client *c,
                                               int32_t id)
{
    struct tmem_pool *pool = tmem_any_pool(c, id);

    return pool && !pool->shared ? pool : NULL;
}

#endif /* __TMEM_LOOKUP_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
