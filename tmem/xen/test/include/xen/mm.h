/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames: a heap of a chosen size, references and types that are counted, and
 * guests' maps of their frames. See shim/heap.c and shim/domain.c.
 */
#ifndef SHIM_MM_H
#define SHIM_MM_H

#include <xen/list.h>
#include <xen/percpu.h>
#include <xen/spinlock.h>

#include <public/xen.h>

struct domain;

#define PAGE_SHIFT                  12
#define PAGE_SIZE                   (1UL << PAGE_SHIFT)
#define PAGE_MASK                   (~(PAGE_SIZE - 1))
#define PAGE_ALIGN(x)               (((x) + PAGE_SIZE - 1) & PAGE_MASK)

typedef struct { unsigned long value; } mfn_t;
typedef struct { unsigned long value; } gfn_t;
#define _mfn(n)                     ((mfn_t){ n })
#define mfn_x(m)                    ((m).value)
#define _gfn(n)                     ((gfn_t){ n })
#define gfn_x(g)                    ((g).value)

enum shim_use { FRAME_FREE, FRAME_DOMHEAP, FRAME_XENHEAP, FRAME_OFFLINED };

struct page_info {
    struct page_info *next, *prev;      /* on one list at most */
    bool listed;
    unsigned long count_info;           /* PGC_*; references are in count */
    enum shim_use use;
    struct domain *owner;               /* NULL: tmem's */
    unsigned int count;                 /* references; atomic */
    uint32_t type;                      /* type and its count; atomic */
    unsigned int mapped;                /* __map_domain_page()s; atomic */
    union {                             /* for the frames' user, as in Xen */
        struct { unsigned long type_info; } inuse;
        union { unsigned long units, sharers; } tmem;
    } u;
};

#define PGC_broken                  1UL
#define PGC_state                   6UL
#define PGC_state_inuse             0UL
#define PGC_state_offlining         2UL

#define PGT_none                    0U
#define PGT_l1_page_table           (1U << 28)
#define PGT_writable_page           (2U << 28)
#define PGT_type_mask               (15U << 28)
#define PGT_count_mask              ((1U << 28) - 1)

/* Lists of frames. */
struct page_list_head {
    struct page_info *next, *tail;
};

#define PAGE_LIST_HEAD(name)        struct page_list_head name = { NULL, NULL }
#define INIT_PAGE_LIST_HEAD(head)   ((void)((head)->next = (head)->tail = NULL))

bool page_list_empty(const struct page_list_head *head);
void page_list_add(struct page_info *page, struct page_list_head *head);
void page_list_add_tail(struct page_info *page, struct page_list_head *head);
void page_list_del(struct page_info *page, struct page_list_head *head);
struct page_info *page_list_remove_head(struct page_list_head *head);
void page_list_splice(struct page_list_head *from, struct page_list_head *head);
#define page_list_first(head)       ((head)->next)
#define page_list_for_each(pos, head) \
    for ( pos = (head)->next; pos; pos = pos->next )
#define page_list_for_each_safe(pos, n, head) \
    for ( pos = (head)->next; pos && (n = pos->next, true); pos = n )

/* The heap. */
#define MEMF_no_refcount            (1U << 1)
#define MEMF_no_owner               (1U << 5)
#define MEMF_no_scrub               (1U << 8)
#define MEMF_tmem                   (1U << 9)
#define MEMF_no_dma                 (1U << 3)
#define MEMF_exact_node             (1U << 4)
#define _MEMF_bits                  24      /* addresses of so many bits at most */
#define MEMF_bits(n)                ((unsigned int)(n) << _MEMF_bits)

struct page_info *alloc_domheap_pages(struct domain *d, unsigned int order,
                                      unsigned int memflags);
void free_domheap_pages(struct page_info *page, unsigned int order);
#define alloc_domheap_page(d, flags)    alloc_domheap_pages(d, 0, flags)
#define free_domheap_page(page)         free_domheap_pages(page, 0)
void *alloc_xenheap_pages(unsigned int order, unsigned int memflags);
void free_xenheap_pages(void *address, unsigned int order);
#define alloc_xenheap_page()            alloc_xenheap_pages(0, 0)
#define free_xenheap_page(address)      free_xenheap_pages(address, 0)
unsigned long avail_domheap_pages(void);
void get_outstanding_claims(uint64_t *free_pages, uint64_t *outstanding_pages);

void *shim_zalloc(size_t size);
void xfree(void *p);
#define xzalloc(type)                   ((type *)shim_zalloc(sizeof(type)))
#define xmalloc(type)                   xzalloc(type)
#define xzalloc_array(type, n)          ((type *)shim_zalloc(sizeof(type) * (n)))
#define xmalloc_array(type, n)          xzalloc_array(type, n)
#define xzalloc_bytes(n)                shim_zalloc(n)
#define xmalloc_bytes(n)                shim_zalloc(n)
#define xvzalloc(type)                  xzalloc(type)
#define xvmalloc(type)                  xzalloc(type)
#define xvzalloc_array(type, n)         xzalloc_array(type, n)
#define xvfree(p)                       xfree(p)
#define XFREE(p)                        do { xfree(p); (p) = NULL; } while ( 0 )
#define XVFREE(p)                       XFREE(p)

/* Of the hypervisor's, for as long as it runs: never given back. */
void *shim_vzalloc(size_t size);
void shim_vfree(void *p);
#define vzalloc(size)                   shim_vzalloc(size)
#define vfree(p)                        shim_vfree(p)
extern unsigned long total_pages;

/* Access to frames. */
void *__map_domain_page(const struct page_info *page);
void unmap_domain_page(const void *address);
#define map_domain_page(mfn)            __map_domain_page(mfn_to_page(mfn))
#define UNMAP_DOMAIN_PAGE(p)            do { unmap_domain_page(p); (p) = NULL; } while ( 0 )
mfn_t page_to_mfn(const struct page_info *page);
struct page_info *mfn_to_page(mfn_t mfn);
bool mfn_valid(mfn_t mfn);
void *page_to_virt(const struct page_info *page);
struct page_info *virt_to_page(const void *address);
#define virt_to_mfn(address)            mfn_x(page_to_mfn(virt_to_page(address)))
#define clear_page(address)             ((void)memset(address, 0, PAGE_SIZE))
#define copy_page(to, from)             ((void)memcpy(to, from, PAGE_SIZE))
static inline void clear_domain_page(mfn_t mfn)
{
    void *p = map_domain_page(mfn);

    clear_page(p);
    unmap_domain_page(p);
}

/* References and types. */
#define page_get_owner(page)            ((page)->owner)
bool get_page(struct page_info *page, const struct domain *d);
void put_page(struct page_info *page);
bool get_page_type(struct page_info *page, unsigned long type);
void put_page_type(struct page_info *page);
bool get_page_and_type(struct page_info *page, struct domain *d, unsigned long type);
void put_page_and_type(struct page_info *page);

/* A guest's frames by the guest's numbers. */
typedef enum {
    p2m_invalid, p2m_ram_rw, p2m_ram_ro, p2m_mmio_direct, p2m_ram_paged
} p2m_type_t;
#define p2m_is_readonly(type)           ((type) == p2m_ram_ro)
#define p2m_is_discard_write(type)      ((type) == p2m_ram_ro)
#define p2m_is_ram(type)                ((type) == p2m_ram_rw || (type) == p2m_ram_ro)
int check_get_page_from_gfn(struct domain *d, gfn_t gfn, bool readonly,
                            p2m_type_t *type, struct page_info **page);
void paging_mark_dirty(struct domain *d, mfn_t mfn);

/* A guest that sees machine frames has no types of its own: read and write, or nothing. */
#define P2M_ALLOC                       1
#define P2M_UNSHARE                     2
struct page_info *get_page_from_gfn(struct domain *d, unsigned long gfn,
                                    p2m_type_t *type, unsigned int query);
#define paging_mode_translate(d)        ((d)->translated)
#define paging_mode_log_dirty(d)        ((d)->translated)

/* The charge for memory; callers hold d->page_alloc_lock. */
unsigned int domain_adjust_tot_pages(struct domain *d, long pages);
unsigned int domain_tot_pages(const struct domain *d);

#endif
