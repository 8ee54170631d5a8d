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
 * Persistent content is charged to its domain by the frames that it takes, and
 * by its records.
 */

#include <xen/domain_page.h>
#include <xen/mm.h>

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

/*
 * Contents that are small, or nothing, must not make records cheap: those of
 * persistent pages that are packed are charged, too, a frame for so many with
 * their objects and buckets.
 */
#define RECORDS_A_FRAME 24

struct piece {
    struct tmem_page *page;             /* whose content it is */
    uint64_t units:7;                   /* of this piece */
    uint64_t more:1;                    /* it goes on in another frame: */
    uint64_t next_unit:6;
    uint64_t next_mfn:50;
    uint8_t data[];
};

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

static bool is_chunk(enum tmem_kind kind)
{
    return kind == TMEM_SHORT || kind == TMEM_LZ4;
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

/* The domain pays for its 1st, 25th, … persistent page that is packed. */
static bool add_record(struct tmem_client *c)
{
    if ( !(c->persistent_packed % RECORDS_A_FRAME) && !tmem_charge(c->domain) )
        return false;
    c->persistent_packed++;

    return true;
}

static void remove_record(struct tmem_client *c)
{
    if ( !(--c->persistent_packed % RECORDS_A_FRAME) )
        tmem_uncharge(c->domain);
}

/* Charges for what a put is going to take; false: it may not have that. */
static bool charge(struct tmem_client *c, enum tmem_kind kind, bool frame)
{
    if ( kind != TMEM_PLAIN && !add_record(c) )
        return false;
    if ( !frame || tmem_charge(c->domain) )
        return true;
    if ( kind != TMEM_PLAIN )
        remove_record(c);

    return false;
}

/* A piece of a chunk, while its frame is mapped. */
static struct piece *map_piece(const struct page_info *frame, unsigned int unit)
{
    BUILD_BUG_ON(sizeof(struct piece) != TMEM_PIECE_HEADER);

    return __map_domain_page(frame) + unit * TMEM_UNIT;
}

/* Frees all pieces of a chunk. */
static void free_chunk(struct tmem_store *store, const struct tmem_page *page,
                       struct page_list_head *frames)
{
    struct tmem_place place = {
        .frame = frame_of(page),
        .unit = unit_of(page),
    };
    struct piece piece;

    do {
        const struct piece *from = map_piece(place.frame, place.unit);

        piece = *from;
        unmap_domain_page(from);
        place.units = piece.units;
        if ( tmem_chunk_free(store, &place) )
            page_list_add_tail(place.frame, frames);
        place.frame = mfn_to_page(_mfn(piece.next_mfn));
        place.unit = piece.next_unit;
    } while ( piece.more );
}

/* Takes the content from a record; adds the frames that came free. */
static void unpack(struct tmem_client *c, struct tmem_page *page,
                   struct page_list_head *frames, bool persistent)
{
    unsigned int kind = kind_of(page), bytes = bytes_of(page);

    switch ( kind )
    {
    case TMEM_NOTHING:
        return;

    case TMEM_ZERO:
        break;

    case TMEM_SHORT:
    case TMEM_LZ4:
        free_chunk(&c->store[persistent], page, frames);
        if ( kind == TMEM_LZ4 )
            c->stats.lz4_bytes -= bytes;
        else
            c->stats.short_bytes -= bytes;
        break;

    case TMEM_SHARED:
        if ( tmem_dedup_put(frame_of(page)) )
        {
            page_list_add_tail(frame_of(page), frames);
            c->stats.frames.now++;      /* it was nobody's */
        }
        else
            tmem_level(c, TMEM_LEVEL_DUPLICATES, -1);
        break;

    default:
        ASSERT_UNREACHABLE();
        break;
    }

    if ( persistent )
        remove_record(c);
    else
        c->packed_pages--;
    page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);
}

void tmem_clear_content(struct tmem_client *c, struct tmem_page *page,
                        bool persistent)
{
    PAGE_LIST_HEAD(frames);
    struct page_info *frame;

    if ( tmem_is_packed(page) )
        unpack(c, page, &frames, persistent);
    else
    {
        page_list_add(page->frame, &frames);
        page->content = packed_as(TMEM_NOTHING, NULL, 0, 0);
    }

    while ( (frame = page_list_remove_head(&frames)) )
    {
        tmem_release_frame(c, frame);
        if ( persistent )
            tmem_uncharge(c->domain);
    }
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
    }
    if ( persistent && !charge(c, kind, needs_frame) )
        return -ENOMEM;
    if ( needs_frame )
        frame = tmem_take_frame(c);

    if ( !page )
    {
        /* Can't fail: the index pages are at hand. */
        page = tmem_insert_page(c, pool, op, spot, NULL);
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
    const struct piece *piece = NULL;
    const void *from = NULL, *data = NULL;
    uint64_t start = rdtsc();
    uint8_t *to = __map_domain_page(dst);
    int got = 0;

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

unsigned int tmem_evict_packed(struct tmem_client *c, struct tmem_page *page,
                               struct page_list_head *frames,
                               unsigned int *dropped)
{
    PAGE_LIST_HEAD(freed);
    struct page_info *frame = frame_of(page);
    unsigned int unit, nr = 0;
    unsigned long used;
    const void *pieces;

    if ( !is_chunk(kind_of(page)) )
    {
        unpack(c, page, &freed, false);
        tmem_remove_page(c, page);
        ++*dropped;
    }
    else
    {
        /* All that is in its frame goes with it, or no frame might come free. */
        used = frame->u.tmem.units;
        pieces = __map_domain_page(frame);
        for ( unit = 0; unit < TMEM_UNITS; )
        {
            const struct piece *piece = pieces + unit * TMEM_UNIT;

            if ( !(used & (1UL << unit)) )
            {
                unit++;
                continue;
            }
            page = piece->page;
            unit += piece->units;
            unpack(c, page, &freed, false);
            tmem_remove_page(c, page);
            ++*dropped;
        }
        unmap_domain_page(pieces);
    }

    while ( (frame = page_list_remove_head(&freed)) )
    {
        page_list_add_tail(frame, frames);
        tmem_level(c, TMEM_LEVEL_FRAMES, -1);
        nr++;
    }

    return nr;
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
