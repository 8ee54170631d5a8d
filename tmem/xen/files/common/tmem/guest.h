/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: frames of guests. They are looked at only through a
 * reference that proves the guest's right to them: to read for a put, to write
 * for a get.
 */

#ifndef __TMEM_GUEST_H__
#define __TMEM_GUEST_H__

#include <xen/mm.h>

#include <asm/p2m.h>
#include <asm/paging.h>
#include <asm/tmem.h>

#include "account.h"

/* NULL: the guest may not read, or write, that frame. */
static always_inline struct page_info *frame_get(struct domain *d,
                                                 xen_pfn_t cmfn, bool write)
{
    struct page_info *frame;

    if ( likely(!paging_mode_translate(d)) )
    {
        /* No types, nothing paged or shared: what the call below comes to. */
        frame = tmem_get_frame(d, cmfn);
        if ( !frame )
            return NULL;
    }
    else
    {
        p2m_type_t p2mt;

        if ( check_get_page_from_gfn(d, _gfn(cmfn), !write, &p2mt, &frame) )
            return NULL;
        /* Another domain's that is mapped here is not this one's to log. */
        if ( (write && p2m_is_discard_write(p2mt)) ||
             page_get_owner(frame) != d )
        {
            put_page(frame);
            return NULL;
        }
    }

    if ( write && !tmem_get_writable(frame) )
    {
        put_page(frame);
        return NULL;
    }

    return frame;
}

static always_inline void frame_put(struct domain *d, struct page_info *frame,
                                    bool write)
{
    if ( write )
    {
        if ( unlikely(paging_mode_log_dirty(d)) )
            paging_mark_dirty(d, page_to_mfn(frame));
        tmem_put_writable(frame);
    }
    tmem_put_frame(frame);
}

static always_inline void copy_frame(struct tmem_client *c,
                                     struct page_info *to,
                                     struct page_info *from, bool timed)
{
    bool mapped = !tmem_in_direct_map(to) || !tmem_in_direct_map(from);
    void *dst = mapped ? __map_domain_page(to) : page_to_virt(to);
    const void *src = mapped ? __map_domain_page(from) : page_to_virt(from);
    uint64_t start = unlikely(timed) ? rdtsc() : 0;

    memcpy(__builtin_assume_aligned(dst, PAGE_SIZE),
           __builtin_assume_aligned(src, PAGE_SIZE), PAGE_SIZE);
    if ( unlikely(timed) )
        tmem_time(c, TMEM_TIME_COPY, rdtsc() - start);
    if ( unlikely(mapped) )
    {
        unmap_domain_page(src);
        unmap_domain_page(dst);
    }
}

#endif /* __TMEM_GUEST_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
