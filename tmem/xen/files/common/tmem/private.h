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
/* Frames taken from the heap, or from the oldest pages, in one go. */
#define TMEM_REFILL             16
/* Index pages that one insertion can need: a slab, a segment, a middle. */
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

struct tmem_pool {
    unsigned int id;
    uint64_t secret;                    /* with its client's */
    bool persistent;
    bool used;                          /* has held a page */
    bool dying;
    bool own;                           /* its client's own, and not dying */
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
    unsigned long nr_frames;
    struct page_list_head by_run[TMEM_UNITS];   /* by their longest gap - 1 */
};

struct tmem_client {
    struct domain *domain;              /* NULL: of a shared pool */
    spinlock_t lock;
    bool frozen;
    bool dying;
    uint16_t shared_pools;              /* bit n: pool n is a shared one */
    unsigned int weight;
    uint64_t cap;                       /* most ephemeral pages; 0: no limit */
    bool compress, dedup;               /* what puts try; read without the lock */
    uint16_t persistent_pools;          /* a bit for each; likewise */
    bool hit;                           /* the last get found its page */
    uint64_t timed_from;                /* operations before the next timed one */

    struct tmem_pool *pools[TMEM_MAX_POOLS];
    struct tmem_table objects;
    struct tmem_table pages;
    uint64_t secret[7];                 /* keeps guests from choosing buckets */
    struct tmem_object *last;           /* that a page was put into */

    struct list_head lru;               /* ephemeral pages, oldest first */
    uint32_t oldest;                    /* stamp of the first of them */

    struct page_info *free;             /* frames at hand; hold no content */
    unsigned int nr_free;

    struct list_head slabs;             /* with room for an entry */
    void *spare[TMEM_SPARE_KEPT];       /* index pages at hand */
    unsigned int nr_spare;

    struct tmem_store store[2];         /* ephemeral, persistent */
    unsigned long packed_pages;         /* ephemeral ones that are not plain */
    unsigned long persistent_packed;    /* likewise, persistent */
    struct tmem_level duplicates;       /* summed over clients it makes sense */

    int pending[TMEM_NR_LEVELS];                    /* level changes not passed on yet */
    bool retired;                       /* counts are in the system's now */
    struct tmem_stats_client stats;
    uint64_t ephemeral_puts, failed_copies;
    uint64_t ephemeral_refused, persistent_refused;
    uint64_t pools_flushed;
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

/* index.c: records and their tables. Callers hold the client's lock. */
uint64_t tmem_random(void);
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

/* frames.c: where frames come from and go to. */
/*
 * Without the lock: frames for puts of this client, for pages that are
 * persistent or not. False: there are none to be had.
 */
bool tmem_refill(struct tmem_client *c, bool persistent);
/* Evicts so that the heap has pages for an index; false: nothing is left. */
bool tmem_make_index_room(void);
bool tmem_charge(struct domain *d);
void tmem_uncharge(struct domain *d);
/* To the heap. */
void tmem_give_back(struct tmem_client *c, struct page_info *frame);
void tmem_drop_page(struct tmem_client *c, struct tmem_page *page);
void tmem_drop_oldest(struct tmem_client *c);
void tmem_drain_free(struct tmem_client *c);
/* Of one client, or where it is NULL of all, as their weights tell. */
unsigned long tmem_flush(struct tmem_client *only, unsigned long nr);
void tmem_frames_stats(struct tmem_stats_global *g);

/* policy.c: who gives way. */
extern bool tmem_frozen;
/* Every client, shared pools included. In an RCU critical section. */
struct tmem_walk {
    const struct domain *domain;
    bool domains_done;
    unsigned int slot;
};
struct tmem_client *tmem_next_client(struct tmem_walk *w);
#define for_each_client(w, c) \
    for ( (w) = (struct tmem_walk){}; ((c) = tmem_next_client(&(w))); )
/* Whose oldest page gives way; NULL: nobody has any. In an RCU section. */
struct tmem_client *tmem_victim(void);
/*
 * Before a new ephemeral page: at its cap a client makes its own room, and over
 * it a page more. Lock held.
 */
void tmem_make_room(struct tmem_client *c);
long tmem_set(struct tmem_client *c, unsigned int setting, uint64_t value);
long tmem_set_all(unsigned int setting, uint64_t value);
void tmem_freeze_all(bool frozen);

/* shared.c */
struct tmem_shared;
extern rcu_read_lock_t tmem_shared_rcu;
struct tmem_client *tmem_next_shared(unsigned int *slot);
long tmem_shared_authorise(struct tmem_client *c, const uint64_t uuid[2],
                           bool may);
bool tmem_shared_may_join(const struct tmem_client *c, const uint64_t uuid[2]);
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

/* prepare.c: what a put stores. */
extern bool opt_tmem_compress, opt_tmem_dedup;
void tmem_prepare(const struct tmem_client *c, unsigned int pool_id,
                  struct page_info *src, struct tmem_prepared *new);
/* A page of this processor's memory. What tmem_prepare() made may be in it. */
void *tmem_scratch(void);

/*
 * content.c: contents that have no frame of their own. Callers hold the
 * client's lock.
 */
void tmem_content_init(struct tmem_client *c);
/*
 * Puts what was prepared, over `page` if there is one. 1; -ERESTART when it
 * needs a frame or index pages, and has changed nothing; -ENOMEM, and `page`
 * has lost its content.
 */
long tmem_put_content(struct tmem_client *c, struct tmem_pool *pool,
                      const tmem_op_t *op, const struct tmem_spot *spot,
                      struct tmem_page *page, struct page_info *src,
                      struct tmem_prepared *new);
bool tmem_get_content(struct tmem_client *c, const struct tmem_page *page,
                      struct page_info *dst);
/* Takes the content, and the charge for it, from a record that stays. */
void tmem_clear_content(struct tmem_client *c, struct tmem_page *page,
                        bool persistent);
/*
 * Drops an ephemeral page, with all that are in its frame, and counts them.
 * Returns how many frames came free, and are on the list.
 */
unsigned int tmem_evict_packed(struct tmem_client *c, struct tmem_page *page,
                               struct page_list_head *frames,
                               unsigned int *dropped);
unsigned long tmem_ephemeral_frames(const struct tmem_client *c);

/* chunks.c. Callers hold the client's lock. */
struct tmem_place {
    struct page_info *frame;
    unsigned int unit, units;
};
void tmem_store_init(struct tmem_store *s);
/* Whether there is room for so many bytes without another frame. */
bool tmem_chunk_fits(struct tmem_store *s, unsigned int bytes);
/*
 * One place or two; returns how many. Takes part of `fresh`, a frame at hand
 * for a chunk that does not fit; NULL for one that does.
 */
unsigned int tmem_chunk_alloc(struct tmem_store *s, unsigned int bytes,
                              struct page_info *fresh,
                              struct tmem_place place[2]);
/* True: it was the last in its frame, which is the caller's now. */
bool tmem_chunk_free(struct tmem_store *s, const struct tmem_place *place);

static inline unsigned int tmem_units(unsigned int bytes)
{
    return DIV_ROUND_UP(bytes + TMEM_PIECE_HEADER, TMEM_UNIT);
}

static inline unsigned int tmem_piece_room(unsigned int units)
{
    return units * TMEM_UNIT - TMEM_PIECE_HEADER;
}

/* dedup.c. All but the first once that has succeeded. */
int tmem_dedup_enable(void);
uint32_t tmem_dedup_hash(const void *data);
struct page_info *tmem_dedup_find(uint32_t hash, const void *data);
void tmem_dedup_add(struct page_info *frame, uint32_t hash);
bool tmem_dedup_put(struct page_info *frame);
unsigned long tmem_dedup_frames(void);

/* lz4.c: 0, or negative: it does not fit, or is damaged. */
size_t tmem_lz4_compress(const void *from, size_t bytes, void *to, size_t room,
                         void *state);
int tmem_lz4_decompress(const void *from, size_t bytes, void *to, size_t room);

/* pool.c: clients and pools. */
int tmem_client_init(struct tmem_client *c, struct domain *d);
/* The domain's client, made if need be; NULL: no memory, or d is dying. */
struct tmem_client *tmem_client_get(struct domain *d);
/* Of a client without pages, for good. Lock held. */
void tmem_client_empty(struct tmem_client *c);
long tmem_new_pool(struct domain *d, const tmem_op_t *op);
long tmem_destroy_pool(struct tmem_client *c, unsigned int id);
long tmem_flush_object(struct tmem_client *c, const tmem_op_t *op);
/* One step of emptying a pool; true when it is empty. Lock held. */
bool tmem_drain_pool(struct tmem_client *c, struct tmem_pool *pool);
/* Drops up to TMEM_BATCH pages; true when nothing is left. Lock held. */
bool tmem_drain_object(struct tmem_client *c, struct tmem_object *obj,
                       unsigned int *budget);

/* control.c */
long tmem_control(XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop, tmem_op_t *op);
void tmem_pass_on(struct tmem_client *c, enum tmem_level_id id);
uint64_t tmem_start_timed(struct tmem_client *c);
void tmem_retire_stats(struct tmem_client *c);

/* Without the lock, so that the pool may be another by now. */
static inline bool tmem_is_persistent(const struct tmem_client *c, uint32_t id)
{
    return id < TMEM_MAX_POOLS &&
           (ACCESS_ONCE(c->persistent_pools) & (1U << id));
}

/* Frames at hand. */
static always_inline void tmem_keep_frame(struct tmem_client *c,
                                          struct page_info *frame)
{
    tmem_link_frame(frame, c->free);
    c->free = frame;
    c->nr_free++;
}

/* NULL: there is none. */
static always_inline struct page_info *tmem_take_frame(struct tmem_client *c)
{
    struct page_info *frame = c->free;

    if ( likely(frame) )
    {
        c->free = tmem_unlink_frame(frame);
        c->nr_free--;
    }

    return frame;
}

/* A frame without content: to keep, or for the heap. */
static always_inline void tmem_release_frame(struct tmem_client *c,
                                             struct page_info *frame)
{
    if ( likely(c->nr_free < TMEM_MAX_FREE && !c->dying) )
        tmem_keep_frame(c, frame);
    else
        tmem_give_back(c, frame);
}

static inline bool tmem_is_packed(const struct tmem_page *page)
{
    return page->content & 1;
}

/* Folds to a few instructions where id is a constant. */
static always_inline void tmem_level(struct tmem_client *c,
                                     enum tmem_level_id id, int change)
{
    struct tmem_level *level =
        id == TMEM_LEVEL_EPHEMERAL ? &c->stats.ephemeral :
        id == TMEM_LEVEL_PERSISTENT ? &c->stats.persistent :
        id == TMEM_LEVEL_OBJECTS ? &c->stats.objects :
        id == TMEM_LEVEL_NODES ? &c->stats.nodes :
        id == TMEM_LEVEL_DUPLICATES ? &c->duplicates :
                                       &c->stats.frames;

    level->now += change;
    if ( change > 0 && level->now > level->most )
        level->most = level->now;

    c->pending[id] += change;
    if ( unlikely(c->pending[id] + TMEM_LEVEL_STEP - 1U >
                  2 * (TMEM_LEVEL_STEP - 1U)) )
        tmem_pass_on(c, id);
}

/*
 * Reading the processor's counter can take longer than finding a page. So
 * only one operation in TMEM_TIMED_EVERY, on average, is timed and sets the
 * clock that pages are stamped by. That is fine enough for their ages: the
 * clock stands still only while every client makes fewer operations than that,
 * and never runs back.
 */
#define TMEM_TIMED_EVERY        16

extern uint32_t tmem_clock;

/* When an operation began, in cycles; 0 when it is not timed. */
static inline uint64_t tmem_start(struct tmem_client *c)
{
    /* Before the lock, so a guest's vCPUs may race: it is chance anyway. */
    if ( unlikely(ACCESS_ONCE(c->stats.ops) >= ACCESS_ONCE(c->timed_from)) )
        return tmem_start_timed(c);

    return 0;
}

static inline uint32_t tmem_now(void)
{
    return ACCESS_ONCE(tmem_clock);     /* 17 ms; 417 days until ages are wrong */
}

static inline bool tmem_older(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline void tmem_time(struct tmem_client *c, unsigned int what,
                             uint64_t cycles)
{
    struct tmem_timing *t = &c->time[what];

    t->total += cycles;
    if ( cycles > t->most )
        t->most = cycles;
    if ( !t->count++ || cycles < t->least )
        t->least = cycles;
}

/* At the end of an operation: what its cycles are counted as. */
static inline void tmem_account(struct tmem_client *c, unsigned int what,
                                uint64_t start)
{
    if ( unlikely(start) )
    {
        uint64_t cycles = rdtsc() - start;

        tmem_time(c, what, cycles);
        c->stats.cycles += cycles * TMEM_TIMED_EVERY;
    }
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
