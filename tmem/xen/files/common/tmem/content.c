/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: contents that do not have a frame of their own.
 *
 * For clients with compression: a page of zeros needs no frame; one whose
 * tail is zero, or that LZ4 makes smaller, becomes a chunk in a frame of such
 * chunks (chunks.c). For clients with deduplication, ephemeral pages share
 * frames (dedup.c). What is neither is stored plain, by op.c.
 *
 * Guests change their pages meanwhile: so a page is first copied to memory of
 * this processor, and only that is looked at, compressed and hashed. That is
 * done before the client's lock is taken.
 *
 * Persistent content is charged to its domain by the frames that it takes.
 */

#include <xen/cpu.h>
#include <xen/domain_page.h>
#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/percpu.h>
#include <xen/vmap.h>

#include "private.h"

/*
 * What a record says instead of a frame: bit 0 set, the kind, and for a chunk
 * its place in a frame and the bytes in it.
 */
#define KIND_SHIFT      1
#define UNIT_SHIFT      4
#define BYTES_SHIFT     10
#define MFN_SHIFT       23
#define FIELD(content, from, to) \
    (((content) >> (from)) & ((1UL << ((to) - (from))) - 1))

/* Chunks larger than this would leave gaps that nothing fits. */
#define MAX_UNITS       48
/* Compressing less is not worth it. */
#define MIN_BYTES       256
/* Records of pages of zeros are charged to the domain, too: a page's worth. */
#define ZEROS_A_FRAME   64

struct chunk {
    struct tmem_page *page;             /* whose content it is */
    uint8_t data[];
};

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

static int __init cf_check content_init(void)
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
__initcall(content_init);

void tmem_content_init(struct tmem_client *c)
{
    tmem_store_init(&c->store[false]);
    tmem_store_init(&c->store[true]);
    c->compress = opt_tmem_compress;
    c->dedup = opt_tmem_dedup;
}

static unsigned int kind_of(const struct tmem_page *page)
{
    return FIELD(page->content, KIND_SHIFT, UNIT_SHIFT);
}

static unsigned int bytes_of(const struct tmem_page *page)
{
    return FIELD(page->content, BYTES_SHIFT, MFN_SHIFT);
}

static struct page_info *frame_of(const struct tmem_page *page)
{
    return mfn_to_page(_mfn(page->content >> MFN_SHIFT));
}

static unsigned int unit_of(const struct tmem_page *page)
{
    return FIELD(page->content, UNIT_SHIFT, BYTES_SHIFT);
}

static uint64_t packed_as(enum tmem_kind kind, const struct page_info *frame,
                          unsigned int unit, unsigned int bytes)
{
    return 1 | (kind << KIND_SHIFT) | (unit << UNIT_SHIFT) |
           (bytes << BYTES_SHIFT) |
           (frame ? mfn_x(page_to_mfn(frame)) << MFN_SHIFT : 0);
}

static unsigned int units_for(unsigned int bytes)
{
    return DIV_ROUND_UP(bytes + sizeof(struct chunk), TMEM_UNIT);
}

static bool is_chunk(enum tmem_kind kind)
{
    return kind == TMEM_SHORT || kind == TMEM_LZ4;
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
        unsigned int room = min(units_for(head) - 1, MAX_UNITS + 0U) *
                            TMEM_UNIT - sizeof(struct chunk);
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
    else if ( units_for(head) <= MAX_UNITS )
    {
        new->kind = TMEM_SHORT;
        new->bytes = head;
    }
    else
        new->incompressible = true;
}

/*
 * Decides what a page is going to be stored as. Needs no lock: if the pool or
 * the settings change meanwhile, the result is still a true copy.
 */
void tmem_prepare(const struct tmem_client *c, unsigned int pool_id,
                  struct page_info *src, struct tmem_prepared *new)
{
    bool compress = ACCESS_ONCE(c->compress);
    bool share = ACCESS_ONCE(c->dedup) && pool_id < TMEM_MAX_POOLS &&
                 !(ACCESS_ONCE(c->persistent_pools) & (1U << pool_id));
    struct work *w = this_cpu(work);
    const void *from;
    unsigned int head;
    uint64_t start;

    if ( !compress && !share )
        return;

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
}

static void account_prepared(struct tmem_client *c, struct tmem_prepared *new)
{
    if ( new->copy_cycles )
        tmem_time(c, TMEM_TIME_COPY, new->copy_cycles);
    if ( new->compress_cycles )
        tmem_time(c, TMEM_TIME_COMPRESS, new->compress_cycles);
    c->stats.incompressible += new->incompressible;
    new->copy_cycles = 0;
    new->compress_cycles = 0;
    new->incompressible = false;
}

/* The domain pays for its 1st, 65th, … persistent page of zeros. */
static bool add_zero(struct tmem_client *c, bool persistent)
{
    if ( !persistent )
        return true;
    if ( !(c->persistent_zeros % ZEROS_A_FRAME) && !tmem_charge(c->domain) )
        return false;
    c->persistent_zeros++;

    return true;
}

static void remove_zero(struct tmem_client *c, bool persistent)
{
    if ( persistent && !(--c->persistent_zeros % ZEROS_A_FRAME) )
        tmem_uncharge(c->domain);
}

struct page_info *tmem_unpack(struct tmem_client *c, struct tmem_page *page)
{
    bool persistent = c->pools[page->object->pool_id]->persistent;
    unsigned int kind = kind_of(page), bytes = bytes_of(page);
    struct page_info *frame = NULL;

    switch ( kind )
    {
    case TMEM_NOTHING:
        return NULL;

    case TMEM_ZERO:
        remove_zero(c, persistent);
        break;

    case TMEM_SHORT:
    case TMEM_LZ4:
        frame = frame_of(page);
        if ( !tmem_chunk_free(&c->store[persistent], frame, unit_of(page),
                              units_for(bytes)) )
            frame = NULL;
        if ( kind == TMEM_LZ4 )
            c->stats.lz4_bytes -= bytes;
        else
            c->stats.short_bytes -= bytes;
        break;

    case TMEM_SHARED:
        frame = frame_of(page);
        if ( tmem_dedup_put(frame) )
            c->stats.frames.now++;      /* it was nobody's */
        else
        {
            frame = NULL;
            tmem_level(c, TMEM_LEVEL_DUPLICATES, -1);
        }
        break;

    default:
        ASSERT_UNREACHABLE();
        break;
    }

    c->packed_pages -= !persistent;
    page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);

    return frame;
}

/* Takes the content from a record that stays. */
static void clear_content(struct tmem_client *c, struct tmem_page *page,
                          bool persistent)
{
    struct page_info *frame = page->frame;

    if ( tmem_is_packed(page) )
        frame = tmem_unpack(c, page);
    page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);
    if ( !frame )
        return;
    tmem_release_frame(c, frame);
    if ( persistent )
        tmem_uncharge(c->domain);
}

static void copy_in(struct tmem_client *c, struct page_info *frame,
                    struct page_info *src, const void *data)
{
    void *to = __map_domain_page(frame);
    const void *from = data ?: __map_domain_page(src);
    uint64_t start = rdtsc();

    memcpy(to, from, PAGE_SIZE);
    tmem_time(c, TMEM_TIME_COPY, rdtsc() - start);
    if ( !data )
        unmap_domain_page(from);
    unmap_domain_page(to);
}

static struct page_info *take_frame(struct tmem_client *c)
{
    struct page_info *frame = page_list_remove_head(&c->free);

    ASSERT(frame);
    c->nr_free--;

    return frame;
}

static void put_chunk(struct tmem_client *c, struct tmem_page *page,
                      bool persistent, struct page_info *fresh,
                      const struct tmem_prepared *new)
{
    unsigned int unit;
    struct page_info *frame = tmem_chunk_alloc(&c->store[persistent],
                                               units_for(new->bytes), fresh,
                                               &unit);
    uint8_t *to = __map_domain_page(frame);
    struct chunk *chunk = (void *)(to + unit * TMEM_UNIT);

    chunk->page = page;
    memcpy(chunk->data, new->data, new->bytes);
    unmap_domain_page(to);
    page->content = packed_as(new->kind, frame, unit, new->bytes);

    if ( new->kind == TMEM_LZ4 )
    {
        c->stats.compressed++;
        c->stats.compressed_bytes += new->bytes;
        c->stats.lz4_bytes += new->bytes;
    }
    else
        c->stats.short_bytes += new->bytes;
}

long tmem_put_content(struct tmem_client *c, struct tmem_pool *pool,
                      const tmem_op_t *op, uint32_t hash,
                      struct tmem_page *page, struct page_info *src,
                      struct tmem_prepared *new)
{
    bool persistent = pool->persistent;
    struct tmem_store *store = &c->store[persistent];
    enum tmem_kind kind = new->kind;
    struct page_info *shared = NULL, *frame = NULL;
    bool needs_frame;

    account_prepared(c, new);
    if ( !page && c->nr_spare < TMEM_SPARE_NEEDED )
        return -ERESTART;
    /* The pool's number may have gone to a pool of the other kind. */
    if ( kind == TMEM_SHARED && persistent )
        kind = TMEM_PLAIN;

    if ( kind == TMEM_PLAIN && page && !tmem_is_packed(page) )
    {
        copy_in(c, page->frame, src, new->data);
        return 1;
    }

    if ( kind == TMEM_SHARED )
        shared = tmem_dedup_find(new->hash, new->data);
    needs_frame = kind != TMEM_ZERO && !shared &&
                  !(is_chunk(kind) && tmem_chunk_fits(store,
                                                      units_for(new->bytes)));
    if ( needs_frame && !c->nr_free )
        return -ERESTART;

    if ( page )
    {
        clear_content(c, page, persistent);
        /* The gap that was found may have been in the frame that just went. */
        if ( is_chunk(kind) )
            needs_frame = !tmem_chunk_fits(store, units_for(new->bytes));
    }
    if ( kind == TMEM_ZERO ? !add_zero(c, persistent)
                           : needs_frame && persistent &&
                             !tmem_charge(c->domain) )
        return -ENOMEM;
    if ( needs_frame )
        frame = take_frame(c);

    if ( !page )
    {
        /* Can't fail: the index pages are at hand. */
        page = tmem_insert_page(c, pool, &op->u.gen.oid, hash,
                                op->u.gen.index, NULL);
        BUG_ON(!page);
    }

    switch ( kind )
    {
    case TMEM_PLAIN:
        copy_in(c, frame, src, new->data);
        page->frame = frame;
        return 1;

    case TMEM_ZERO:
        page->content = packed_as(TMEM_ZERO, NULL, 0, 0);
        break;

    case TMEM_SHARED:
        if ( shared )
        {
            c->stats.deduplicated++;
            tmem_level(c, TMEM_LEVEL_DUPLICATES, 1);
        }
        else
        {
            copy_in(c, frame, NULL, new->data);
            tmem_dedup_add(frame, new->hash);
            c->stats.frames.now--;      /* it is nobody's */
            shared = frame;
        }
        page->content = packed_as(TMEM_SHARED, shared, 0, 0);
        break;

    default:
        put_chunk(c, page, persistent, frame, new);
        break;
    }
    c->packed_pages += !persistent;

    return 1;
}

bool tmem_get_content(struct tmem_client *c, const struct tmem_page *page,
                      struct page_info *dst)
{
    unsigned int kind = kind_of(page), bytes = bytes_of(page);
    uint8_t *to = __map_domain_page(dst);
    const uint8_t *from = NULL;
    const struct chunk *chunk;
    int got = 0;
    uint64_t start;

    if ( kind != TMEM_ZERO )
        from = __map_domain_page(frame_of(page));
    chunk = (const void *)(from + unit_of(page) * TMEM_UNIT);

    start = rdtsc();
    switch ( kind )
    {
    case TMEM_ZERO:
        break;

    case TMEM_SHORT:
        memcpy(to, chunk->data, bytes);
        got = bytes;
        break;

    case TMEM_LZ4:
        /* Bounded by both lengths, whatever a vCPU does to the page. */
        got = tmem_lz4_decompress(chunk->data, bytes, to, PAGE_SIZE);
        break;

    case TMEM_SHARED:
        memcpy(to, from, PAGE_SIZE);
        got = PAGE_SIZE;
        break;

    default:
        got = -1;
        break;
    }
    if ( got >= 0 && got < PAGE_SIZE )
        memset(to + got, 0, PAGE_SIZE - got);
    tmem_time(c, kind == TMEM_LZ4 ? TMEM_TIME_DECOMPRESS : TMEM_TIME_COPY,
              rdtsc() - start);

    if ( from )
        unmap_domain_page(from);
    unmap_domain_page(to);

    return got >= 0;
}

bool tmem_evict_packed(struct tmem_client *c, struct tmem_page *page,
                       struct page_list_head *frames, unsigned int *dropped)
{
    unsigned int kind = kind_of(page), unit;
    struct page_info *frame;
    unsigned long used;
    const uint8_t *chunks;

    if ( !is_chunk(kind) )
    {
        frame = tmem_unpack(c, page);
        tmem_remove_page(c, page);
        if ( frame )
        {
            page_list_add_tail(frame, frames);
            tmem_level(c, TMEM_LEVEL_FRAMES, -1);
        }
        ++*dropped;
        return frame;
    }

    /* All of its neighbours go with it, or no frame would come free. */
    frame = frame_of(page);
    used = frame->u.inuse.type_info;
    chunks = __map_domain_page(frame);
    for ( unit = 0; unit < TMEM_UNITS; )
    {
        if ( !(used & (1UL << unit)) )
        {
            unit++;
            continue;
        }
        page = ((const struct chunk *)(chunks + unit * TMEM_UNIT))->page;
        ASSERT(frame_of(page) == frame && unit_of(page) == unit);
        unit += units_for(bytes_of(page));
        tmem_unpack(c, page);
        tmem_remove_page(c, page);
        ++*dropped;
    }
    unmap_domain_page(chunks);
    page_list_add_tail(frame, frames);
    tmem_level(c, TMEM_LEVEL_FRAMES, -1);

    return true;
}

/* Frames of ephemeral content, without those that clients share. */
unsigned long tmem_ephemeral_frames(const struct tmem_client *c)
{
    /* Without the lock, so the two need not fit. */
    long plain = ACCESS_ONCE(c->stats.ephemeral.now) -
                 ACCESS_ONCE(c->packed_pages);

    return max(plain, 0L) + ACCESS_ONCE(c->store[false].nr_frames);
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
