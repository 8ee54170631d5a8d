/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: contents that do not have a frame of their own.
 *
 * For clients with compression: a page of zeros needs no frame; one whose
 * tail is zero, or that LZ4 makes smaller, becomes a chunk in a frame of such
 * chunks (chunks.c). For clients with deduplication, ephemeral pages share
 * frames (dedup.c). What is neither is stored plain, by op.c. Which it is to
 * be, prepare.c has decided when a put gets here.
 *
 * Persistent content is charged to its domain, see charge.c.
 */

#include <xen/mm.h>

#include "packed.h"
#include "records.h"

void tmem_content_init(struct tmem_client *c)
{
    tmem_store_init(&c->store[false]);
    tmem_store_init(&c->store[true]);
    c->compress = opt_tmem_compress;
    c->dedup = opt_tmem_dedup;
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

static void put_chunk(struct tmem_client *c, struct tmem_page *page,
                      bool persistent, struct page_info *fresh,
                      const struct tmem_prepared *new)
{
    struct tmem_place place[2];
    unsigned int nr = tmem_chunk_alloc(&c->store[persistent], new->bytes,
                                       fresh, place);
    unsigned int i, done = 0;

    for ( i = 0; i < nr; i++ )
    {
        struct piece *to = map_piece(place[i].frame, place[i].unit);
        unsigned int bytes = min(tmem_piece_room(place[i].units),
                                 new->bytes - done);

        to->page = page;
        to->units = place[i].units;
        to->more = i + 1 < nr;
        to->next_unit = to->more ? place[i + 1].unit : 0;
        to->next_mfn = to->more ? mfn_x(page_to_mfn(place[i + 1].frame)) : 0;
        memcpy(to->data, new->data + done, bytes);
        done += bytes;
        unmap_domain_page(to);
    }
    page->content = packed_as(new->kind, place[0].frame, place[0].unit,
                              new->bytes);

    if ( new->kind == TMEM_LZ4 )
    {
        c->stats.compressed++;
        c->stats.compressed_bytes += new->bytes;
        c->stats.lz4_bytes += new->bytes;
    }
    else
        c->stats.short_bytes += new->bytes;
}

/* A chunk's two pieces put together, in this processor's memory. */
static const void *join(const struct piece *first, unsigned int bytes)
{
    unsigned int head = tmem_piece_room(first->units);
    uint8_t *joined = tmem_scratch();
    const struct piece *rest =
        map_piece(mfn_to_page(_mfn(first->next_mfn)), first->next_unit);

    memcpy(joined, first->data, head);
    memcpy(joined + head, rest->data, bytes - head);
    unmap_domain_page(rest);

    return joined;
}

/* Gives back what a put has taken that can't go on. */
static noinline long not_put(struct tmem_client *c, bool persistent,
                             struct page_info *frame, struct page_info *shared)
{
    if ( shared && tmem_dedup_put(shared) )
    {
        /* Who else had that content has dropped it meanwhile. */
        c->stats.frames.now++;
        tmem_release_frame(c, shared);
    }
    if ( frame )
    {
        tmem_release_frame(c, frame);
        if ( persistent )
            tmem_content_gone(c);
    }
    if ( persistent )
        tmem_settle(c);

    return -ENOMEM;
}

long tmem_put_content(struct tmem_client *c, struct tmem_pool *pool,
                      const tmem_op_t *op, const struct tmem_spot *spot,
                      struct tmem_page *page, struct page_info *src,
                      struct tmem_prepared *new)
{
    bool persistent = pool->persistent;
    struct tmem_store *store = &c->store[persistent];
    enum tmem_kind kind = new->kind;
    struct page_info *shared = NULL, *frame = NULL;
    bool needs_frame;

    ASSERT(spin_is_locked(&c->lock));

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
                  !(is_chunk(kind) && tmem_chunk_fits(store, new->bytes));
    if ( needs_frame && !tmem_has_frame(c) )
        return -ERESTART;

    if ( page )
    {
        tmem_clear_content(c, page, persistent);
        /* The gap that was found may have been in the frame that just went. */
        if ( is_chunk(kind) )
            needs_frame = !tmem_chunk_fits(store, new->bytes);
        /* It is not kept if Xen has marked it. */
        if ( needs_frame && !tmem_has_frame(c) )
            return -ENOMEM;
    }
    if ( persistent &&
         !tmem_charge(c, needs_frame,
                      !page && tmem_needs_slab(c, op, spot)) )
        return -ENOMEM;
    if ( needs_frame )
        frame = tmem_take_frame(c);

    if ( !page )
    {
        page = tmem_insert_page(c, pool, op, spot, NULL);
        /* The index pages are at hand, or it would not have got here. */
        if ( unlikely(!page) )
        {
            tmem_broken_bound(c);
            return not_put(c, persistent, frame, shared);
        }
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
        add_sized(&c->sharing, 1);
        break;

    default:
        put_chunk(c, page, persistent, frame, new);
        break;
    }
    if ( !persistent )
        add_sized(&c->packed_pages, 1);

    return 1;
}

bool tmem_get_content(struct tmem_client *c, const struct tmem_page *page,
                      struct page_info *dst)
{
    unsigned int kind = kind_of(page), bytes = bytes_of(page);
    const struct piece *piece = NULL;
    const void *from = NULL, *data = NULL;
    uint64_t start = rdtsc();
    uint8_t *to = __map_domain_page(dst);
    int got = 0;

    ASSERT(spin_is_locked(&c->lock));

    if ( is_chunk(kind) )
    {
        piece = map_piece(frame_of(page), unit_of(page));
        from = piece;
        data = piece->more ? join(piece, bytes) : piece->data;
    }
    else if ( kind == TMEM_SHARED )
        from = data = __map_domain_page(frame_of(page));

    switch ( kind )
    {
    case TMEM_ZERO:
        break;

    case TMEM_SHORT:
        memcpy(to, data, bytes);
        got = bytes;
        break;

    case TMEM_LZ4:
        /* Bounded by both lengths, whatever a vCPU does to the page. */
        got = tmem_lz4_decompress(data, bytes, to, PAGE_SIZE);
        break;

    case TMEM_SHARED:
        memcpy(to, data, PAGE_SIZE);
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

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
