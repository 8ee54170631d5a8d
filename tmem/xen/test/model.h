/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tmem has to do, as simply as it can be said: every domain has pools, every
 * pool has pages under the handles of a small set, each known by the seed of
 * its content. model_*() makes an operation, compares what it returns and leaves
 * behind with the model, and fails at the first difference. For one thread.
 */
#ifndef TMEM_TEST_MODEL_H
#define TMEM_TEST_MODEL_H

#include "private.h"
#include "world.h"

#define MODEL_DOMAINS       4           /* beside domain 0, which controls */
#define MODEL_OBJECTS       6
#define MODEL_INDEXES       96
#define MODEL_GFNS          64
/* Frames of a domain by what they are. */
#define GFN_RAM             0           /* .. GFN_RAM + 7 */
#define GFN_PAGE_TABLE      8
#define GFN_READ_ONLY       9
#define GFN_FOREIGN         10
#define GFN_MMIO            11
#define GFN_PAGED           12
#define GFN_NONE            13
#define GFN_BALLOON         16          /* .. MODEL_GFNS - 1: in or out */

struct model_page {
    bool there;
    uint64_t seed, age;
};

struct model_pool {
    bool exists, used;
    struct tmem_stats_pool stats;       /* expected */
    struct model_page page[MODEL_OBJECTS][MODEL_INDEXES];
};

struct model_domain {
    struct domain *d;
    bool frozen, dying;
    bool packs;                         /* compresses, or shares contents, or has */
    unsigned int persistent, ephemeral, balloon;
    uint64_t evicted;                   /* of the client's, already in the model */
    struct model_pool pools[TMEM_MAX_POOLS];
};

struct model_options {
    unsigned long frames;
    unsigned int domains, max_pages, preempt_percent;
    bool packs;                         /* all compress and share from the start */
    bool claims_stay;                   /* and nobody dies, since a new domain takes memory, too */
};

extern struct model_domain model[MODEL_DOMAINS];
extern struct domain *model_dom0;

void model_start(const struct model_options *options);
void model_stop(void);
/* Index and lists whole, sums of all clients; see check.c. */
void model_check(void);

long model_new_pool(struct model_domain *m, uint32_t flags);
long model_destroy_pool(struct model_domain *m, uint32_t pool);
long model_put(struct model_domain *m, int32_t pool, unsigned int object,
               unsigned int index, uint64_t gfn, uint64_t seed);
long model_get(struct model_domain *m, int32_t pool, unsigned int object,
               unsigned int index, uint64_t gfn);
long model_flush_page(struct model_domain *m, int32_t pool, unsigned int object,
                      unsigned int index);
long model_flush_object(struct model_domain *m, int32_t pool, unsigned int object);
void model_hostile(struct model_domain *m);
void model_evict(struct model_domain *only, uint64_t pages);
void model_freeze(struct model_domain *m, bool frozen);
void model_set(struct model_domain *m, unsigned int setting, uint64_t value);
void model_balloon(struct model_domain *m);
void model_kill(struct model_domain *m);
/* Any of them, chosen at random. */
void model_step(void);

#define PERSISTENT_POOL     (TMEM_POOL_PERSIST | TMEM_SPEC_VERSION << TMEM_POOL_VERSION_SHIFT)
#define EPHEMERAL_POOL      (TMEM_SPEC_VERSION << TMEM_POOL_VERSION_SHIFT)

/* What model.c, compare.c and steps.c share. */
static inline struct tmem_client *client_of(const struct model_domain *m)
{
    return m->d->tmem;
}

extern struct model_options model_now;
extern const xen_tmem_oid_t model_object_ids[MODEL_OBJECTS];
uint32_t model_index_of(unsigned int nr);
void model_drop(struct model_domain *m, struct model_pool *pool, struct model_page *page);
void model_make_domain(unsigned int nr);
long model_call(const struct model_domain *m, tmem_op_t *op);
/*
 * What evictions have taken meanwhile: of each client its oldest pages, and with a
 * compressed one those that are in its frame. `put` is the page that an operation was about,
 * NULL if none; true when it was evicted before it was put again, or refused.
 */
bool model_follow_evictions(const struct model_page *put);
/* Notes how things stand before an operation. */
void model_before(void);
void model_compare(void);
/* May an allocation have failed? */
bool model_memory_was_short(unsigned long faults);

#define EXPECT(rc, wanted) \
    CHECK((rc) == (wanted), "domain %u, pool %d: %ld, should be %ld", m->d->domain_id, (int)pool, \
          (long)(rc), (long)(wanted))

/*
 * check.c: everything that can be said of all clients. Takes their locks. Returns how many
 * pages have no content of their own, because it is another's.
 */
unsigned long check_system(void);

#endif
