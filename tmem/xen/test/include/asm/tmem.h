/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fetching a PV guest's operation: the range is checked once, and every word may
 * still fault. See shim/guest.c.
 */
#ifndef SHIM_ASM_TMEM_H
#define SHIM_ASM_TMEM_H

#include <xen/errno.h>
#include <xen/mm.h>
#include <xen/types.h>

#define TMEM_OP_WORDS   7

bool shim_guest_word(const void *address, uint64_t *word);

static inline int tmem_fetch_op(uint64_t to[TMEM_OP_WORDS], const void *from)
{
    const uint64_t *word = from;
    unsigned int i;
    bool read = (unsigned long)from < (1UL << 47);

    for ( i = 0; i < TMEM_OP_WORDS && read; i++ )
        read = shim_guest_word(&word[i], &to[i]);

    return read ? 0 : -EFAULT;
}

#define tmem_get_frame(d, mfn)      get_page_from_gfn(d, mfn, NULL, P2M_ALLOC)
#define tmem_put_frame(page)        put_page(page)
#define tmem_get_writable(page)     get_page_type(page, PGT_writable_page)
#define tmem_put_writable(page)     put_page_type(page)

/* So that every mapping is seen, and seen to be undone. */
static inline bool tmem_in_direct_map(const struct page_info *frame)
{
    return false;
}

/* Frames at hand: a list that has no head, so that frames on it count as listed. */
void tmem_link_frame(struct page_info *frame, struct page_info *next);
struct page_info *tmem_unlink_frame(struct page_info *frame);

#endif
