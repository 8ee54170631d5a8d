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
#include <xen/random.h>

#include "lookup.h"

#define ENTRY_SIZE          64
#define ENTRIES_PER_SLAB    (PAGE_SIZE / ENTRY_SIZE)
/* How often room for an index page is made before its put is refused. */
#define MAX_TRIES           4
#define MAX_BUCKETS         (FANOUT * FANOUT * FANOUT)

/* Takes the place of a slab's first entry. */
struct slab {
    struct list_head list;              /* in client->slabs unless full */
    uint16_t first_free;                /* number of an entry; 0: none */
    uint16_t used;
};

static void *index_page_alloc(unsigned int memflags)
{
    void *page = alloc_xenheap_pages(0, memflags);

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
            if ( ++tries > MAX_TRIES || !tmem_flush(NULL, TMEM_REFILL) )
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
    if ( c->nr_spare <= TMEM_SPARE_NEEDED && !c->dying )
    {
        clear_page(page);
        c->spare[c->nr_spare++] = page;
        return;
    }
    tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    free_xenheap_page(page);
}

/* Slabs. */

static void *entry_alloc(struct tmem_client *c)
{
    struct slab *slab;
    char *entry;

    BUILD_BUG_ON(sizeof(struct tmem_page) != ENTRY_SIZE);
    BUILD_BUG_ON(sizeof(struct tmem_object) != ENTRY_SIZE);
    BUILD_BUG_ON(sizeof(struct slab) > ENTRY_SIZE);

    if ( list_empty(&c->slabs) )
    {
        unsigned int i;

        slab = take_spare(c);
        if ( !slab )
            return NULL;
        for ( i = 1; i < ENTRIES_PER_SLAB; i++ )
            *(uint16_t *)((char *)slab + i * ENTRY_SIZE) =
                (i + 1) % ENTRIES_PER_SLAB;
        slab->first_free = 1;
        slab->used = 0;
        list_add(&slab->list, &c->slabs);
    }
    else
        slab = list_entry(c->slabs.next, struct slab, list);

    entry = (char *)slab + slab->first_free * ENTRY_SIZE;
    slab->first_free = *(uint16_t *)entry;
    slab->used++;
    if ( !slab->first_free )
        list_del(&slab->list);

    return entry;
}

static void entry_free(struct tmem_client *c, void *entry)
{
    struct slab *slab = (void *)((unsigned long)entry & PAGE_MASK);
    unsigned int nr = ((unsigned long)entry & ~PAGE_MASK) / ENTRY_SIZE;

    if ( !slab->first_free )
        list_add(&slab->list, &c->slabs);
    *(uint16_t *)entry = slab->first_free;
    slab->first_free = nr;
    if ( !--slab->used )
    {
        list_del(&slab->list);
        return_page(c, slab);
    }
}

/* Tables. */

static uint32_t entry_hash(const struct tmem_client *c,
                           const struct tmem_table *t, const void *entry)
{
    const struct tmem_page *page = entry;

    if ( t == &c->objects )
        return ((const struct tmem_object *)entry)->hash;

    return page_hash(page->object->hash, page->index);
}

/* Replaces a chain, and adds to its filter. */
static void set_chain(uint64_t *bucket, const void *entry, uint64_t bits)
{
    *bucket = entry ? (*bucket & FILTER_MASK) | bits |
                      ((unsigned long)entry & ~FILTER_MASK)
                    : 0;
}

static void push_entry(struct tmem_table *t, void *entry, uint32_t hash)
{
    uint64_t *bucket = bucket_of(t, hash);

    *(void **)entry = chain_of(*bucket);
    set_chain(bucket, entry, filter_bit(hash));
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

        push_entry(t, entry, entry_hash(c, t, entry));
        entry = next;
    }
}

static unsigned int buddy_of(unsigned int bucket)
{
    return bucket - (1U << (fls(bucket) - 1));
}

static void table_grow(struct tmem_client *c, struct tmem_table *t)
{
    unsigned int nr = t->buckets;
    uint64_t ***root = &t->root[nr >> (2 * FANOUT_SHIFT)], **middle = *root;

    if ( t->entries <= nr + nr / 2 || nr >= MAX_BUCKETS )
        return;

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

    t->buckets++;
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
        set_chain(buddy, chain_of(*last), *last & FILTER_MASK);
    }
    *last = 0;
    t->buckets--;
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

static inline void table_shrink(struct tmem_client *c, struct tmem_table *t)
{
    unsigned int i;

    /*
     * Half of what table_grow() asks for, so that they don't chase each
     * other; two buckets for one entry, so that an emptied table is small.
     */
    for ( i = 0; i < 2; i++ )
        if ( t->buckets > FANOUT &&
             t->entries < t->buckets / 2 + t->buckets / 4 )
            merge_last_bucket(c, t);
}

static void table_insert(struct tmem_client *c, struct tmem_table *t,
                         void *entry, uint32_t hash)
{
    push_entry(t, entry, hash);
    t->entries++;
    table_grow(c, t);
}

static void table_remove(struct tmem_client *c, struct tmem_table *t,
                         void *entry, uint32_t hash)
{
    uint64_t *bucket = bucket_of(t, hash);
    void **link = chain_of(*bucket);

    if ( link == entry )
        set_chain(bucket, *link, 0);
    else
    {
        while ( *link != entry )
            link = *link;
        *link = *(void **)entry;
    }
    t->entries--;
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
    t->buckets = FANOUT;
    t->mask = FANOUT - 1;

    return t->root[0][0];
}

int tmem_index_init(struct tmem_client *c)
{
    INIT_LIST_HEAD(&c->slabs);
    c->seed = ((uint64_t)get_random() << 32) | get_random();

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
    c->dying = true;
    table_free(c, &c->objects);
    table_free(c, &c->pages);
    ASSERT(list_empty(&c->slabs));
    while ( c->nr_spare )
    {
        free_xenheap_page(c->spare[--c->nr_spare]);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
    }
}

struct tmem_page *tmem_insert_page(struct tmem_client *c,
                                   struct tmem_pool *pool,
                                   const xen_tmem_oid_t *oid, uint32_t hash,
                                   uint32_t index, struct page_info *frame)
{
    struct tmem_object *obj = tmem_find_object(c, pool->id, oid, hash);
    struct tmem_page *page = entry_alloc(c);

    if ( !page )
        return NULL;

    if ( !obj )
    {
        obj = entry_alloc(c);
        if ( !obj )
        {
            entry_free(c, page);
            return NULL;
        }
        memcpy(obj->oid, oid->oid, sizeof(obj->oid));
        INIT_HLIST_HEAD(&obj->pages);
        obj->hash = hash;
        obj->pool_id = pool->id;
        list_add_tail(&obj->siblings, &pool->objects);
        table_insert(c, &c->objects, obj, hash);
        tmem_level(c, TMEM_LEVEL_OBJECTS, 1);
        if ( ++pool->stats.objects.now > pool->stats.objects.most )
            pool->stats.objects.most = pool->stats.objects.now;
    }

    page->object = obj;
    page->frame = frame;
    page->index = index;
    page->stamp = tmem_now();
    hlist_add_head(&page->siblings, &obj->pages);
    table_insert(c, &c->pages, page, page_hash(hash, index));

    if ( pool->persistent )
    {
        INIT_LIST_HEAD(&page->lru);
        tmem_level(c, TMEM_LEVEL_PERSISTENT, 1);
    }
    else
    {
        if ( list_empty(&c->lru) )
            c->oldest = page->stamp;
        list_add_tail(&page->lru, &c->lru);
        tmem_level(c, TMEM_LEVEL_EPHEMERAL, 1);
    }
    tmem_level(c, TMEM_LEVEL_DESCRIPTORS, 1);
    if ( ++pool->stats.pages.now > pool->stats.pages.most )
        pool->stats.pages.most = pool->stats.pages.now;
    pool->used = true;

    return page;
}

struct page_info *tmem_remove_page(struct tmem_client *c,
                                   struct tmem_page *page)
{
    struct page_info *frame = page->frame;
    struct tmem_object *obj = page->object;
    struct tmem_pool *pool = c->pools[obj->pool_id];

    table_remove(c, &c->pages, page, page_hash(obj->hash, page->index));
    hlist_del(&page->siblings);
    if ( pool->persistent )
        tmem_level(c, TMEM_LEVEL_PERSISTENT, -1);
    else
    {
        list_del(&page->lru);
        if ( !list_empty(&c->lru) )
            c->oldest = list_entry(c->lru.next, struct tmem_page, lru)->stamp;
        tmem_level(c, TMEM_LEVEL_EPHEMERAL, -1);
    }
    tmem_level(c, TMEM_LEVEL_DESCRIPTORS, -1);
    pool->stats.pages.now--;
    entry_free(c, page);
    table_shrink(c, &c->pages);

    if ( hlist_empty(&obj->pages) )
    {
        table_remove(c, &c->objects, obj, obj->hash);
        list_del(&obj->siblings);
        tmem_level(c, TMEM_LEVEL_OBJECTS, -1);
        pool->stats.objects.now--;
        entry_free(c, obj);
        table_shrink(c, &c->objects);
    }

    return frame;
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
