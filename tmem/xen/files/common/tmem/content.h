/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: contents that have no frame of their own.
 */

#ifndef __TMEM_CONTENT_H__
#define __TMEM_CONTENT_H__

#include "types.h"

/* prepare.c: what a put stores. */
extern bool opt_tmem_compress, opt_tmem_dedup;
struct tmem_prepared *tmem_prepare(const struct tmem_client *c,
                                   unsigned int pool_id,
                                   struct page_info *src,
                                   struct tmem_prepared *new);
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

/* drop.c. Callers hold the client's lock, unless it says otherwise. */
/* From a record that stays; the charge is settled by who knows what comes. */
void tmem_clear_content(struct tmem_client *c, struct tmem_page *page,
                        bool persistent);
void tmem_drop_page(struct tmem_client *c, struct tmem_page *page);
void tmem_drop_oldest(struct tmem_client *c);
/* What evicting has yielded so far, all of it the caller's. */
struct tmem_eviction {
    struct page_list_head *frames;      /* of content */
    void *pages;                        /* of the index; each begins with a link */
    unsigned int taken, index;          /* how many of both */
    unsigned int dropped;               /* tmem's pages */
    bool wants_index;                   /* frames of content alone won't do */
};
static inline unsigned int tmem_gained(const struct tmem_eviction *e)
{
    return e->taken + e->index;
}
/*
 * Of a client that has ephemeral pages, the oldest, and with it as many more as
 * have to go so that one frame at least comes free: 63.
 */
void tmem_evict_oldest(struct tmem_client *c, struct tmem_eviction *e);
unsigned long tmem_ephemeral_frames(const struct tmem_client *c);
unsigned long tmem_held_frames(const struct tmem_client *c);

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

static inline bool tmem_is_packed(const struct tmem_page *page)
{
    return page->content & 1;
}

#endif /* __TMEM_CONTENT_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
