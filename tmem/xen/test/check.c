/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The invariants of tmem's own structures: each record is where its handle is
 * looked for, each list and each table has as many entries as the counters
 * say, and every frame that the heap lent is accounted for.
 */

#include <stdlib.h>

#include "model.h"

#define FANOUT          (PAGE_SIZE / sizeof(void *))

struct pages_seen {
    unsigned long nr, room;
    uintptr_t *page;
};

static void see(struct pages_seen *seen, const void *entry)
{
    uintptr_t page = (uintptr_t)entry & PAGE_MASK;

    if ( seen->nr && seen->page[seen->nr - 1] == page )
        return;
    if ( seen->nr == seen->room )
    {
        seen->room = seen->room * 2 + 64;
        seen->page = realloc(seen->page, seen->room * sizeof(*seen->page));
        CHECK(seen->page, "the harness itself is out of memory");
    }
    seen->page[seen->nr++] = page;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return x < y ? -1 : x > y;
}

static unsigned long distinct(struct pages_seen *seen)
{
    unsigned long i, nr = 0;

    if ( seen->nr )
        qsort(seen->page, seen->nr, sizeof(*seen->page), by_address);
    for ( i = 0; i < seen->nr; i++ )
        nr += !i || seen->page[i] != seen->page[i - 1];
    free(seen->page);

    return nr;
}

/* Pages that a table is made of; its entries are counted on the way. */
static unsigned long table_pages(const struct tmem_table *t)
{
    unsigned long pages = 1, entries = 0;
    unsigned int i, j, k, buckets = 0;

    CHECK(t->root, "a table without a root");
    for ( i = 0; i < FANOUT; i++ )
    {
        void ***middle = t->root[i];

        if ( !middle )
            continue;
        pages++;
        for ( j = 0; j < FANOUT; j++ )
        {
            void **segment = (void **)middle[j];

            if ( !segment )
                continue;
            pages++;
            CHECK(t->buckets > (i * FANOUT + j) * FANOUT,
                  "a segment for buckets from %lu on, of %u", (i * FANOUT + j) * FANOUT, t->buckets);
            for ( k = 0; k < FANOUT; k++ )
            {
                const void *const *entry = segment[k];

                CHECK(!entry || (i * FANOUT + j) * FANOUT + k < t->buckets,
                      "an entry beyond the last bucket");
                for ( ; entry; entry = *entry )
                    entries++;
            }
            buckets += FANOUT;
        }
        CHECK(t->buckets > i * FANOUT * FANOUT,
              "a middle page for buckets from %lu on, of %u", i * FANOUT * FANOUT, t->buckets);
    }
    CHECK(buckets >= t->buckets && buckets < t->buckets + FANOUT,
          "segments for %u buckets, of %u", buckets, t->buckets);
    CHECK(entries == t->entries, "%lu entries are in a table of %lu", entries, t->entries);

    return pages;
}

static void check_pool(struct tmem_client *c, const struct tmem_pool *pool,
                       struct pages_seen *seen, unsigned long *objects,
                       unsigned long *pages)
{
    const struct tmem_object *obj;
    const struct tmem_page *page;
    unsigned long nr_objects = 0, nr_pages = 0;

    list_for_each_entry ( obj, &pool->objects, siblings )
    {
        xen_tmem_oid_t oid;
        uint32_t hash;

        memcpy(&oid, obj->oid, sizeof(oid));
        hash = tmem_hash_oid(c, pool->id, &oid);
        CHECK(obj->pool_id == pool->id && obj->hash == hash, "an object in another pool");
        CHECK(tmem_find_object(c, pool->id, &oid, hash) == obj, "an object that is not found");
        CHECK(!hlist_empty(&obj->pages), "an object without pages");
        see(seen, obj);
        nr_objects++;
        hlist_for_each_entry_shim ( page, struct tmem_page, &obj->pages, siblings )
        {
            CHECK(page->object == obj, "a page of another object");
            CHECK(tmem_find_page(c, pool->id, &oid, hash, page->index) == page,
                  "a page that is not found");
            CHECK(list_empty(&page->lru) == pool->persistent,
                  "an ephemeral page that cannot be evicted, or a persistent one that can");
            see(seen, page);
            nr_pages++;
        }
    }
    CHECK(pool->stats.objects.now == nr_objects, "pool %u counts %lu objects and has %lu",
          pool->id, (unsigned long)pool->stats.objects.now, nr_objects);
    CHECK(pool->stats.pages.now == nr_pages, "pool %u counts %lu pages and has %lu",
          pool->id, (unsigned long)pool->stats.pages.now, nr_pages);
    *objects += nr_objects;
    *pages += nr_pages;
}

static void check_ages(const struct tmem_client *c)
{
    const struct tmem_page *page, *last = NULL;
    unsigned long nr = 0;

    list_for_each_entry ( page, &c->lru, lru )
    {
        CHECK(page->frame && page->frame->use == FRAME_DOMHEAP && !page->frame->owner,
              "an ephemeral page's frame is not tmem's");
        CHECK(!last || !tmem_older(page->stamp, last->stamp), "pages are not in order of age");
        last = page;
        nr++;
    }
    CHECK(nr == c->stats.ephemeral.now, "%lu pages by age, %lu are counted", nr,
          (unsigned long)c->stats.ephemeral.now);
    if ( nr )
        CHECK(c->oldest == list_entry(c->lru.next, struct tmem_page, lru)->stamp,
              "the oldest page's stamp");
}

void check_client(struct tmem_client *c)
{
    unsigned long objects = 0, pages = 0, free = 0, nodes;
    struct pages_seen seen = { 0 };
    struct page_info *frame;
    unsigned int id;

    spin_lock(&c->lock);
    if ( c->retired )
    {
        CHECK(!c->stats.frames.now && !c->nr_free && !c->nr_spare, "a retired client has frames");
        spin_unlock(&c->lock);
        return;
    }
    for ( id = 0; id < TMEM_MAX_POOLS; id++ )
        if ( c->pools[id] )
        {
            CHECK(c->pools[id]->id == id, "pool %u under number %u", c->pools[id]->id, id);
            check_pool(c, c->pools[id], &seen, &objects, &pages);
        }
    check_ages(c);
    page_list_for_each ( frame, &c->free )
    {
        CHECK(frame->use == FRAME_DOMHEAP && !frame->owner, "a free frame is not tmem's");
        free++;
    }
    nodes = distinct(&seen) + table_pages(&c->objects) + table_pages(&c->pages);
    CHECK(free == c->nr_free && free <= TMEM_MAX_FREE, "%lu free frames, %u are counted", free, c->nr_free);
    CHECK(c->objects.entries == objects && c->stats.objects.now == objects,
          "%lu objects, %lu in the table, %lu counted", objects, c->objects.entries,
          (unsigned long)c->stats.objects.now);
    CHECK(c->pages.entries == pages && c->stats.descriptors.now == pages &&
          c->stats.ephemeral.now + c->stats.persistent.now == pages,
          "%lu pages, %lu in the table, %lu counted", pages, c->pages.entries,
          (unsigned long)c->stats.descriptors.now);
    CHECK(c->stats.nodes.now == nodes, "%lu index pages, %lu counted", nodes,
          (unsigned long)c->stats.nodes.now);
    CHECK(c->stats.frames.now == pages + free + nodes + c->nr_spare,
          "%lu frames are counted: %lu pages, %lu free, %lu index, %u spare",
          (unsigned long)c->stats.frames.now, pages, free, nodes, c->nr_spare);
    spin_unlock(&c->lock);
}

/* No domain may be making a hypercall. */
void check_system(void)
{
    unsigned long frames = 0, charged;
    struct domain *d;

    rcu_read_lock(&domlist_read_lock);
    for_each_domain ( d )
    {
        unsigned int gfn, own = 0;

        for ( gfn = 0; gfn < d->nr_gfns; gfn++ )
            if ( d->p2m[gfn].page && d->p2m[gfn].page->owner == d )
            {
                const struct page_info *page = d->p2m[gfn].page;

                CHECK(page->count == 1, "domain %u's frame %u has %u references",
                      d->domain_id, gfn, page->count);
                CHECK((page->type & PGT_count_mask) ==
                      ((page->type & PGT_type_mask) == PGT_l1_page_table),
                      "domain %u's frame %u has %u references of its type", d->domain_id, gfn,
                      page->type & PGT_count_mask);
                own++;
            }
        charged = 0;
        if ( d->tmem )
        {
            check_client(d->tmem);
            frames += d->tmem->stats.frames.now;
            charged = d->tmem->stats.persistent.now;
        }
        CHECK(d->tot_pages == own + charged,
              "domain %u is charged %u pages: has %u and %lu persistent ones",
              d->domain_id, d->tot_pages, own, charged);
    }
    rcu_read_unlock(&domlist_read_lock);
    CHECK(heap_frames_of_tmem() == frames, "the heap lent %lu frames, tmem counts %lu",
          heap_frames_of_tmem(), frames);
}
