/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what a page that is put is going to be stored as, for
 * clients with compression or deduplication.
 *
 * Guests change their pages meanwhile: so a page is first copied to memory of
 * this processor, and only that is looked at, compressed and hashed. That is
 * done before the client's lock is taken.
 */

#include <xen/cpu.h>
#include <xen/domain_page.h>
#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/percpu.h>
#include <xen/vmap.h>

#include "private.h"

/* Saving less than a quarter is not worth the cycles. */
#define MAX_UNITS       48
/* Compressing less is not worth it. */
#define MIN_BYTES       256

/* This processor's memory for preparing a put. */
struct work {
    uint8_t page[PAGE_SIZE];
    uint8_t packed[PAGE_SIZE];
    uint8_t lz4[TMEM_LZ4_STATE];
};

static DEFINE_PER_CPU(struct work *, work);

bool __read_mostly opt_tmem_compress;
boolean_param("tmem_compress", opt_tmem_compress);
bool __read_mostly opt_tmem_dedup;
boolean_param("tmem_dedup", opt_tmem_dedup);

static int cf_check cpu_callback(struct notifier_block *nfb,
                                 unsigned long action, void *hcpu)
{
    unsigned int cpu = (unsigned long)hcpu;
    int rc = 0;

    switch ( action )
    {
    case CPU_UP_PREPARE:
        if ( !per_cpu(work, cpu) )
        {
            per_cpu(work, cpu) = vzalloc(sizeof(struct work));
            if ( !per_cpu(work, cpu) )
                rc = -ENOMEM;
        }
        break;

    case CPU_UP_CANCELED:
    case CPU_DEAD:
        vfree(per_cpu(work, cpu));
        per_cpu(work, cpu) = NULL;
        break;
    }

    return rc ? notifier_from_errno(rc) : NOTIFY_DONE;
}

static struct notifier_block cpu_nfb = { .notifier_call = cpu_callback };

static int __init cf_check prepare_init(void)
{
    unsigned int cpu;

    if ( !opt_tmem )
        return 0;

    for_each_online_cpu ( cpu )
        if ( cpu_callback(&cpu_nfb, CPU_UP_PREPARE, (void *)(long)cpu) !=
             NOTIFY_DONE )
            panic("tmem: no memory for processor %u\n", cpu);
    register_cpu_notifier(&cpu_nfb);
    if ( opt_tmem_dedup && tmem_dedup_enable() )
        panic("tmem: no memory for the table of contents\n");

    return 0;
}
__initcall(prepare_init);

void *tmem_scratch(void)
{
    return this_cpu(work)->packed;
}

/* Bytes before the zeros that a page ends with, in whole words. */
static unsigned int head_bytes(const void *data)
{
    const uint64_t *word = data;
    unsigned int nr = PAGE_SIZE / sizeof(*word);

    while ( nr && !word[nr - 1] )
        nr--;

    return nr * sizeof(*word);
}

static void prepare_compressed(struct work *w, unsigned int head,
                               struct tmem_prepared *new)
{
    unsigned int bytes = 0;

    if ( head > MIN_BYTES )
    {
        unsigned int room = tmem_piece_room(min(tmem_units(head) - 1,
                                                MAX_UNITS + 0U));
        uint64_t start = rdtsc();

        bytes = tmem_lz4_compress(w->page, head, w->packed, room, w->lz4);
        new->compress_cycles = rdtsc() - start;
    }

    if ( bytes )
    {
        new->kind = TMEM_LZ4;
        new->data = w->packed;
        new->bytes = bytes;
    }
    else if ( tmem_units(head) <= MAX_UNITS )
    {
        new->kind = TMEM_SHORT;
        new->bytes = head;
    }
    else
        new->incompressible = true;
}

/*
 * Decides what a page is going to be stored as. Needs no lock: if the pool or
 * the settings change meanwhile, the result is still a true copy. NULL: as it
 * is, from the guest's frame.
 */
struct tmem_prepared *tmem_prepare(const struct tmem_client *c,
                                   unsigned int pool_id,
                                   struct page_info *src,
                                   struct tmem_prepared *new)
{
    bool compress = ACCESS_ONCE(c->compress);
    bool share = ACCESS_ONCE(c->dedup) && pool_id < TMEM_MAX_POOLS &&
                 !tmem_is_persistent(c, pool_id);
    struct work *w = this_cpu(work);
    const void *from;
    unsigned int head;
    uint64_t start;

    if ( !compress && !share )
        return NULL;

    *new = (struct tmem_prepared){ };
    from = __map_domain_page(src);
    start = rdtsc();
    memcpy(w->page, from, PAGE_SIZE);
    new->copy_cycles = rdtsc() - start;
    unmap_domain_page(from);

    new->data = w->page;
    head = head_bytes(w->page);
    if ( !head )
        new->kind = TMEM_ZERO;
    else if ( share )
    {
        new->kind = TMEM_SHARED;
        new->hash = tmem_dedup_hash(w->page);
    }
    else
        prepare_compressed(w, head, new);

    return new;
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
