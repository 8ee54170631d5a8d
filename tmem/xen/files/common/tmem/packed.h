/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what the record of a page says whose content has no
 * frame of its own; for content.c, which stores such contents, and drop.c.
 */

#ifndef __TMEM_PACKED_H__
#define __TMEM_PACKED_H__

#include <xen/domain_page.h>

#include "content.h"

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

/* Of a chunk, in a frame. */
struct piece {
    struct tmem_page *page;             /* whose content it is */
    uint64_t units:7;                   /* of this piece */
    uint64_t more:1;                    /* it goes on in another frame: */
    uint64_t next_unit:6;
    uint64_t next_mfn:50;
    uint8_t data[];
};

static inline unsigned int kind_of(const struct tmem_page *page)
{
    return FIELD(page->content, KIND_SHIFT, UNIT_SHIFT);
}

static inline unsigned int bytes_of(const struct tmem_page *page)
{
    return FIELD(page->content, BYTES_SHIFT, MFN_SHIFT);
}

static inline struct page_info *frame_of(const struct tmem_page *page)
{
    return mfn_to_page(_mfn(page->content >> MFN_SHIFT));
}

static inline unsigned int unit_of(const struct tmem_page *page)
{
    return FIELD(page->content, UNIT_SHIFT, BYTES_SHIFT);
}

static inline uint64_t packed_as(enum tmem_kind kind,
                                 const struct page_info *frame,
                                 unsigned int unit, unsigned int bytes)
{
    return 1 | (kind << KIND_SHIFT) | (unit << UNIT_SHIFT) |
           (bytes << BYTES_SHIFT) |
           (frame ? mfn_x(page_to_mfn(frame)) << MFN_SHIFT : 0);
}

static inline bool is_chunk(enum tmem_kind kind)
{
    return kind == TMEM_SHORT || kind == TMEM_LZ4;
}

/* A piece of a chunk, while its frame is mapped. */
static inline struct piece *map_piece(const struct page_info *frame,
                                      unsigned int unit)
{
    BUILD_BUG_ON(sizeof(struct piece) != TMEM_PIECE_HEADER);

    return __map_domain_page(frame) + unit * TMEM_UNIT;
}

#endif /* __TMEM_PACKED_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
