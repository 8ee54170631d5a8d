/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen's heap: frames, and their allocation with tmem's reserve and claims as the
 * patch of page_alloc.c has it. A free frame may not be touched, nor one of tmem's
 * that is not mapped: under ASAN that ends the program at once; without it, a
 * change is seen when the frame is used again.
 */

#include <stdlib.h>
#include <sys/mman.h>

#include <xen/tmem.h>

#include "private.h"
#include "world.h"

#ifdef __SANITIZE_ADDRESS__
void __asan_poison_memory_region(void const volatile *p, size_t bytes);
void __asan_unpoison_memory_region(void const volatile *p, size_t bytes);
#define POISON(p)       __asan_poison_memory_region(p, PAGE_SIZE)
#define UNPOISON(p)     __asan_unpoison_memory_region(p, PAGE_SIZE)
#else
#define POISON(p)       ((void)(p))
#define UNPOISON(p)     ((void)(p))
#endif

#define FREE_BYTE       0xc2

bool shim_threads, shim_no_contents;

static struct page_info *frames;
static char *memory;
uint64_t *shim_heap_memory;
static unsigned long nr_frames, nr_dma_frames;

static DEFINE_SPINLOCK(heap_lock);
static PAGE_LIST_HEAD(free_frames);
/* Where to look for the next extent that is not for DMA; of this order and beyond there is none. */
static unsigned long next_extent;
static unsigned int none_from_order;
static unsigned long total_avail_pages, outstanding_claims;
static unsigned long nr_offlined;
static unsigned long of_tmem;           /* frames without an owner */
static _Thread_local unsigned int nr_mapped;
static _Thread_local char scratch[PAGE_SIZE] __aligned(PAGE_SIZE);

/* Frames and their addresses. */

static void *address_of(const struct page_info *page)
{
    return memory + (page - frames) * PAGE_SIZE;
}

mfn_t page_to_mfn(const struct page_info *page)
{
    return _mfn(page - frames);
}

struct page_info *mfn_to_page(mfn_t mfn)
{
    CHECK(mfn_valid(mfn), "no frame has the number %lu", mfn_x(mfn));
    return &frames[mfn_x(mfn)];
}

bool mfn_valid(mfn_t mfn)
{
    return mfn_x(mfn) < nr_frames;
}

void *page_to_virt(const struct page_info *page)
{
    CHECK(page->use == FRAME_XENHEAP, "frame %lu is not of Xen's own heap",
          mfn_x(page_to_mfn(page)));
    return address_of(page);
}

struct page_info *virt_to_page(const void *address)
{
    unsigned long nr = ((const char *)address - memory) / PAGE_SIZE;

    CHECK(nr < nr_frames, "%p is no address in the heap", address);
    return &frames[nr];
}

void (*world_before_map)(void);

void *__map_domain_page(const struct page_info *page)
{
    struct page_info *frame = (struct page_info *)page;
    void (*hook)(void) = __atomic_load_n(&world_before_map, __ATOMIC_RELAXED);

    if ( hook )
    {
        __atomic_store_n(&world_before_map, NULL, __ATOMIC_RELAXED);
        hook();
    }
    CHECK(frame->use == FRAME_DOMHEAP, "a free frame or one of Xen's own, %lu, is mapped",
          mfn_x(page_to_mfn(frame)));
    nr_mapped++;
    if ( shim_no_contents )
        return scratch;
    __atomic_fetch_add(&frame->mapped, 1, __ATOMIC_RELAXED);
    UNPOISON(address_of(frame));

    return address_of(frame);
}

void unmap_domain_page(const void *address)
{
    struct page_info *frame;

    if ( !address )
        return;
    CHECK(nr_mapped, "unmapped more often than mapped");
    nr_mapped--;
    if ( shim_no_contents )
        return;
    frame = virt_to_page(address);
    if ( !__atomic_sub_fetch(&frame->mapped, 1, __ATOMIC_RELAXED) &&
         !frame->owner && !shim_threads )
        POISON(address_of(frame));
}

unsigned int shim_mappings(void)
{
    return nr_mapped;
}

/* Allocation. */

/* A guest's data in what is given back without scrubbing? */
void shim_no_secrets(const void *p, size_t bytes, const char *what)
{
    static const uint32_t tag = SECRET_TAG;

    if ( memmem(p, bytes, &tag, sizeof(tag)) )
        FAIL("%s goes back to the heap with a guest's data in it", what);
}

static void __attribute__((no_sanitize("thread"))) check_untouched(struct page_info *page)
{
    const uint64_t *words = address_of(page);
    unsigned int i;

    UNPOISON(words);
    for ( i = 0; i < PAGE_SIZE / sizeof(*words); i++ )
        if ( words[i] != 0x0101010101010101ULL * FREE_BYTE )
            FAIL("frame %lu was written to after it was freed", mfn_x(page_to_mfn(page)));
}

static struct page_info *find_extent(unsigned int order, unsigned int memflags)
{
    unsigned int bits = memflags >> _MEMF_bits;
    unsigned long first, i, size = 1UL << order, end = nr_frames & ~(size - 1);
    unsigned long tried, from = 0;

    if ( bits )
        end = min(end, 1UL << (bits - PAGE_SHIFT));
    else if ( !order )
    {
        struct page_info *page = free_frames.next;

        while ( page && page - frames < nr_dma_frames )
            page = page->next;
        return page || (memflags & MEMF_no_dma) ? page : free_frames.next;
    }
    else if ( memflags & MEMF_no_dma )
    {
        /* On from the last one, unless there was none and nothing has been freed since. */
        if ( none_from_order <= order )
            return NULL;
        from = next_extent & ~(size - 1);
    }
    for ( tried = 0; tried < end; tried += size )
    {
        first = from + tried < end ? from + tried : from + tried - end;
        if ( (memflags & MEMF_no_dma) && first < nr_dma_frames )
            continue;
        /* What is free and on no list has been taken out of use. */
        for ( i = 0; i < size && frames[first + i].use == FRAME_FREE && frames[first + i].listed; i++ )
            ;
        if ( i == size )
        {
            if ( memflags & MEMF_no_dma )
                next_extent = first + size < end ? first + size : 0;
            return &frames[first];
        }
    }
    if ( memflags & MEMF_no_dma )
        none_from_order = order;

    return NULL;
}

static struct page_info *heap_alloc(struct domain *d, unsigned int order,
                                    unsigned int memflags, enum shim_use use)
{
    unsigned long i, request = 1UL << order;
    unsigned int attempt = 0, where = memflags;
    struct page_info *page;

    /* As the heap does: of the domain's own limit memflags do not tell. */
    if ( d && d->bits && !(memflags >> _MEMF_bits) )
        where |= MEMF_bits(d->bits);
    shim_no_locks("an allocation");
    if ( !d && shim_fault_now() )
        return NULL;

 again:
    spin_lock(&heap_lock);
    page = NULL;
    if ( outstanding_claims + request <= tmem_heap_avail(total_avail_pages, outstanding_claims, request,
                                                         memflags, d) ||
         (!(memflags & MEMF_no_refcount) && d && d->outstanding_pages >= request) )
        page = find_extent(order, where);
    if ( !page )
    {
        spin_unlock(&heap_lock);
        if ( tmem_make_way(d, order, memflags, where >> _MEMF_bits, &attempt) )
            goto again;
        return NULL;
    }
    for ( i = 0; i < request; i++ )
    {
        page_list_del(&page[i], &free_frames);
        page[i].use = use;
        page[i].owner = NULL;
    }
    total_avail_pages -= request;
    if ( !d )
        of_tmem += request;
    else if ( d->outstanding_pages && !(memflags & MEMF_no_refcount) )
    {
        unsigned long claimed = min(d->outstanding_pages, request);

        outstanding_claims -= claimed;
        d->outstanding_pages -= claimed;
    }
    spin_unlock(&heap_lock);

    if ( shim_no_contents )
        return page;
    for ( i = 0; i < request; i++ )
    {
        check_untouched(&page[i]);
        if ( use == FRAME_DOMHEAP && !(memflags & MEMF_no_scrub) )
            memset(address_of(&page[i]), 0, PAGE_SIZE);
        if ( use == FRAME_DOMHEAP && !d && !shim_threads )
            POISON(address_of(&page[i]));
    }

    return page;
}

static void __attribute__((no_sanitize("thread"))) scribble(void *p)
{
    memset(p, FREE_BYTE, PAGE_SIZE);
}

static void heap_free(struct page_info *page, unsigned int order, enum shim_use use)
{
    unsigned long i, nr = 1UL << order;
    bool owned = page->owner;

    for ( i = 0; i < nr; i++ )
    {
        CHECK(page[i].use == use, "frame %lu is freed twice, or by the wrong function",
              mfn_x(page_to_mfn(&page[i])));
        CHECK(!page[i].listed, "frame %lu is freed while it is on a list",
              mfn_x(page_to_mfn(&page[i])));
        CHECK(!page[i].mapped && !page[i].count && !(page[i].type & PGT_count_mask),
              "frame %lu is freed while it is in use", mfn_x(page_to_mfn(&page[i])));
        CHECK(!page[i].u.inuse.type_info, "frame %lu is freed while it has chunks or sharers",
              mfn_x(page_to_mfn(&page[i])));
        if ( !shim_no_contents )
        {
            UNPOISON(address_of(&page[i]));
            if ( use == FRAME_XENHEAP )
                shim_no_secrets(address_of(&page[i]), PAGE_SIZE, "a page of Xen's own heap");
            scribble(address_of(&page[i]));
            POISON(address_of(&page[i]));
        }
    }
    spin_lock(&heap_lock);
    for ( i = 0; i < nr; i++ )
    {
        page[i].use = FRAME_FREE;
        page[i].owner = NULL;
        page[i].type = PGT_none;
        if ( __atomic_load_n(&page[i].count_info, __ATOMIC_RELAXED) )
        {
            page[i].use = FRAME_OFFLINED;
            nr_offlined++;
            continue;
        }
        page_list_add(&page[i], &free_frames);
        total_avail_pages++;
    }
    none_from_order = ~0U;
    if ( !owned )
        of_tmem -= nr;
    spin_unlock(&heap_lock);
}

struct page_info *alloc_domheap_pages(struct domain *d, unsigned int order,
                                      unsigned int memflags)
{
    struct page_info *page = heap_alloc(d, order, memflags, FRAME_DOMHEAP);

    if ( page && d )
    {
        CHECK(!order, "guests of the harness have single pages");
        page->owner = d;
        __atomic_store_n(&page->count, 1, __ATOMIC_SEQ_CST);
    }

    return page;
}

void free_domheap_pages(struct page_info *page, unsigned int order)
{
    heap_free(page, order, FRAME_DOMHEAP);
}

void *alloc_xenheap_pages(unsigned int order, unsigned int memflags)
{
    struct page_info *page = heap_alloc(NULL, order, memflags, FRAME_XENHEAP);

    return page ? address_of(page) : NULL;
}

void free_xenheap_pages(void *address, unsigned int order)
{
    if ( address )
        heap_free(virt_to_page(address), order, FRAME_XENHEAP);
}

unsigned long avail_domheap_pages(void)
{
    unsigned long pages;
    bool held = spin_is_locked(&heap_lock);

    if ( !held )
        spin_lock(&heap_lock);
    pages = total_avail_pages;
    if ( !held )
        spin_unlock(&heap_lock);

    return pages;
}

/* Small allocations are not taken from the frames. */

unsigned long heap_frames_of_tmem(void)
{
    unsigned long nr;

    spin_lock(&heap_lock);
    nr = of_tmem;
    spin_unlock(&heap_lock);

    return nr;
}

void heap_claim(unsigned long pages)
{
    spin_lock(&heap_lock);
    outstanding_claims = pages;
    spin_unlock(&heap_lock);
}

void heap_mark(struct page_info *frame, bool broken)
{
    CHECK(frame->use != FRAME_FREE, "only frames in use are marked here");
    __atomic_fetch_or(&frame->count_info, PGC_state_offlining | (broken ? PGC_broken : 0), __ATOMIC_RELAXED);
    tmem_frame_is_marked();
}

unsigned long heap_offlined(void)
{
    return nr_offlined;
}

void heap_claim_is_of(struct domain *d)
{
    spin_lock(&heap_lock);
    d->outstanding_pages = outstanding_claims;
    spin_unlock(&heap_lock);
}

void get_outstanding_claims(uint64_t *free_pages, uint64_t *outstanding_pages)
{
    spin_lock(&heap_lock);
    *free_pages = total_avail_pages;
    *outstanding_pages = outstanding_claims;
    spin_unlock(&heap_lock);
}

unsigned long heap_claimed(void)
{
    unsigned long pages;

    spin_lock(&heap_lock);
    pages = outstanding_claims;
    spin_unlock(&heap_lock);

    return pages;
}

void shim_heap_start(unsigned long wanted, unsigned long dma)
{
    unsigned long i;

    nr_frames = wanted;
    nr_dma_frames = dma;
    frames = calloc(nr_frames, sizeof(*frames));
    memory = mmap(NULL, nr_frames * PAGE_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    total_pages = nr_frames;
    CHECK(frames && memory != MAP_FAILED, "no memory for %lu frames", nr_frames);
    shim_heap_memory = (uint64_t *)memory;
    INIT_PAGE_LIST_HEAD(&free_frames);
    for ( i = 0; i < nr_frames; i++ )
    {
        if ( !shim_no_contents )
        {
            scribble(memory + i * PAGE_SIZE);
            POISON(memory + i * PAGE_SIZE);
        }
        page_list_add_tail(&frames[i], &free_frames);
    }
    total_avail_pages = nr_frames;
    outstanding_claims = of_tmem = nr_offlined = 0;
    next_extent = 0;
    none_from_order = ~0U;
}

void shim_heap_stop(void)
{
    unsigned long i;

    CHECK(total_avail_pages + nr_offlined == nr_frames && !of_tmem,
          "%lu of %lu frames did not come back, %lu of them tmem's",
          nr_frames - total_avail_pages, nr_frames, of_tmem);
    CHECK(!tmem_spare_now(), "%ld frames count as freeable that nobody has", tmem_spare_now());
    CHECK(!tmem_dedup_frames(), "%lu contents are in the table without a page", tmem_dedup_frames());
    CHECK(!heap_xmallocs(), "%lu allocations were not freed", heap_xmallocs());
    for ( i = 0; i < nr_frames && !shim_no_contents; i++ )
        check_untouched(&frames[i]);
    munmap(memory, nr_frames * PAGE_SIZE);
    free(frames);
}
