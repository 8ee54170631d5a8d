/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: finding what an operation names. Inline, because every
 * operation does it: calls and returns are dear since Xen has to guard them
 * against speculation. Callers hold the client's lock.
 */

#ifndef __TMEM_LOOKUP_H__
#define __TMEM_LOOKUP_H__

#include "private.h"

#define FANOUT              (PAGE_SIZE / sizeof(void *))
#define FANOUT_SHIFT        (PAGE_SHIFT - 3)

/*
 * A bucket holds the address of its chain's first entry. Its high bits, which
 * are alike in all addresses, are a filter: an entry whose bit is not set is
 * not in the chain. So what is not there is seldom looked for in entries, which
 * are rarely in the caches. Bits of entries that left stay until the bucket is
 * split or its chain is empty.
 */
#define FILTER_SHIFT        48
#define FILTER_MASK         (~0ULL << FILTER_SHIFT)

/* Of the high bits of a hash: the low ones choose the bucket. */
static inline uint64_t filter_bit(uint32_t hash)
{
    return 1ULL << (FILTER_SHIFT + (hash >> 28));
}

static inline void *chain_of(uint64_t bucket)
{
    return (void *)((int64_t)(bucket << (64 - FILTER_SHIFT)) >>
                    (64 - FILTER_SHIFT));
}

static inline uint64_t *bucket_at(const struct tmem_table *t, unsigned int nr)
{
    return &t->root[nr >> (2 * FANOUT_SHIFT)]
                   [(nr >> FANOUT_SHIFT) & (FANOUT - 1)]
                   [nr & (FANOUT - 1)];
}

/* The bucket of a hash: as many of its low bits as give an existing one. */
static inline uint64_t *bucket_of(const struct tmem_table *t, uint32_t hash)
{
    unsigned int nr = hash & t->mask;

    if ( nr >= t->buckets )
        nr &= t->mask >> 1;

    return bucket_at(t, nr);
}

/* Where to begin to look for an entry of this hash. */
static inline void *first_of(const struct tmem_table *t, uint32_t hash)
{
    uint64_t bucket = *bucket_of(t, hash);

    return bucket & filter_bit(hash) ? chain_of(bucket) : NULL;
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

#pragma GCC unroll 3
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
    struct tmem_object *obj = first_of(&c->objects, hash);

    while ( obj && !object_is(obj, pool_id, oid) )
        obj = obj->next;

    return obj;
}

static inline struct tmem_page *tmem_find_page(
    const struct tmem_client *c, unsigned int pool_id,
    const xen_tmem_oid_t *oid, uint32_t hash, uint32_t index)
{
    struct tmem_page *page = first_of(&c->pages, page_hash(hash, index));

    while ( page && !(page->index == index &&
                      object_is(page->object, pool_id, oid)) )
        page = page->next;

    return page;
}

/* A pool that can be used; _find_pool: whose pages are the client's own. */
static inline struct tmem_pool *tmem_any_pool(const struct tmem_client *c,
                                              uint32_t id)
{
    struct tmem_pool *pool;

    if ( id >= TMEM_MAX_POOLS )
        return NULL;
    /* What array_index_nospec() is for, in one instruction. */
    BUILD_BUG_ON(TMEM_MAX_POOLS & (TMEM_MAX_POOLS - 1));
    pool = c->pools[id & (TMEM_MAX_POOLS - 1)];

    return pool && !pool->dying ? pool : NULL;
}

static inline struct tmem_pool *tmem_find_pool(const struct tmem_client *c,
                                               uint32_t id)
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
