/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: how a page's record enters the index, and leaves it.
 *
 * In line, like the look-ups: what is rare (a slab is full, a table grows, an
 * object comes or goes) is in index.c. Callers hold the client's lock.
 */

#ifndef __TMEM_RECORDS_H__
#define __TMEM_RECORDS_H__

#include "lookup.h"

#define TMEM_ENTRY_SIZE     64
#define TMEM_SLAB_ENTRIES   (PAGE_SIZE / TMEM_ENTRY_SIZE - 1)

/* Takes the place of a slab's first entry. */
struct tmem_slab {
    struct list_head list;              /* in slabs->roomy unless full */
    uint16_t first_free;                /* offset of an entry; 0: none */
    uint16_t used;
};

/* index.c: the rare parts. */
bool tmem_new_slab(struct tmem_client *c, struct tmem_slabs *slabs);
void tmem_free_slab(struct tmem_client *c, struct tmem_slabs *slabs,
                    struct tmem_slab *slab);
void tmem_table_grow(struct tmem_client *c, struct tmem_table *t);
void tmem_table_shrink(struct tmem_client *c, struct tmem_table *t);
/* Found, or made; NULL only when the reserve was not made. */
struct tmem_object *tmem_object_for(struct tmem_client *c,
                                    struct tmem_pool *pool,
                                    const xen_tmem_oid_t *oid, uint64_t key);
/* Whose last page has left. */
void tmem_drop_object(struct tmem_client *c, struct tmem_pool *pool,
                      struct tmem_object *obj);

static always_inline void *tmem_entry_alloc(struct tmem_client *c,
                                            enum tmem_slab_kind kind)
{
    struct tmem_slabs *slabs = &c->slabs[kind];
    struct tmem_slab *slab;
    uint16_t *entry;

    if ( unlikely(list_empty(&slabs->roomy)) && !tmem_new_slab(c, slabs) )
        return NULL;

    slab = list_entry(slabs->roomy.next, struct tmem_slab, list);
    entry = (void *)slab + slab->first_free;
    slab->first_free = *entry;
    slab->used++;
    if ( unlikely(!slab->first_free) )
        list_del(&slab->list);

    return entry;
}

static inline struct tmem_slab *tmem_slab_of(const void *entry)
{
    return (void *)((unsigned long)entry & PAGE_MASK);
}

static always_inline void tmem_entry_free(struct tmem_client *c,
                                          enum tmem_slab_kind kind,
                                          void *entry)
{
    struct tmem_slabs *slabs = &c->slabs[kind];
    struct tmem_slab *slab = tmem_slab_of(entry);

    if ( unlikely(!slab->first_free) )
        list_add(&slab->list, &slabs->roomy);
    *(uint16_t *)entry = slab->first_free;
    slab->first_free = (unsigned long)entry & ~PAGE_MASK;
    if ( unlikely(!--slab->used) )
        tmem_free_slab(c, slabs, slab);
}

static inline enum tmem_slab_kind tmem_page_kind(bool persistent)
{
    return persistent ? TMEM_SLAB_PERSISTENT : TMEM_SLAB_PAGES;
}

static inline enum tmem_slab_kind tmem_object_kind(bool persistent)
{
    return persistent ? TMEM_SLAB_PERSISTENT : TMEM_SLAB_OBJECTS;
}

/* Whether a persistent page's record, or its object's, needs another slab. */
static always_inline bool tmem_needs_slab(const struct tmem_client *c,
                                          const tmem_op_t *op,
                                          const struct tmem_spot *spot)
{
    const struct list_head *roomy = &c->slabs[TMEM_SLAB_PERSISTENT].roomy;
    const struct tmem_slab *slab = list_entry(roomy->next, struct tmem_slab,
                                              list);

    if ( unlikely(list_empty(roomy)) )
        return true;

    return unlikely(slab->used == TMEM_SLAB_ENTRIES - 1) &&
           roomy->next->next == roomy &&
           !tmem_find_object(c, spot->key, &op->u.gen.oid);
}

static always_inline void tmem_push_entry(uint64_t *bucket, void *entry,
                                          uint32_t hash)
{
    uint64_t old = *bucket;

    *(void **)entry = chain_of(old);
    *bucket = (old & FILTER_MASK) | filter_bit(hash) |
              ((unsigned long)entry & ~FILTER_MASK);
}

static always_inline void tmem_pull_entry(uint64_t *bucket, void *entry)
{
    void **link = chain_of(*bucket);

    if ( likely(link == entry) )
    {
        void *next = *link;

        *bucket = next ? (*bucket & FILTER_MASK) |
                         ((unsigned long)next & ~FILTER_MASK)
                       : 0;
        return;
    }
    while ( *link != entry )
        link = *link;
    *link = *(void **)entry;
}

/*
 * The record of a page whose spot tmem_find_page() has found to be empty. NULL
 * only when the reserve of index pages was not made.
 */
static always_inline struct tmem_page *tmem_enter_page(
    struct tmem_client *c, struct tmem_pool *pool, const tmem_op_t *op,
    const struct tmem_spot *spot, struct page_info *frame)
{
    const xen_tmem_oid_t *oid = &op->u.gen.oid;
    enum tmem_slab_kind kind = tmem_page_kind(pool->persistent);
    struct tmem_page *page = tmem_entry_alloc(c, kind);
    struct tmem_object *obj = pool->last;

    ASSERT(spin_is_locked(&c->lock));
    if ( unlikely(!page) )
        return NULL;

    /* Puts into an object follow each other, mostly. */
    if ( unlikely(!obj) || !object_is(obj, spot->key, oid) )
    {
        obj = tmem_object_for(c, pool, oid, spot->key);
        if ( unlikely(!obj) )
        {
            tmem_entry_free(c, kind, page);
            return NULL;
        }
    }

    page->object = obj;
    page->frame = frame;
    page->index = op->u.gen.index;
    page->stamp = tmem_now();
    hlist_add_head(&page->siblings, &obj->pages);
    tmem_push_entry(spot->bucket, page, spot->hash);
    if ( unlikely(++c->pages.entries > c->pages.grow_above) )
        tmem_table_grow(c, &c->pages);

    if ( pool->persistent )
        tmem_level(c, TMEM_LEVEL_PERSISTENT, 1);
    else
    {
        if ( unlikely(list_empty(&c->lru)) )
            ACCESS_ONCE(c->oldest) = page->stamp;
        list_add_tail(&page->lru, &c->lru);
        tmem_level(c, TMEM_LEVEL_EPHEMERAL, 1);
    }
    if ( ++pool->stats.pages.now > pool->stats.pages.most )
        pool->stats.pages.most = pool->stats.pages.now;
    pool->used = true;

    return page;
}

/*
 * Drops a record, and its object when it was the last; returns the frame. The
 * bucket is that of the page's spot.
 */
static always_inline struct page_info *tmem_leave_page(
    struct tmem_client *c, struct tmem_pool *pool, bool persistent,
    struct tmem_page *page, uint64_t *bucket)
{
    struct page_info *frame = page->frame;
    struct tmem_object *obj = page->object;

    ASSERT(spin_is_locked(&c->lock));
    tmem_pull_entry(bucket, page);
    __hlist_del(&page->siblings);
    if ( persistent )
        tmem_level(c, TMEM_LEVEL_PERSISTENT, -1);
    else
    {
        struct list_head *next = page->lru.next;

        __list_del(page->lru.prev, next);
        if ( c->lru.next == next && next != &c->lru )
            ACCESS_ONCE(c->oldest) =
                list_entry(next, struct tmem_page, lru)->stamp;
        tmem_level(c, TMEM_LEVEL_EPHEMERAL, -1);
    }
    pool->stats.pages.now--;
    tmem_entry_free(c, tmem_page_kind(persistent), page);
    if ( unlikely(--c->pages.entries < c->pages.shrink_below) )
        tmem_table_shrink(c, &c->pages);
    if ( unlikely(hlist_empty(&obj->pages)) )
        tmem_drop_object(c, pool, obj);

    return frame;
}

#endif /* __TMEM_RECORDS_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
