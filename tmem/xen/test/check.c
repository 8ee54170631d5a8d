/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The invariants of tmem's own structures: each record is where its handle is
 * looked for, each list and each table has as many entries as the counters
 * say, and every frame that the heap lent is accounted for.
 */

#include <stdlib.h>

#include "packed.h"
#include "records.h"
#include "model.h"

/* How the pages of a client are stored. */
struct contents {
    unsigned long plain[2], packed[2], shared;
};

struct pages_seen {
    unsigned long nr, room;
    uintptr_t *page;
};

/* What is in a client's pools. */
struct found {
    struct contents contents;
    unsigned long objects, pages;
    struct pages_seen slabs[TMEM_NR_SLAB_KINDS];
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
        uint64_t **middle = t->root[i];

        if ( !middle )
            continue;
        pages++;
        for ( j = 0; j < FANOUT; j++ )
        {
            const uint64_t *segment = middle[j];

            if ( !segment )
                continue;
            pages++;
            CHECK(t->buckets > (i * FANOUT + j) * FANOUT,
                  "a segment for buckets from %lu on, of %u", (i * FANOUT + j) * FANOUT, t->buckets);
            for ( k = 0; k < FANOUT; k++ )
            {
                const void *const *entry = chain_of(segment[k]);

                CHECK(entry || !segment[k], "an empty bucket with a filter");
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
    CHECK(t->buckets - 1 <= t->mask && t->buckets - 1 > t->mask >> 1 && !(t->mask & (t->mask + 1)),
          "the numbers of %u buckets are masked with %#x", t->buckets, t->mask);
    CHECK(entries == t->entries, "%lu entries are in a table of %lu", entries, t->entries);

    return pages;
}

static void check_content(const struct tmem_page *page, bool persistent, struct contents *found)
{
    const struct page_info *frame = page->frame;

    if ( tmem_is_packed(page) )
    {
        found->packed[persistent]++;
        switch ( kind_of(page) )
        {
        case TMEM_ZERO:
            return;
        case TMEM_SHORT:
        case TMEM_LZ4:
            break;
        case TMEM_SHARED:
            CHECK(!persistent, "a persistent page shares its content");
            found->shared++;
            break;
        default:
            FAIL("a page without content");
        }
        frame = frame_of(page);
        CHECK(frame->u.tmem.units, "a content in a frame that has none");
    }
    else
        found->plain[persistent]++;
    CHECK(frame->use == FRAME_DOMHEAP && !frame->owner, "a page's frame is not tmem's");
}

static void check_pool(struct tmem_client *c, const struct tmem_pool *pool, struct found *found)
{
    struct pages_seen *object_slabs = &found->slabs[tmem_object_kind(pool->persistent)];
    struct pages_seen *page_slabs = &found->slabs[tmem_page_kind(pool->persistent)];
    const struct tmem_object *obj;
    const struct tmem_page *page;
    unsigned long nr_objects = 0, nr_pages = 0;

    list_for_each_entry ( obj, &pool->objects, siblings )
    {
        tmem_op_t op = { 0 };
        struct tmem_spot spot;

        memcpy(&op.u.gen.oid, obj->oid, sizeof(op.u.gen.oid));
        CHECK(obj->key == tmem_key(c, pool, &op.u.gen.oid) && pool_of_key(obj->key) == pool->id,
              "an object in another pool");
        CHECK(tmem_find_object(c, obj->key, &op.u.gen.oid) == obj, "an object that is not found");
        CHECK(!hlist_empty(&obj->pages), "an object without pages");
        see(object_slabs, obj);
        nr_objects++;
        hlist_for_each_entry_shim ( page, struct tmem_page, &obj->pages, siblings )
        {
            CHECK(page->object == obj, "a page of another object");
            op.u.gen.index = page->index;
            CHECK(tmem_find_page(c, pool, &op, &spot) == page, "a page that is not found");
            CHECK(pool->persistent || page->lru.next->prev == &page->lru,
                  "an ephemeral page that cannot be evicted");
            check_content(page, pool->persistent, &found->contents);
            see(page_slabs, page);
            nr_pages++;
        }
    }
    CHECK(pool->stats.objects.now == nr_objects, "pool %u counts %lu objects and has %lu",
          pool->id, (unsigned long)pool->stats.objects.now, nr_objects);
    CHECK(pool->stats.pages.now == nr_pages, "pool %u counts %lu pages and has %lu",
          pool->id, (unsigned long)pool->stats.pages.now, nr_pages);
    found->objects += nr_objects;
    found->pages += nr_pages;
}

static void check_ages(const struct tmem_client *c)
{
    const struct tmem_page *page, *last = NULL;
    unsigned long nr = 0;

    list_for_each_entry ( page, &c->lru, lru )
    {
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

/* Slabs of each kind are what the records found are in, and no slab is of two kinds. Returns how many there are. */
static unsigned long check_slabs(const struct tmem_client *c, struct found *found)
{
    struct pages_seen all = { 0 };
    unsigned long sum = 0, i;
    unsigned int kind;

    for ( kind = 0; kind < TMEM_NR_SLAB_KINDS; kind++ )
    {
        unsigned long nr;

        for ( i = 0; i < found->slabs[kind].nr; i++ )
            see(&all, (void *)found->slabs[kind].page[i]);
        nr = distinct(&found->slabs[kind]);
        CHECK(c->slabs[kind].nr == nr, "%lu slabs of kind %u, %lu are counted", nr, kind, c->slabs[kind].nr);
        sum += nr;
    }
    CHECK(distinct(&all) == sum, "records of two kinds are in one slab");

    return sum;
}

/*
 * What a domain has to be charged, said once more: frames of content, and what their records take beyond
 * one page for 16 of them, with a page of buckets for six slabs.
 */
static unsigned long what_is_due(unsigned long contents, unsigned long slabs)
{
    unsigned long index = slabs + slabs / 6, paid = (contents + 15) / 16;

    return contents + (index <= paid ? 0 : index - paid);
}

/* What nobody can take back, a few pages aside that every client has, is at most 5/4 of the charge. */
static void check_charge(const struct tmem_client *c, unsigned long contents, unsigned long tables)
{
    unsigned long slabs = c->slabs[TMEM_SLAB_PERSISTENT].nr, held = contents + slabs;

    CHECK(c->contents == contents, "%lu frames of persistent content, %lu are counted", contents, c->contents);
    CHECK(c->charged == what_is_due(contents, slabs), "%lu pages are charged for %lu contents and %lu slabs",
          c->charged, contents, slabs);
    /* Else its pages are in the tables, too. */
    if ( !c->stats.ephemeral.now )
        held += tables;
    CHECK(held <= c->charged * 5 / 4 + 9, "%lu frames are held for a charge of %lu", held, c->charged);
}

static void check_client(struct tmem_client *c, unsigned long *charged, unsigned long *shared, long *spare)
{
    unsigned long free = 0, tables, nodes, held;
    struct found found = { 0 };
    const struct contents *contents = &found.contents;
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
            check_pool(c, c->pools[id], &found);
        }
    check_ages(c);
    for ( frame = c->free; frame; frame = frame->next )
    {
        CHECK(frame->use == FRAME_DOMHEAP && !frame->owner, "a free frame is not tmem's");
        free++;
    }
    tables = table_pages(&c->objects) + table_pages(&c->pages);
    nodes = check_slabs(c, &found) + tables;
    CHECK(free == c->nr_free && free <= TMEM_MAX_FREE, "%lu free frames, %u are counted", free, c->nr_free);
    CHECK(c->objects.entries == found.objects && c->stats.objects.now == found.objects,
          "%lu objects, %lu in the table, %lu counted", found.objects, c->objects.entries,
          (unsigned long)c->stats.objects.now);
    CHECK(c->pages.entries == found.pages && c->stats.ephemeral.now + c->stats.persistent.now == found.pages,
          "%lu pages, %lu in the table, %lu counted", found.pages, c->pages.entries,
          (unsigned long)(c->stats.ephemeral.now + c->stats.persistent.now));
    CHECK(c->stats.nodes.now == nodes, "%lu index pages, %lu counted", nodes,
          (unsigned long)c->stats.nodes.now);
    CHECK(c->packed_pages == contents->packed[false] && c->sharing == contents->shared,
          "%lu packed pages, %lu of them sharing; %lu and %lu are counted", contents->packed[false],
          contents->shared, c->packed_pages, c->sharing);
    held = contents->plain[0] + contents->plain[1] + c->store[0].nr_frames + c->store[1].nr_frames;
    /* What domains share is nobody's. */
    CHECK(c->stats.frames.now == held + free + nodes + c->nr_spare,
          "%lu frames are counted: %lu contents, %lu free, %lu index, %u spare",
          (unsigned long)c->stats.frames.now, held, free, nodes, c->nr_spare);
    check_charge(c, contents->plain[1] + c->store[1].nr_frames, tables);
    CHECK(c->domain || !c->charged, "nobody can be charged for a shared pool");
    *charged = c->charged;
    *spare += contents->plain[0] + c->store[0].nr_frames + free + c->slabs[TMEM_SLAB_PAGES].nr +
              c->slabs[TMEM_SLAB_OBJECTS].nr;
    *spare -= c->asked_for;
    *shared += contents->shared;
    spin_unlock(&c->lock);
}

/* A domain's frames and what it is charged for. */
static void check_frames(const struct domain *d, unsigned long charged)
{
    unsigned int gfn, own = 0;

    for ( gfn = 0; gfn < d->nr_gfns; gfn++ )
    {
        const struct page_info *page = d->p2m[gfn].page;

        if ( !page || page->owner != d )
            continue;
        CHECK(page->count == 1, "domain %u's frame %u has %u references", d->domain_id, gfn, page->count);
        CHECK((page->type & PGT_count_mask) == ((page->type & PGT_type_mask) == PGT_l1_page_table),
              "domain %u's frame %u has %u references of its type", d->domain_id, gfn,
              page->type & PGT_count_mask);
        own++;
    }
    CHECK(d->tot_pages == own + charged, "domain %u is charged %u pages: has %u, and %lu of tmem's",
          d->domain_id, d->tot_pages, own, charged);
}

/* No domain may be making a hypercall. */
unsigned long check_system(void)
{
    unsigned long frames = 0, charged, shared = 0;
    long spare = 0;
    struct tmem_client *c;
    struct tmem_walk w;
    struct domain *d;

    rcu_read_lock(&domlist_read_lock);
    for_each_client ( w, c )
    {
        charged = 0;
        check_client(c, &charged, &shared, &spare);
        frames += c->stats.frames.now;
        if ( c->domain )
            check_frames(c->domain, charged);
    }
    for_each_domain ( d )
        if ( !d->tmem )
            check_frames(d, 0);
    rcu_read_unlock(&domlist_read_lock);
    spare += tmem_dedup_frames();
    CHECK(tmem_spare_now() == max(spare, 0L), "%ld frames could be given back, %ld are counted", spare,
          tmem_spare_now());
    CHECK(shared >= tmem_dedup_frames() && !shared == !tmem_dedup_frames(),
          "%lu pages share %lu contents", shared, tmem_dedup_frames());
    CHECK(heap_frames_of_tmem() == frames + tmem_dedup_frames(),
          "the heap lent %lu frames, tmem counts %lu and %lu that are shared",
          heap_frames_of_tmem(), frames, tmem_dedup_frames());

    return shared - tmem_dedup_frames();
}
