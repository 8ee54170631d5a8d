/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what a client holds, and what its records look like.
 */

#ifndef __TMEM_TYPES_H__
#define __TMEM_TYPES_H__

#include <xen/list.h>
#include <xen/mm.h>
#include <xen/percpu.h>
#include <xen/rcupdate.h>
#include <xen/sched.h>
#include <xen/spinlock.h>
#include <xen/tmem.h>

#include <asm/tmem.h>

#include <public/tmem.h>
#include <public/tmem_control.h>

#include "compat.h"

#define TMEM_MAX_POOLS          16      /* of a client; ABI */
#define TMEM_MAX_SHARED         16      /* of the system; ABI */

/* Frames that a client keeps to save a way through the heap. */
#define TMEM_MAX_FREE           256
/* Frames taken from the oldest pages in one go, by one walk over the clients. */
#define TMEM_REFILL             16
/*
 * The same for a put that has none at hand, also from the heap: not so many that
 * one put pays for all that others will use. A put that refills is to take less
 * than three times as long as one that does not.
 */
#define TMEM_PUT_REFILL         (1U << TMEM_PUT_REFILL_ORDER)
#define TMEM_PUT_REFILL_ORDER   2
/*
 * Index pages that one insertion can need: two slabs, a segment, a middle. When
 * both tables grow at once, one of them waits for the next insertion.
 */
#define TMEM_SPARE_NEEDED       4
#define TMEM_SPARE_KEPT         8
/* Pages dropped under one hold of a client's lock. */
#define TMEM_BATCH              64

/* Pieces of frames: as many as a word has bits. */
#define TMEM_UNITS              64
#define TMEM_UNIT               (PAGE_SIZE / TMEM_UNITS)
/* Of each piece; see struct piece. */
#define TMEM_PIECE_HEADER       16
/* What LZ4 needs to compress a page. */
#define TMEM_LZ4_STATE          4160

/*
 * Entries of the index, 64 bytes each. The link comes first in both: the
 * table knows nothing else of them.
 */
struct tmem_object {
    struct tmem_object *next;           /* in its bucket */
    uint64_t oid[3];
    struct hlist_head pages;
    struct list_head siblings;          /* in pool->objects */
    uint64_t key;                       /* hash and pool, see tmem_key() */
};

struct tmem_page {
    struct tmem_page *next;             /* in its bucket */
    struct list_head lru;               /* in client->lru; ephemeral only */
    struct hlist_node siblings;         /* in object->pages */
    struct tmem_object *object;
    union {
        struct page_info *frame;        /* of its own: stored plain, */
        uint64_t content;               /* or bit 0 is set, see content.c */
    };
    uint32_t index;
    uint32_t stamp;                     /* when it was put, see tmem_now() */
};

/*
 * Linear hashing: the table grows and shrinks by one bucket at a time, so no
 * operation ever pays for a rehash, and all of its memory is single pages:
 * root[] -> middle pages -> segments of buckets.
 */
struct tmem_table {
    uint64_t ***root;                   /* a bucket: see lookup.h */
    unsigned long entries;
    unsigned long grow_above, shrink_below;     /* entries */
    unsigned int buckets;
    unsigned int mask;                  /* as many bits as the last one's number */
};

/*
 * Records are in slabs, a page each, that hold one kind of them: all of a slab
 * of ephemeral pages can go for the sake of its frame; an object goes only with
 * its last page; and slabs of what is persistent are charged to the domain.
 */
enum tmem_slab_kind {
    TMEM_SLAB_PAGES,                    /* ephemeral */
    TMEM_SLAB_OBJECTS,                  /* likewise */
    TMEM_SLAB_PERSISTENT,               /* pages and objects */
    TMEM_NR_SLAB_KINDS
};

struct tmem_slabs {
    struct list_head roomy;             /* with room for an entry */
    unsigned long nr;                   /* full ones, too; a guess */
};

struct tmem_pool {
    unsigned int id;
    uint64_t secret;                    /* with its client's */
    bool persistent;
    bool used;                          /* has held a page */
    bool drained;                       /* the guest has copies of all pages */
    bool dying;
    bool own;                           /* its client's own, and not dying */
    struct tmem_object *last;           /* of which a page was put or found */
    struct list_head objects;
    struct tmem_stats_pool stats;

    /* Of a sharer's pool: where the pages are. See shared.c. */
    struct tmem_shared *shared;
    struct tmem_client *owner;
    struct list_head members;           /* in shared->members */
    bool empties;                       /* was the last to leave */
};

/*
 * Levels of the whole system. A client's changes are passed on in steps, so
 * that the data path rarely writes to memory that processors share: the most
 * that is reported is right to TMEM_LEVEL_STEP for each client.
 */
#define TMEM_LEVEL_STEP         32

enum tmem_level_id {
    TMEM_LEVEL_EPHEMERAL,
    TMEM_LEVEL_PERSISTENT,
    TMEM_LEVEL_OBJECTS,
    TMEM_LEVEL_NODES,
    TMEM_LEVEL_FRAMES,
    TMEM_LEVEL_DUPLICATES,              /* pages that found their content there */
    TMEM_NR_LEVELS
};

/* How a page is stored. All but the first have no frame of their own. */
enum tmem_kind {
    TMEM_PLAIN,
    TMEM_NOTHING,                       /* for a moment, while it is replaced */
    TMEM_ZERO,
    TMEM_SHORT,                         /* the tail is zero and not stored */
    TMEM_LZ4,
    TMEM_SHARED
};

/* What a put brings, made ready before the client's lock is taken. */
struct tmem_prepared {
    const void *data;                   /* NULL: plain, from the guest's frame */
    enum tmem_kind kind;
    unsigned int bytes;
    uint32_t hash;
    bool incompressible;
    uint64_t copy_cycles, compress_cycles;
};

/* Frames that are cut into chunks, see chunks.c. */
struct tmem_store {
    unsigned long runs;                 /* bit n: by_run[n] is not empty */
    unsigned long nr_frames;            /* a guess */
    struct page_list_head by_run[TMEM_UNITS];   /* by their longest gap - 1 */
};

/*
 * The lock protects all of it, but for what is marked "guess": that is also read
 * without the lock, by who can do with a value that was right a moment ago, or
 * looks again under the lock. It is written by ACCESS_ONCE() or add_sized(), and
 * read by ACCESS_ONCE() where the lock is not held. No guess says anything of
 * other memory, so none needs a barrier. What the control domain sets (weight,
 * cap, compress, dedup) is written without the lock, too, and a guess everywhere.
 */
struct tmem_client {
    struct domain *domain;              /* NULL: of a shared pool */
    spinlock_t lock;
    bool frozen;
    bool dying;
    uint16_t shared_pools;              /* bit n: pool n is one; a guess */
    unsigned int weight;                /* a guess */
    uint64_t cap;                       /* most ephemeral pages; 0: no limit; a guess */
    bool compress, dedup;               /* what puts try; guesses */
    uint16_t persistent_pools;          /* a bit for each; a guess */
    bool hit;                           /* the last get found its page; a guess */
    uint64_t timed_from;                /* ops before the next timed one; a guess */

    struct tmem_pool *pools[TMEM_MAX_POOLS];
    struct tmem_table objects;
    struct tmem_table pages;
    uint64_t secret[7];                 /* keeps guests from choosing buckets */

    struct list_head lru;               /* ephemeral pages, oldest first */
    uint32_t oldest;                    /* stamp of the first of them; a guess */

    struct page_info *free;             /* frames at hand; hold no content */
    unsigned int nr_free;               /* a guess */
    unsigned int asked_for;             /* frames, of claims: see heap.c */

    struct tmem_slabs slabs[TMEM_NR_SLAB_KINDS];
    struct tmem_eviction *eviction;     /* takes the index pages that come free */
    void *spare[TMEM_SPARE_KEPT];       /* index pages at hand */
    unsigned int nr_spare;

    struct tmem_store store[2];         /* ephemeral, persistent */
    unsigned long packed_pages;         /* ephemeral, not plain; a guess */
    unsigned long sharing;              /* of those in shared frames; a guess */
    struct tmem_level duplicates;       /* .now, summed over clients; a guess */

    unsigned long contents;             /* frames of persistent content */
    unsigned long charged;              /* pages, to the domain; see charge.c */

    int pending[TMEM_NR_LEVELS];                    /* level changes not passed on yet */
    bool retired;                       /* counts are in the system's now */
    struct tmem_stats_client stats;     /* ops, ephemeral.now: guesses */
    uint64_t ephemeral_puts, failed_copies;
    uint64_t ephemeral_refused, persistent_refused;
    uint64_t pools_flushed;
    uint64_t broken_bounds;             /* see tmem_broken_bound() */
    struct tmem_timing time[TMEM_NR_TIMES];

    uint64_t authorised[TMEM_MAX_SHARED][2];    /* UUIDs it may join */
    unsigned int nr_authorised;
};

/*
 * Where a page's record is, or would be; until another record enters or
 * leaves, since the table may grow or shrink then.
 */
struct tmem_spot {
    uint64_t key;                       /* of its object */
    uint32_t hash;
    uint64_t *bucket;                   /* see lookup.h */
};

#endif /* __TMEM_TYPES_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
