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
static inline void *first_of(uint64_t bucket, uint32_t hash)
{
    return bucket & filter_bit(hash) ? chain_of(bucket) : NULL;
}

/*
 * What an object is known by: the sum of a hash, with the pool's number for its
 * low bits. Guests choose what is hashed, so that it takes secrets: the upper
 * half of such a sum is strongly universal (D. Lemire, O. Kaser, "Strongly
 * universal string hashing is fast", 2014: Multilinear-HM), that is, whichever
 * two objects or pages a guest chooses, they are in one bucket by chance alone.
 */
static always_inline uint64_t tmem_key(const struct tmem_client *c,
                                       const struct tmem_pool *pool,
                                       const xen_tmem_oid_t *oid)
{
    uint64_t sum = pool->secret;
    unsigned int i;

#pragma GCC unroll 3
    for ( i = 0; i < ARRAY_SIZE(oid->oid); i++ )
        sum += (c->secret[2 * i] + (uint32_t)oid->oid[i]) *
               (c->secret[2 * i + 1] + (oid->oid[i] >> 32));

    return (sum & ~(TMEM_MAX_POOLS - 1ULL)) | pool->id;
}

static inline unsigned int pool_of_key(uint64_t key)
{
    return key & (TMEM_MAX_POOLS - 1);
}

static inline uint32_t object_hash(uint64_t key)
{
    return key >> 32;
}

/* One term more of the same sum. */
static inline uint32_t page_hash(const struct tmem_client *c, uint64_t key,
                                 uint32_t index)
{
    return (key + c->secret[6] * index) >> 32;
}

static always_inline bool same_oid(const uint64_t a[3], const uint64_t b[3])
{
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static inline bool object_is(const struct tmem_object *obj, uint64_t key,
                             const xen_tmem_oid_t *oid)
{
    return obj->key == key && same_oid(obj->oid, oid->oid);
}

static inline struct tmem_object *tmem_find_object(
    const struct tmem_client *c, uint64_t key, const xen_tmem_oid_t *oid)
{
    uint32_t hash = object_hash(key);
    struct tmem_object *obj = first_of(*bucket_of(&c->objects, hash), hash);

    while ( obj && !object_is(obj, key, oid) )
        obj = obj->next;

    return obj;
}

/*
 * Operations on an object follow each other, mostly: the one that was found last
 * (pool->last) saves hashing its name, and comparing it with that of the page's.
 */
static always_inline struct tmem_page *tmem_find_page(
    const struct tmem_client *c, const struct tmem_pool *pool,
    const tmem_op_t *op, struct tmem_spot *spot)
{
    const xen_tmem_oid_t *oid = &op->u.gen.oid;
    const struct tmem_object *last = pool->last;
    uint32_t index = op->u.gen.index;
    bool same = last && same_oid(last->oid, oid->oid);
    struct tmem_page *page;

    spot->key = same ? last->key : tmem_key(c, pool, oid);
    spot->hash = page_hash(c, spot->key, index);
    spot->bucket = bucket_of(&c->pages, spot->hash);

    page = first_of(*spot->bucket, spot->hash);
    if ( likely(same) )
    {
        while ( page && !(page->index == index && page->object == last) )
            page = page->next;
        return page;
    }
    while ( page && !(page->index == index &&
                      object_is(page->object, spot->key, oid)) )
        page = page->next;

    return page;
}

static inline struct tmem_pool *tmem_pool_at(const struct tmem_client *c,
                                             uint32_t id)
{
    if ( id >= TMEM_MAX_POOLS )
        return NULL;
    /*
     * What array_index_nospec() is for, in one instruction, which the compiler
     * would leave out if it knew that it changes nothing.
     */
    BUILD_BUG_ON(TMEM_MAX_POOLS & (TMEM_MAX_POOLS - 1));
    OPTIMIZER_HIDE_VAR(id);

    return c->pools[id & (TMEM_MAX_POOLS - 1)];
}

/* A pool that can be used; _find_pool: whose pages are the client's own. */
static inline struct tmem_pool *tmem_any_pool(const struct tmem_client *c,
                                              uint32_t id)
{
    struct tmem_pool *pool = tmem_pool_at(c, id);

    return pool && !pool->dying ? pool : NULL;
}

static inline struct tmem_pool *tmem_find_pool(const struct tmem_client *c,
                                               uint32_t id)
{
    struct tmem_pool *pool = tmem_pool_at(c, id);

    return pool && pool->own ? pool : NULL;
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
