/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: what every operation does with the guest's memory and
 * with frames, in line.
 */

#ifndef __ASM_X86_TMEM_H__
#define __ASM_X86_TMEM_H__

#include <xen/domain_page.h>
#include <xen/errno.h>
#include <xen/mm.h>
#include <xen/nospec.h>
#include <xen/pdx.h>

#include <asm/asm_defns.h>
#include <asm/uaccess.h>

#define TMEM_OP_WORDS   7

/*
 * Reads every word of a PV guest's operation once. The address is checked, and
 * guarded against speculation, once for all of them. 0, or -EFAULT.
 *
 * copy_from_guest() is a string copy, which is slow to start for so little; and
 * copy_field_from_guest() for each word, with a check of each, takes more
 * instructions than finding a page.
 */
static always_inline int tmem_fetch_op(uint64_t to[TMEM_OP_WORDS],
                                       const void *from)
{
    unsigned long scratch[2];
    int rc = 0;

    if ( !access_ok(from, TMEM_OP_WORDS * sizeof(*to)) )
        return -EFAULT;

    stac();
    asm volatile (
        "   guest_access_mask_ptr %[from], %[scratch0], %[scratch1]\n"
        "1: mov   (%[from]), %[w0]\n"
        "2: mov  8(%[from]), %[w1]\n"
        "3: mov 16(%[from]), %[w2]\n"
        "4: mov 24(%[from]), %[w3]\n"
        "5: mov 32(%[from]), %[w4]\n"
        "6: mov 40(%[from]), %[w5]\n"
        "7: mov 48(%[from]), %[w6]\n"
        "8:\n"
        "   .section .fixup, \"ax\"\n"
        "9: mov %[fault], %[rc]\n"
        "   jmp 8b\n"
        "   .previous\n"
        _ASM_EXTABLE(1b, 9b)
        _ASM_EXTABLE(2b, 9b)
        _ASM_EXTABLE(3b, 9b)
        _ASM_EXTABLE(4b, 9b)
        _ASM_EXTABLE(5b, 9b)
        _ASM_EXTABLE(6b, 9b)
        _ASM_EXTABLE(7b, 9b)
        : [from] "+&r" (from), [rc] "+&r" (rc),
          [scratch0] "=&r" (scratch[0]), [scratch1] "=&r" (scratch[1]),
          [w0] "=&r" (to[0]), [w1] "=&r" (to[1]), [w2] "=&r" (to[2]),
          [w3] "=&r" (to[3]), [w4] "=&r" (to[4]), [w5] "=&r" (to[5]),
          [w6] "=&r" (to[6])
        : [fault] "i" (-EFAULT)
        : "memory" );
    clac();

    return rc;
}

/*
 * References to a guest's frame. What mm.c does in the common case is to change
 * one word of page_info, in functions that have to be ready for all others; so
 * that case is here, and each falls back on the function that it is named after.
 * Every get takes and gives back two such references, every put one.
 */

/*
 * mfn_valid(), which is a call; as that, where frames' numbers are compressed
 * (before Xen 4.19: wherever CONFIG_HAS_PDX is).
 */
static always_inline bool tmem_mfn_valid(unsigned long mfn)
{
#if defined(CONFIG_PDX_COMPRESSION) || defined(CONFIG_HAS_PDX)
    return mfn_valid(_mfn(mfn));
#else
    if ( unlikely(evaluate_nospec(mfn >= max_page)) )
        return false;

    return test_bit(mfn / PDX_GROUP_COUNT, pdx_group_valid);
#endif
}

/* For a PV guest: what get_page_from_gfn() comes to. NULL: not its frame. */
static always_inline struct page_info *tmem_get_frame(struct domain *d,
                                                      unsigned long mfn)
{
    struct page_info *page = mfn_to_page(_mfn(mfn));
    unsigned long x;

    if ( unlikely(!tmem_mfn_valid(mfn)) )
        return NULL;

    x = ACCESS_ONCE(page->count_info);
    /* The count's low bits: not free, and far from all that can be counted. */
    if ( likely((int)x > 0) &&
         likely(cmpxchg(&page->count_info, x, x + 1) == x) )
    {
        /* Only a frame with a reference keeps its owner. */
        if ( likely(page_get_owner(page) == d) )
            return page;
        put_page(page);
    }

    return get_page(page, d) ? page : NULL;
}

static always_inline void tmem_put_frame(struct page_info *page)
{
    unsigned long x = ACCESS_ONCE(page->count_info);

    if ( unlikely((int)x < 2) ||
         unlikely(cmpxchg(&page->count_info, x, x - 1) != x) )
        put_page(page);
}

/* Writable already, for others, and for nothing but that: one more, or less. */
#define TMEM_WRITABLE   (PGT_writable_page | PGT_validated)

static always_inline bool tmem_get_writable(struct page_info *page)
{
    unsigned long x = ACCESS_ONCE(page->u.inuse.type_info);

    if ( likely(x - TMEM_WRITABLE - 1 < PGT_count_mask - 1) &&
         likely(cmpxchg(&page->u.inuse.type_info, x, x + 1) == x) )
        return true;

    return get_page_type(page, PGT_writable_page);
}

static always_inline void tmem_put_writable(struct page_info *page)
{
    unsigned long x = ACCESS_ONCE(page->u.inuse.type_info);

    if ( unlikely(x - TMEM_WRITABLE - 2 >= PGT_count_mask - 1) ||
         unlikely(cmpxchg(&page->u.inuse.type_info, x, x - 1) != x) )
        put_page_type(page);
}

/*
 * Whether a guest's frame or tmem's own has an address without being mapped.
 * map_domain_page() has nothing to do for a frame in the direct map, but is a
 * call, saves flags and looks at the current vCPU to find that out: twice for
 * each page copied, and unmapping it again looks twice more. Not where
 * assertions check that all mappings are undone.
 *
 * Copying is between two frames, not copy_from_guest(): the ABI names a guest's
 * page by its frame's number, and need not have it mapped.
 */
static always_inline bool tmem_in_direct_map(const struct page_info *frame)
{
#ifdef NDEBUG
    return frame <= mfn_to_page(_mfn(PFN_DOWN(__pa(HYPERVISOR_VIRT_END - 1))));
#else
    return false;
#endif
}

/* Frames at hand: each knows the next, NULL: there is none. */
static always_inline void tmem_link_frame(struct page_info *frame,
                                          struct page_info *next)
{
    frame->tmem_next = next;
}

static always_inline struct page_info *tmem_unlink_frame(
    const struct page_info *frame)
{
    return frame->tmem_next;
}

#endif /* __ASM_X86_TMEM_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
