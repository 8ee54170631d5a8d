/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Domains: their list under RCU, their lives, their charges; and the world's
 * beginning and end.
 */

#include <stdlib.h>

#include <xen/tmem.h>

#include "private.h"
#include "world.h"

struct domain *domain_list;
rcu_read_lock_t domlist_read_lock;
void (*world_before_rcu)(void);

void shim_boot(void);

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct domain *buried;           /* wait for a grace period */
static unsigned int nr_domains;         /* atomic; not freed yet */

static _Thread_local unsigned int rcu_depth;

/* RCU: readers share a lock, and who waits for a grace period excludes them. */

static pthread_rwlock_t rcu = PTHREAD_RWLOCK_INITIALIZER;

void shim_rcu_read_lock(void)
{
    void (*hook)(void) = __atomic_load_n(&world_before_rcu, __ATOMIC_RELAXED);

    if ( hook && !rcu_depth )
    {
        __atomic_store_n(&world_before_rcu, NULL, __ATOMIC_RELAXED);
        hook();
    }
    if ( !rcu_depth++ )
        pthread_rwlock_rdlock(&rcu);
}

void shim_rcu_read_unlock(void)
{
    CHECK(rcu_depth, "left an RCU critical section that was not entered");
    if ( !--rcu_depth )
        pthread_rwlock_unlock(&rcu);
}

unsigned int shim_rcu_depth(void)
{
    return rcu_depth;
}

struct domain *shim_next_domain(struct domain *const *link)
{
    CHECK(rcu_depth, "domains are walked outside an RCU critical section");
    return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

static struct rcu_head *called;         /* these, too */

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *))
{
    head->func = func;
    pthread_mutex_lock(&list_mutex);
    head->next = called;
    called = head;
    pthread_mutex_unlock(&list_mutex);
}

void world_rcu_barrier(void)
{
    struct domain *d, *next;
    struct rcu_head *head, *next_head;

    CHECK(!rcu_depth, "waits for a grace period inside it");
    pthread_mutex_lock(&list_mutex);
    d = buried;
    buried = NULL;
    head = called;
    called = NULL;
    pthread_mutex_unlock(&list_mutex);
    if ( !d && !head )
        return;
    pthread_rwlock_wrlock(&rcu);
    pthread_rwlock_unlock(&rcu);
    for ( ; head; head = next_head )
    {
        next_head = head->next;
        head->func(head);
    }
    for ( ; d; d = next )
    {
        next = d->next_in_list;
        tmem_domain_free(d);
        free(d->p2m);
        free(d);
        __atomic_fetch_sub(&nr_domains, 1, __ATOMIC_RELAXED);
    }
}

/* The lives of domains. */

void get_knownalive_domain(struct domain *d)
{
    CHECK(__atomic_add_fetch(&d->refcnt, 1, __ATOMIC_SEQ_CST) > 1,
          "domain %u was dead already", d->domain_id);
}

static void domain_destroy(struct domain *d)
{
    struct domain **link = &domain_list;

    CHECK(!d->tot_pages, "domain %u is destroyed with %u pages", d->domain_id, d->tot_pages);
    shim_domain_is_gone(d);
    pthread_mutex_lock(&list_mutex);
    while ( *link != d )
        link = &(*link)->next_in_list;
    __atomic_store_n(link, d->next_in_list, __ATOMIC_RELEASE);
    /*
     * A reader that stands on d goes on from it: its link stays until
     * nobody does. The list of the buried is another one.
     */
    pthread_rwlock_wrlock(&rcu);
    d->next_in_list = buried;
    buried = d;
    pthread_rwlock_unlock(&rcu);
    pthread_mutex_unlock(&list_mutex);
}

void put_domain(struct domain *d)
{
    int left = __atomic_sub_fetch(&d->refcnt, 1, __ATOMIC_SEQ_CST);

    CHECK(left >= 0, "domain %u has more references put than got", d->domain_id);
    /* world_kill() has the last one, so that nobody is destroyed under a lock. */
}

static struct domain *find_domain(domid_t id)
{
    struct domain *d;

    for_each_domain ( d )
        if ( d->domain_id == id )
            return d;

    return NULL;
}

struct domain *rcu_lock_domain_by_id(domid_t id)
{
    struct domain *d;

    shim_rcu_read_lock();
    d = find_domain(id);
    if ( !d )
        shim_rcu_read_unlock();

    return d;
}

void rcu_unlock_domain(struct domain *d)
{
    shim_rcu_read_unlock();
}

struct domain *get_domain_by_id(domid_t id)
{
    struct domain *d;

    shim_rcu_read_lock();
    d = find_domain(id);
    if ( d )
        get_knownalive_domain(d);
    shim_rcu_read_unlock();

    return d;
}

struct domain *world_domain(domid_t id, unsigned int pages, unsigned int nr_gfns,
                            unsigned int max_pages)
{
    struct domain *d = calloc(1, sizeof(*d));
    struct domain **link = &domain_list;
    unsigned int gfn;

    CHECK(d, "the harness itself is out of memory");
    d->domain_id = id;
    d->max_pages = max_pages;
    d->refcnt = 1;
    d->max_vcpus = 1;
    d->control = !id;
    d->nr_gfns = nr_gfns;
    d->p2m = calloc(nr_gfns, sizeof(*d->p2m));
    spin_lock_init(&d->page_alloc_lock);
    spin_lock_init(&d->p2m_lock);
    spin_lock_init(&d->domain_lock);
    __atomic_fetch_add(&nr_domains, 1, __ATOMIC_RELAXED);
    for ( gfn = 0; gfn < pages; gfn++ )
        CHECK(world_balloon_in(d, gfn), "no memory for domain %u's page %u", id, gfn);

    pthread_mutex_lock(&list_mutex);
    while ( *link && (*link)->domain_id < id )
        link = &(*link)->next_in_list;
    d->next_in_list = *link;
    __atomic_store_n(link, d, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&list_mutex);

    return d;
}

int world_kill_step(struct domain *d)
{
    __atomic_store_n(&d->is_dying, true, __ATOMIC_RELAXED);
    spin_barrier(&d->domain_lock);
    return tmem_domain_kill(d);
}

void world_kill(struct domain *d)
{
    unsigned int gfn;

    while ( world_kill_step(d) == -ERESTART )
        ;
    CHECK(!world_kill_step(d), "killing twice is no error");
    for ( gfn = 0; gfn < d->nr_gfns; gfn++ )
    {
        struct page_info *page = d->p2m[gfn].page;

        if ( page && page->owner == d )
        {
            CHECK(page->count == 1 && (page->type & PGT_count_mask) ==
                  ((page->type & PGT_type_mask) == PGT_l1_page_table),
                  "domain %u's frame %u has %u references, %u of a type",
                  d->domain_id, gfn, page->count, page->type & PGT_count_mask);
            page->type = PGT_none;
            world_balloon_out(d, gfn);
        }
    }
    CHECK(__atomic_load_n(&d->refcnt, __ATOMIC_SEQ_CST) == 1,
          "domain %u has %d references left", d->domain_id, d->refcnt);
    put_domain(d);
    domain_destroy(d);
}

/* Charges, as Xen 4.20 does them. */

unsigned int domain_tot_pages(const struct domain *d)
{
    return d->tot_pages;
}

unsigned int domain_adjust_tot_pages(struct domain *d, long pages)
{
    CHECK(spin_is_locked(&d->page_alloc_lock), "a charge without page_alloc_lock");
    CHECK(pages >= 0 || d->tot_pages >= -pages, "domain %u's charge falls below 0",
          d->domain_id);
    d->tot_pages += pages;

    return d->tot_pages;
}

void world_start(const struct world_options *options)
{
    CHECK(!domain_list && !nr_domains, "the last world was not stopped");
    shim_threads = options->threads;
    shim_no_contents = options->no_contents;
    opt_tmem_compress = opt_tmem_dedup = options->packs;
    shim_preempt_percent = options->preempt_percent;
    world_between = NULL;
    world_denied = NULL;
    world_before_rcu = NULL;
    world_before_xmalloc(0, NULL);
    world_random_is_poor = false;
    fault_none();
    shim_heap_start(options->frames, options->dma_frames);
    opt_tmem = true;
    shim_boot();
}

void world_stop(void)
{
    fault_none();
    world_between = NULL;
    heap_claim(0);
    while ( domain_list )
        world_kill(domain_list);
    world_rcu_barrier();
    CHECK(!nr_domains, "%u domains are left", nr_domains);
    shim_heap_stop();
}
