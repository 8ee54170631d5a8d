/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: from a handle (pool, object, index) to a page.
 *
 * Two tables for each client, one of objects and one of pages, by linear
 * hashing; their entries are carved out of slabs of one page. Nothing here
 * takes more than constant time, and nothing allocates: tmem_index_reserve()
 * does, before the client's lock is taken.
 */

#include <xen/lib.h>
#include <xen/mm.h>

#include "records.h"

/* How often room for an index page is made before its put is refused. */
#define MAX_TRIES           4
#define MAX_BUCKETS         (FANOUT * FANOUT * FANOUT)

static void *index_page_alloc(unsigned int memflags)
{
    /* Not what devices may have to have, as for frames. */
    void *page = alloc_xenheap_pages(0, memflags | MEMF_no_dma);

    if ( page )
        clear_page(page);

    return page;
}

static bool reserve(struct tmem_client *c, unsigned int memflags)
{
    unsigned int tries = 0;
    void *page;

    for ( ; ; )
    {
        bool enough, gone;

        spin_lock(&c->lock);
        enough = c->nr_spare >= TMEM_SPARE_NEEDED;
        gone = c->dying;
        spin_unlock(&c->lock);

        if ( enough || gone )
            return enough;

        page = index_page_alloc(memflags);
        if ( !page )
        {
            /*
             * Someone else's ephemeral page makes room for a record, too. But
             * others may be quicker to take it from the heap.
             */
            if ( ++tries > MAX_TRIES || !tmem_make_index_room(c) )
                return false;
            continue;
        }

        spin_lock(&c->lock);
        if ( c->nr_spare < TMEM_SPARE_KEPT && !c->dying )
        {
            c->spare[c->nr_spare++] = page;
            tmem_level(c, TMEM_LEVEL_FRAMES, 1);
            page = NULL;
        }
        spin_unlock(&c->lock);

        if ( page )
            free_xenheap_page(page);
    }
}

bool tmem_index_reserve(struct tmem_client *c)
{
    return reserve(c, MEMF_tmem);
}

static void *take_spare(struct tmem_client *c)
{
    if ( !c->nr_spare )
        return NULL;
    tmem_level(c, TMEM_LEVEL_NODES, 1);

    return c->spare[--c->nr_spare];
}

static void return_page(struct tmem_client *c, void *page)
{
    tmem_level(c, TMEM_LEVEL_NODES, -1);
    /* At hand it may become a persistent record's, so claims are asked now. */
    if ( !c->eviction && c->nr_spare <= TMEM_SPARE_NEEDED && !c->dying &&
         tmem_claims_allow(0) && !tmem_is_marked(virt_to_page(page)) )
    {
        clear_page(page);
        c->spare[c->nr_spare++] = page;
        return;
    }
    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    if ( c->eviction )
    {
        *(void **)page = c->eviction->pages;
        c->eviction->pages = page;
        c->eviction->index++;
    }
    else
        free_xenheap_page(page);
}

/* Slabs. */

bool tmem_new_slab(struct tmem_client *c, struct tmem_slabs *slabs)
{
    struct tmem_slab *slab = take_spare(c);
    unsigned int offset;

    BUILD_BUG_ON(sizeof(struct tmem_page) != TMEM_ENTRY_SIZE);
    BUILD_BUG_ON(sizeof(struct tmem_object) != TMEM_ENTRY_SIZE);
    BUILD_BUG_ON(sizeof(struct tmem_slab) > TMEM_ENTRY_SIZE);

    if ( !slab )
        return false;

    /* Each free entry tells where the next one is, the last one 0. */
    for ( offset = TMEM_ENTRY_SIZE; offset < PAGE_SIZE;
          offset += TMEM_ENTRY_SIZE )
        *(uint16_t *)((void *)slab + offset) =
            (offset + TMEM_ENTRY_SIZE) % PAGE_SIZE;
    slab->first_free = TMEM_ENTRY_SIZE;
    slab->used = 0;
    list_add(&slab->list, &slabs->roomy);
    add_sized(&slabs->nr, 1);
    if ( slabs != &c->slabs[TMEM_SLAB_PERSISTENT] )
        tmem_spare_frames(1);

    return true;
}

void tmem_free_slab(struct tmem_client *c, struct tmem_slabs *slabs,
                    struct tmem_slab *slab)
{
    list_del(&slab->list);
    add_sized(&slabs->nr, -1);
    if ( slabs != &c->slabs[TMEM_SLAB_PERSISTENT] )
        tmem_spare_frames(-1);
    return_page(c, slab);
}

/* Tables. */

static uint32_t entry_hash(const struct tmem_client *c,
                           const struct tmem_table *t, const void *entry)
{
    const struct tmem_page *page = entry;

    if ( t == &c->objects )
        return object_hash(((const struct tmem_object *)entry)->key);

    return page_hash(c, page->object->key, page->index);
}

/* Some entries of bucket `from` belong to a new one now. */
static void split_bucket(const struct tmem_client *c, struct tmem_table *t,
                         unsigned int from)
{
    uint64_t *bucket = bucket_at(t, from);
    void *entry = chain_of(*bucket);

    *bucket = 0;
    while ( entry )
    {
        void *next = *(void **)entry;
        uint32_t hash = entry_hash(c, t, entry);

        tmem_push_entry(bucket_of(t, hash), entry, hash);
        entry = next;
    }
}

static unsigned int buddy_of(unsigned int bucket)
{
    return bucket - (1U << (fls(bucket) - 1));
}

static void set_buckets(struct tmem_table *t, unsigned int nr)
{
    t->buckets = nr;
    t->grow_above = nr < MAX_BUCKETS ? nr + nr / 2 : ~0UL;
    /* Half of that, so that they don't chase each other. */
    t->shrink_below = nr > FANOUT ? nr / 2 + nr / 4 : 0;
}

void tmem_table_grow(struct tmem_client *c, struct tmem_table *t)
{
    unsigned int nr = t->buckets;
    uint64_t ***root = &t->root[nr >> (2 * FANOUT_SHIFT)], **middle = *root;

    ASSERT(nr < MAX_BUCKETS);
    /* Without a page the chains grow longer, and the next insertion tries. */
    if ( !middle )
    {
        middle = take_spare(c);
        if ( !middle )
            return;
    }
    if ( !middle[(nr >> FANOUT_SHIFT) & (FANOUT - 1)] )
    {
        uint64_t *segment = take_spare(c);

        if ( !segment )
        {
            /* No bucket would be in it, so that shrinking never got to it. */
            if ( !*root )
                return_page(c, middle);
            return;
        }
        middle[(nr >> FANOUT_SHIFT) & (FANOUT - 1)] = segment;
    }
    *root = middle;

    set_buckets(t, nr + 1);
    if ( nr > t->mask )
        t->mask += t->mask + 1;
    split_bucket(c, t, buddy_of(nr));
}

static void merge_last_bucket(struct tmem_client *c, struct tmem_table *t)
{
    unsigned int nr = t->buckets - 1;
    uint64_t *last = bucket_at(t, nr), *buddy = bucket_at(t, buddy_of(nr));
    void **link = chain_of(*last);

    /* Its entries go before its buddy's. */
    if ( link )
    {
        while ( *link )
            link = *link;
        *link = chain_of(*buddy);
        *buddy = *last | (*buddy & FILTER_MASK);
    }
    *last = 0;
    set_buckets(t, nr);
    if ( nr - 1 <= t->mask >> 1 )
        t->mask >>= 1;

    if ( !(nr & (FANOUT - 1)) )
    {
        uint64_t **middle = t->root[nr >> (2 * FANOUT_SHIFT)];

        return_page(c, middle[(nr >> FANOUT_SHIFT) & (FANOUT - 1)]);
        middle[(nr >> FANOUT_SHIFT) & (FANOUT - 1)] = NULL;
        if ( !(nr & (FANOUT * FANOUT - 1)) )
        {
            return_page(c, middle);
            t->root[nr >> (2 * FANOUT_SHIFT)] = NULL;
        }
    }
}

void tmem_table_shrink(struct tmem_client *c, struct tmem_table *t)
{
    unsigned int i;

    /* Two buckets for one entry, so that an emptied table is small. */
    for ( i = 0; i < 2 && t->entries < t->shrink_below; i++ )
        merge_last_bucket(c, t);
}

/* Takes its three pages from the spare ones. */
static bool table_init(struct tmem_client *c, struct tmem_table *t)
{
    t->root = take_spare(c);
    if ( !t->root )
        return false;
    t->root[0] = take_spare(c);
    if ( !t->root[0] )
        return false;
    t->root[0][0] = take_spare(c);
    set_buckets(t, FANOUT);
    t->mask = FANOUT - 1;

    return t->root[0][0];
}

int tmem_index_init(struct tmem_client *c)
{
    unsigned int i;

    for ( i = 0; i < ARRAY_SIZE(c->slabs); i++ )
        INIT_LIST_HEAD(&c->slabs[i].roomy);
    for ( i = 0; i < ARRAY_SIZE(c->secret); i++ )
        c->secret[i] = tmem_random();

    /*
     * Nobody else knows this client yet. Its few pages may come from what is
     * left free for others: a guest asks for its pools before it has given
     * up any memory, and asks only once.
     */
    if ( !reserve(c, 0) || !table_init(c, &c->objects) ||
         !reserve(c, 0) || !table_init(c, &c->pages) )
        return -ENOMEM;

    return 0;
}

static void table_free(struct tmem_client *c, struct tmem_table *t)
{
    ASSERT(!t->entries);
    if ( !t->root )
        return;

    ASSERT(t->buckets <= FANOUT);
    if ( t->root[0] )
    {
        if ( t->root[0][0] )
            return_page(c, t->root[0][0]);
        return_page(c, t->root[0]);
    }
    return_page(c, t->root);
    t->root = NULL;
}

/* Of an empty client that nobody else can reach any more, or not yet. */
void tmem_index_free(struct tmem_client *c)
{
    unsigned int i;

    c->dying = true;
    table_free(c, &c->objects);
    table_free(c, &c->pages);
    for ( i = 0; i < ARRAY_SIZE(c->slabs); i++ )
        ASSERT(!c->slabs[i].nr);
    while ( c->nr_spare )
    {
        free_xenheap_page(c->spare[--c->nr_spare]);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    }
}

struct tmem_object *tmem_object_for(struct tmem_client *c,
                                    struct tmem_pool *pool,
                                    const xen_tmem_oid_t *oid, uint64_t key)
{
    struct tmem_object *obj = tmem_find_object(c, key, oid);

    ASSERT(spin_is_locked(&c->lock));
    if ( !obj )
    {
        obj = tmem_entry_alloc(c, tmem_object_kind(pool->persistent));
        if ( !obj )
            return NULL;
        memcpy(obj->oid, oid->oid, sizeof(obj->oid));
        INIT_HLIST_HEAD(&obj->pages);
        obj->key = key;
        list_add_tail(&obj->siblings, &pool->objects);
        tmem_push_entry(bucket_of(&c->objects, object_hash(key)), obj,
                        object_hash(key));
        if ( ++c->objects.entries > c->objects.grow_above )
            tmem_table_grow(c, &c->objects);
        tmem_level(c, TMEM_LEVEL_OBJECTS, 1);
        if ( ++pool->stats.objects.now > pool->stats.objects.most )
            pool->stats.objects.most = pool->stats.objects.now;
    }
    pool->last = obj;

    return obj;
}

void tmem_drop_object(struct tmem_client *c, struct tmem_pool *pool,
                      struct tmem_object *obj)
{
    ASSERT(spin_is_locked(&c->lock));
    if ( pool->last == obj )
        pool->last = NULL;
    tmem_pull_entry(bucket_of(&c->objects, object_hash(obj->key)), obj);
    list_del(&obj->siblings);
    tmem_level(c, TMEM_LEVEL_OBJECTS, -1);
    pool->stats.objects.now--;
    tmem_entry_free(c, tmem_object_kind(pool->persistent), obj);
    if ( --c->objects.entries < c->objects.shrink_below )
        tmem_table_shrink(c, &c->objects);
}

struct tmem_page *tmem_insert_page(struct tmem_client *c,
                                   struct tmem_pool *pool, const tmem_op_t *op,
                                   const struct tmem_spot *spot,
                                   struct page_info *frame)
{
    return tmem_enter_page(c, pool, op, spot, frame);
}

struct page_info *tmem_remove_page(struct tmem_client *c,
                                   struct tmem_page *page)
{
    uint64_t key = page->object->key;
    struct tmem_pool *pool = c->pools[pool_of_key(key)];

    return tmem_leave_page(c, pool, pool->persistent, page,
                           bucket_of(&c->pages,
                                     page_hash(c, key, page->index)));
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
