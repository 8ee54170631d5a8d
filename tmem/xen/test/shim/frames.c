/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of guests: references and types, guests' maps of their frames, balloons, contents. */

#include "world.h"

/* References and types. */

static bool get_any_page(struct page_info *page)
{
    unsigned int old = __atomic_load_n(&page->count, __ATOMIC_SEQ_CST);

    do {
        if ( !old )
            return false;
    } while ( !__atomic_compare_exchange_n(&page->count, &old, old + 1, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) );

    return true;
}

/* A frame with a reference has an owner and keeps it. */
static bool is_owned_by(struct page_info *page, const struct domain *d)
{
    if ( page->owner == d )
        return true;
    put_page(page);

    return false;
}

bool get_page(struct page_info *page, const struct domain *d)
{
    return get_any_page(page) && is_owned_by(page, d);
}

void put_page(struct page_info *page)
{
    struct domain *d = page->owner;
    unsigned int left;
    bool last;

    shim_no_locks("dropping a reference that may be the last");
    left = __atomic_sub_fetch(&page->count, 1, __ATOMIC_SEQ_CST);
    CHECK(left != ~0U, "a frame's references fall below 0");
    if ( left )
        return;
    spin_lock(&d->page_alloc_lock);
    last = !domain_adjust_tot_pages(d, -1);
    spin_unlock(&d->page_alloc_lock);
    free_domheap_page(page);
    if ( last )
        put_domain(d);
}

bool get_page_type(struct page_info *page, unsigned long type)
{
    uint32_t old = __atomic_load_n(&page->type, __ATOMIC_SEQ_CST), new;

    shim_no_locks("taking a type");
    do {
        if ( (old & PGT_count_mask) && (old & PGT_type_mask) != type )
            return false;
        new = ((old & PGT_count_mask) + 1) | type;
    } while ( !__atomic_compare_exchange_n(&page->type, &old, new, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) );

    return true;
}

void put_page_type(struct page_info *page)
{
    uint32_t old = __atomic_fetch_sub(&page->type, 1, __ATOMIC_SEQ_CST);

    CHECK(old & PGT_count_mask, "a frame's type is put more often than got");
}

bool get_page_and_type(struct page_info *page, struct domain *d, unsigned long type)
{
    bool got = get_page(page, d);

    if ( got && !get_page_type(page, type) )
    {
        put_page(page);
        got = false;
    }

    return got;
}

void put_page_and_type(struct page_info *page)
{
    put_page_type(page);
    put_page(page);
}

int check_get_page_from_gfn(struct domain *d, gfn_t gfn, bool readonly,
                            p2m_type_t *type, struct page_info **page)
{
    struct shim_p2m_entry entry = { NULL, p2m_invalid };
    bool got;

    shim_no_locks("looking a guest's frame up");
    *page = NULL;
    *type = p2m_invalid;
    if ( gfn_x(gfn) >= d->nr_gfns )
        return -EINVAL;
    spin_lock(&d->p2m_lock);
    entry = d->p2m[gfn_x(gfn)];
    got = p2m_is_ram(entry.type) && entry.page && get_any_page(entry.page);
    spin_unlock(&d->p2m_lock);
    *type = entry.type;
    if ( entry.type == p2m_ram_paged )
        return -EAGAIN;
    if ( !got || !is_owned_by(entry.page, d) )
        return -EINVAL;
    *page = entry.page;

    return 0;
}

struct page_info *get_page_from_gfn(struct domain *d, unsigned long gfn,
                                    p2m_type_t *type, unsigned int query)
{
    struct page_info *page;
    p2m_type_t found;

    if ( check_get_page_from_gfn(d, _gfn(gfn), true, &found, &page) )
        page = NULL;
    if ( type )
        *type = found;

    return page;
}

void paging_mark_dirty(struct domain *d, mfn_t mfn)
{
    __atomic_fetch_add(&d->dirtied, 1, __ATOMIC_RELAXED);
}

/* What a guest, or its balloon, does with its frames. */

void world_set_p2m(struct domain *d, unsigned int gfn, struct page_info *page,
                   p2m_type_t type)
{
    spin_lock(&d->p2m_lock);
    d->p2m[gfn] = (struct shim_p2m_entry){ page, type };
    spin_unlock(&d->p2m_lock);
}

struct page_info *world_frame(struct domain *d, unsigned int gfn)
{
    struct page_info *page;

    spin_lock(&d->p2m_lock);
    page = d->p2m[gfn].page;
    spin_unlock(&d->p2m_lock);

    return page;
}

static bool populate(struct domain *d, unsigned int gfn, struct page_info *page)
{
    bool fits;

    spin_lock(&d->page_alloc_lock);
    fits = d->tot_pages < d->max_pages;
    if ( fits && domain_adjust_tot_pages(d, 1) == 1 )
        get_knownalive_domain(d);
    spin_unlock(&d->page_alloc_lock);
    if ( !fits )
        return false;
    spin_lock(&d->p2m_lock);
    fits = !d->p2m[gfn].page;
    if ( fits )
        d->p2m[gfn] = (struct shim_p2m_entry){ page, p2m_ram_rw };
    spin_unlock(&d->p2m_lock);
    if ( fits )
        return true;
    put_page(page);

    return true;
}

bool world_balloon_in(struct domain *d, unsigned int gfn)
{
    struct page_info *page = alloc_domheap_pages(d, 0, 0);

    if ( !page )
        return false;
    if ( populate(d, gfn, page) )
        return true;
    __atomic_store_n(&page->count, 0, __ATOMIC_SEQ_CST);
    free_domheap_page(page);

    return false;
}

bool world_balloon_out(struct domain *d, unsigned int gfn)
{
    struct page_info *page;

    spin_lock(&d->p2m_lock);
    page = d->p2m[gfn].page;
    /* A page table has to be unpinned first. */
    if ( page && (page->owner != d || (__atomic_load_n(&page->type, __ATOMIC_SEQ_CST) &
                                       PGT_type_mask) == PGT_l1_page_table) )
        page = NULL;
    if ( page )
        d->p2m[gfn] = (struct shim_p2m_entry){ NULL, p2m_invalid };
    spin_unlock(&d->p2m_lock);
    if ( page )
        put_page(page);

    return page;
}

/* Contents. The guest's writes race with Xen's copies by design: TSAN does not look. */

#define NO_TSAN     __attribute__((no_sanitize("thread")))

static uint64_t NO_TSAN word_of(uint64_t seed, unsigned int nr)
{
    uint64_t x;

    switch ( seed & 7 )
    {
    case CONTENT_ZERO:
        return 0;
    case CONTENT_REPEATING:
        nr /= 16;
        break;
    case CONTENT_ZERO_TAIL:
        if ( nr >= 1 + (seed >> 3) % 511 )
            return 0;
        break;
    }
    x = (seed << 9 | nr) + 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return (uint64_t)SECRET_TAG << 32 | (uint32_t)(x ^ (x >> 27));
}

static uint64_t *NO_TSAN words_of(const struct page_info *page)
{
    /* A guest's frame is the guest's to look at: never poisoned. */
    return shim_heap_memory + mfn_x(page_to_mfn(page)) * (PAGE_SIZE / sizeof(uint64_t));
}

void NO_TSAN content_fill(struct page_info *page, uint64_t seed)
{
    uint64_t *words = words_of(page);
    unsigned int i;

    for ( i = 0; i < PAGE_SIZE / sizeof(*words); i++ )
        words[i] = word_of(seed, i);
}

bool NO_TSAN content_is(const struct page_info *page, uint64_t seed)
{
    const uint64_t *words = words_of(page);
    unsigned int i;

    for ( i = 0; i < PAGE_SIZE / sizeof(*words); i++ )
        if ( words[i] != word_of(seed, i) )
            return false;

    return true;
}

uint64_t NO_TSAN content_word(const struct page_info *page, unsigned int nr)
{
    return words_of(page)[nr];
}
