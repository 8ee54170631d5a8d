/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The world in which the harness runs tmem: a heap, domains with their frames,
 * allocations that fail when they are told to. A test starts a world, lets
 * domains make hypercalls, and stops it; stopping checks that nothing is left.
 */
#ifndef TMEM_TEST_WORLD_H
#define TMEM_TEST_WORLD_H

#include <xen/guest_access.h>

#include <public/tmem.h>
#include <public/tmem_control.h>

#define FAIL(...)                   shim_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(x, ...) \
    do { if ( !(x) ) FAIL(__VA_ARGS__); } while ( 0 )

/*
 * XEN_SYSCTL_tmem_op as cases say it: one flat record for all of its operations, of the size
 * of tmem_op_t, that world_op() knows by its first word, which is no operation of a guest's.
 */
#define TMEM_CONTROL                0
typedef struct tmem_control {
    uint32_t cmd;                   /* TMEM_CONTROL */
    uint32_t subop, version, domid;
    uint32_t nr;                    /* of records, room; which setting; whether to let in */
    uint32_t pad;
    uint64_t buf;                   /* where the records go; UUID */
    uint64_t value;                 /* UUID; what a flush is to free, and freed; next of a trace */
    uint64_t dropped;               /* OUT: of a flush; what a trace has lost */
} tmem_control_t;
_Static_assert(sizeof(tmem_control_t) <= sizeof(tmem_op_t), "a control operation is too large");

struct tmem_client;
unsigned long tmem_flush_pages(struct tmem_client *only, unsigned long nr, unsigned long *dropped);
static inline unsigned long tmem_flush(struct tmem_client *only, unsigned long nr)
{
    unsigned long dropped;

    return tmem_flush_pages(only, nr, &dropped);
}

struct world_options {
    unsigned long frames;           /* of the heap */
    unsigned int preempt_percent;   /* how often a hypercall is preempted where it may be */
    bool threads;                   /* frames are not poisoned while they are unmapped */
    bool packs;                     /* new clients compress and share contents */
    bool no_contents;               /* no frame of tmem holds anything: for great numbers */
    unsigned long dma_frames;       /* the first so many, which others should not have */
};

void world_start(const struct world_options *options);
/* Destroys the domains that are left; fails if anything of tmem's is. */
void world_stop(void);

/* A domain with `pages` frames of its own at gfn 0.., of gfns up to nr_gfns. */
struct domain *world_domain(domid_t id, unsigned int pages, unsigned int nr_gfns,
                            unsigned int max_pages);
/* One call of domain_kill(): -ERESTART until it is done. */
int world_kill_step(struct domain *d);
/* All steps, the domain's own pages, and its last reference. */
void world_kill(struct domain *d);
/* Frees what has waited for a grace period. */
void world_rcu_barrier(void);

/* This thread is a vCPU of d. */
void world_enter(struct domain *d);
/* bytes from p on are mapped for the hypercalls of this thread, and no more. */
void world_guest_range(void *p, size_t bytes);
/* As that, and nothing else is. */
void world_guest_range_only(void *p, size_t bytes);
/* The hypercall, and with its continuations; that, or a tmem_control_t. */
long do_tmem_op(XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop);
long world_op(tmem_op_t *op);
/* Whom XSM does not let use tmem; NULL: nobody. */
extern const struct domain *world_denied;
/* Called between a preempted hypercall and its continuation. */
extern void (*world_between)(const tmem_op_t *op);
/* Called once, by whoever next maps a frame. */
extern void (*world_before_map)(void);
/* Called once, by whoever next enters an RCU critical section. */
extern void (*world_before_rcu)(void);
/* Calls it once, before the n-th allocation of a structure from now on. */
void world_before_xmalloc(unsigned int n, void (*hook)(void));
/* Without a generator in the processor: get_random() has seen its best days. */
extern bool world_random_is_poor;

/* Frames of guests. */
bool world_balloon_in(struct domain *d, unsigned int gfn);
bool world_balloon_out(struct domain *d, unsigned int gfn);
void world_set_p2m(struct domain *d, unsigned int gfn, struct page_info *page,
                   p2m_type_t type);
struct page_info *world_frame(struct domain *d, unsigned int gfn);

/*
 * Contents made from a seed, different in every word but zeroes. Every word
 * that is not zero carries a tag by which the heap finds secrets in frames that
 * are given back unscrubbed. The seed's lowest three bits choose the kind.
 */
enum content_kind {
    CONTENT_RANDOM, CONTENT_REPEATING = 1, CONTENT_ZERO_TAIL = 2, CONTENT_ZERO = 3
};
#define SECRET_TAG                  0x5ec7a61bU
void content_fill(struct page_info *page, uint64_t seed);
bool content_is(const struct page_info *page, uint64_t seed);
uint64_t content_word(const struct page_info *page, unsigned int nr);

/* Allocations that fail: the n-th from now on (1: the next); all from it on. */
void fault_at(unsigned long n, bool all_after);
void fault_probability(unsigned int per_mille, uint64_t seed);
void fault_none(void);
unsigned long fault_hits(void);     /* since fault_at() or fault_probability() */

/* The heap. */
unsigned long heap_frames_of_tmem(void);
unsigned long heap_xmallocs(void);
/* What vzalloc() gave and nobody has freed; whether it gives anything. */
unsigned long heap_vmallocs(void);
extern bool world_vmalloc_fails;
void heap_claim(unsigned long pages);
/* As Xen marks a frame that is in use: it is taken offline when it is freed. */
void heap_mark(struct page_info *frame, bool broken);
unsigned long heap_offlined(void);
/* What is claimed is d's: it can take it. */
void heap_claim_is_of(struct domain *d);
unsigned long heap_claimed(void);

/* Random numbers of the test, one sequence for each thread. */
void random_seed(uint64_t seed);
uint32_t random_below(uint32_t limit);
uint64_t random_64(void);

unsigned int shim_locks_held(void);
/* Between the files of shim/. */
bool shim_fault_now(void);
void shim_no_secrets(const void *p, size_t bytes, const char *what);
long shim_sysctl(tmem_control_t *guests);
long shim_continue(const void *argument);
unsigned int shim_rcu_depth(void);
extern unsigned int shim_preempt_percent;
extern bool shim_threads, shim_no_contents;
extern uint64_t *shim_heap_memory;
void shim_heap_start(unsigned long frames, unsigned long dma);
void shim_heap_stop(void);
unsigned int shim_mappings(void);
void shim_domain_is_gone(const struct domain *d);

#endif
