/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: the hypercall, and the operations that guests make
 * most: put, get and flush of a page.
 *
 * Everything in an operation comes from a guest. Frames are looked at only
 * through a reference that proves the guest's right to them: to read for a
 * put, to write for a get. An operation that fails leaves everything as it
 * was, but for a put over an older page, which drops that page: a later get
 * must not find data that the guest believes replaced.
 */

#include <xen/guest_access.h>
#include <xen/hypercall.h>
#include <xen/mm.h>

#include <asm/p2m.h>
#include <asm/paging.h>
#include <asm/tmem.h>

#include "records.h"

/* How often a put looks for memory before it is refused. */
#define MAX_TRIES   4

/*
 * What every operation does is inline in do_tmem_op(), with the constants of
 * each, which saves calls and what they keep in memory.
 */

/* NULL: the guest may not read, or write, that frame. */
static always_inline struct page_info *frame_get(struct domain *d,
                                                 xen_pfn_t cmfn, bool write)
{
    struct page_info *frame;

    if ( likely(!paging_mode_translate(d)) )
    {
        /* No types, nothing paged or shared: what the call below comes to. */
        frame = get_page_from_gfn(d, cmfn, NULL, P2M_ALLOC);
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

    if ( write && !get_page_type(frame, PGT_writable_page) )
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
        put_page_and_type(frame);
    }
    else
        put_page(frame);
}

static always_inline void copy_frame(struct tmem_client *c,
                                     struct page_info *to,
                                     struct page_info *from, bool timed)
{
    void *dst = tmem_map_frame(to);
    const void *src = tmem_map_frame(from);
    uint64_t start = unlikely(timed) ? rdtsc() : 0;

    memcpy(__builtin_assume_aligned(dst, PAGE_SIZE),
           __builtin_assume_aligned(src, PAGE_SIZE), PAGE_SIZE);
    if ( unlikely(timed) )
        tmem_time(c, TMEM_TIME_COPY, rdtsc() - start);
    tmem_unmap_frame(src);
    tmem_unmap_frame(dst);
}

static void touch(struct tmem_client *c, struct tmem_page *page)
{
    list_move_tail(&page->lru, &c->lru);
    page->stamp = tmem_now();
    c->oldest = list_entry(c->lru.next, struct tmem_page, lru)->stamp;
}

/* What a put that found no frame to read, or no memory, leaves behind. */
static noinline long put_refused(struct tmem_client *c, struct tmem_pool *pool,
                                 struct tmem_page *old, long rc,
                                 uint64_t start)
{
    if ( old )
    {
        tmem_drop_page(c, old);
        pool->stats.dup_flushed++;
    }
    if ( rc == -ENOMEM )
    {
        pool->stats.puts_refused++;
        if ( pool->persistent )
            c->persistent_refused++;
        else
            c->ephemeral_refused++;
    }
    else if ( rc == -EFAULT )
        c->failed_copies++;
    c->stats.errors += rc == -EFAULT;
    tmem_account(c, TMEM_TIME_PUT_FAIL, start);

    return rc;
}

static always_inline long put_page_locked(
    struct tmem_client *c, struct tmem_pool *pool, const tmem_op_t *op,
    struct page_info *src, struct tmem_prepared *new, bool may_retry,
    uint64_t start)
{
    struct tmem_spot spot;
    struct tmem_page *page = tmem_find_page(c, pool, op, &spot);
    struct page_info *frame;
    long rc;

    if ( !src )
        return put_refused(c, pool, page, -EFAULT, start);
    if ( c->frozen || ACCESS_ONCE(tmem_frozen) )
        return put_refused(c, pool, page, -EFROZEN, start);

    if ( !page && !pool->persistent && unlikely(ACCESS_ONCE(c->cap)) )
    {
        tmem_make_room(c);
        spot.bucket = bucket_of(&c->pages, spot.hash);
    }

    if ( unlikely(new->data) || (page && unlikely(tmem_is_packed(page))) )
    {
        rc = tmem_put_content(c, pool, op, &spot, page, src, new);
        if ( rc == -ERESTART && may_retry )
            return rc;
        if ( rc != 1 )
        {
            c->stats.compress_refused += new->bytes != 0;
            return put_refused(c, pool, page, -ENOMEM, start);
        }
        if ( page )
        {
            if ( !pool->persistent )
                touch(c, page);
            pool->stats.dup_replaced++;
        }
        goto done;
    }

    if ( page )
    {
        copy_frame(c, page->frame, src, start);
        if ( !pool->persistent )
            touch(c, page);
        pool->stats.dup_replaced++;
        goto done;
    }

    if ( !c->nr_free || c->nr_spare < TMEM_SPARE_NEEDED )
        return may_retry ? -ERESTART
                         : put_refused(c, pool, NULL, -ENOMEM, start);
    if ( pool->persistent && !tmem_charge(c->domain) )
        return put_refused(c, pool, NULL, -ENOMEM, start);

    frame = tmem_take_frame(c);
    copy_frame(c, frame, src, start);
    /* Can't fail: the index pages are at hand. */
    page = tmem_enter_page(c, pool, op, &spot, frame);
    BUG_ON(!page);

 done:
    pool->stats.puts++;
    if ( pool->persistent )
        c->stats.persistent_puts++;
    else
        c->ephemeral_puts++;
    tmem_account(c, TMEM_TIME_PUT_OK, start);

    return 1;
}

/*
 * An operation on a pool that is not the client's own: there is none, or it is
 * a shared one, which an operation on a page that is there finds out last.
 */
static noinline long other_pool_op(struct domain *d, struct tmem_client *c,
                                   tmem_op_t *op);

static always_inline long tmem_put(struct domain *d, struct tmem_client *c,
                                   tmem_op_t *op)
{
    uint64_t start = tmem_start(c);
    struct tmem_prepared new = { };
    struct page_info *src = frame_get(d, op->u.gen.cmfn, false);
    struct tmem_pool *pool;
    unsigned int tries = 0;
    bool found;
    long rc;

    if ( src && unlikely(ACCESS_ONCE(c->compress) || ACCESS_ONCE(c->dedup)) &&
         !tmem_maybe_shared(c, op->pool_id) )
        tmem_prepare(c, op->pool_id, src, &new);

    for ( ; ; )
    {
        spin_lock(&c->lock);
        pool = tmem_find_pool(c, op->pool_id);
        if ( unlikely(!pool) )
        {
            spin_unlock(&c->lock);
            rc = other_pool_op(d, c, op);
            break;
        }
        c->stats.ops++;
        pool->stats.puts_tried++;
        rc = put_page_locked(c, pool, op, src, &new, tries < MAX_TRIES, start);
        if ( unlikely(rc == -ERESTART) )
        {
            /* It is counted when it has been tried for good. */
            c->stats.ops--;
            pool->stats.puts_tried--;
        }
        spin_unlock(&c->lock);

        if ( likely(rc != -ERESTART) )
            break;
        /* Other vCPUs of this guest may be quicker to use what we get. */
        found = ACCESS_ONCE(c->nr_free) ||
                tmem_refill(c, tmem_is_persistent(c, op->pool_id));
        tries = found && tmem_index_reserve(c) ? tries + 1 : MAX_TRIES;
    }

    if ( src )
        frame_put(d, src, false);

    return rc;
}

/* Of a page that is not stored plain. */
static noinline bool get_packed(struct tmem_client *c, struct tmem_pool *pool,
                                struct tmem_page *page, struct page_info *dst)
{
    if ( !tmem_get_content(c, page, dst) )
        return false;

    if ( pool->persistent )
        c->stats.persistent_gets++;
    else
    {
        c->stats.ephemeral_gets++;
        if ( pool->stats.shared )
            touch(c, page);
        else
            tmem_drop_page(c, page);
    }

    return true;
}

static always_inline void get_plain(struct tmem_client *c,
                                    struct tmem_pool *pool,
                                    struct tmem_page *page, uint64_t *bucket,
                                    struct page_info *dst, bool timed)
{
    copy_frame(c, dst, page->frame, timed);

    if ( pool->persistent )
    {
        c->stats.persistent_gets++;
        return;
    }

    c->stats.ephemeral_gets++;
    /* What is shared stays for the other sharers. */
    if ( unlikely(pool->stats.shared) )
        touch(c, page);
    else
        tmem_release_frame(c, tmem_leave_page(c, pool, false, page, bucket));
}

/*
 * -ERESTART, and nothing has been counted: it is a hit, and there is no frame
 * to copy to.
 */
static always_inline long get_once(struct domain *d, struct tmem_client *c,
                                   tmem_op_t *op, bool with_frame)
{
    uint64_t start = tmem_start(c);
    struct page_info *dst = NULL;
    struct tmem_spot spot;
    struct tmem_pool *pool;
    struct tmem_page *page;
    long rc = 1;

    if ( with_frame )
        dst = frame_get(d, op->u.gen.cmfn, true);

    spin_lock(&c->lock);
    pool = tmem_find_pool(c, op->pool_id);
    if ( unlikely(!pool) )
    {
        spin_unlock(&c->lock);
        rc = other_pool_op(d, c, op);
        goto out;
    }
    page = tmem_find_page(c, pool, op, &spot);
    if ( page && !with_frame )
    {
        ACCESS_ONCE(c->hit) = true;
        spin_unlock(&c->lock);
        return -ERESTART;
    }

    c->stats.ops++;
    pool->stats.gets_tried++;
    if ( !page )
    {
        if ( with_frame )
            ACCESS_ONCE(c->hit) = false;
        rc = pool->used ? 0 : -EEMPTY;
        tmem_account(c, TMEM_TIME_GET_MISS, start);
    }
    else
    {
        if ( likely(dst) && likely(!tmem_is_packed(page)) )
            get_plain(c, pool, page, spot.bucket, dst, start);
        else if ( !dst || !get_packed(c, pool, page, dst) )
            rc = -EFAULT;

        if ( likely(rc == 1) )
        {
            pool->stats.gets++;
            tmem_account(c, TMEM_TIME_GET_HIT, start);
        }
        else
        {
            c->stats.errors++;
            c->failed_copies++;
            tmem_account(c, TMEM_TIME_GET_MISS, start);
        }
    }
    spin_unlock(&c->lock);

 out:
    if ( dst )
        frame_put(d, dst, true);

    return rc;
}

static always_inline long tmem_get(struct domain *d, struct tmem_client *c,
                                   tmem_op_t *op)
{
    long rc;

    /*
     * Only a hit needs the frame, and references to frames are not taken
     * under a client's lock. Hits follow hits, mostly, so a guess saves the
     * second look.
     */
    if ( !ACCESS_ONCE(c->hit) )
    {
        rc = get_once(d, c, op, false);
        if ( likely(rc != -ERESTART) )
            return rc;
    }

    return get_once(d, c, op, true);
}

static always_inline long tmem_flush_page(struct domain *d,
                                          struct tmem_client *c,
                                          tmem_op_t *op)
{
    uint64_t start = tmem_start(c);
    struct tmem_spot spot;
    struct tmem_pool *pool;
    struct tmem_page *page;

    spin_lock(&c->lock);
    pool = tmem_find_pool(c, op->pool_id);
    if ( unlikely(!pool) )
    {
        spin_unlock(&c->lock);
        return other_pool_op(d, c, op);
    }
    c->stats.ops++;
    pool->stats.flushes_tried++;
    page = tmem_find_page(c, pool, op, &spot);
    if ( page )
    {
        tmem_drop_page(c, page);
        pool->stats.flushes++;
    }
    tmem_account(c, TMEM_TIME_FLUSH, start);
    spin_unlock(&c->lock);

    return 1;
}

static noinline long page_op(struct domain *d, struct tmem_client *c,
                             tmem_op_t *op)
{
    switch ( op->cmd )
    {
    case TMEM_PUT_PAGE:
        return tmem_put(d, c, op);

    case TMEM_GET_PAGE:
        return tmem_get(d, c, op);

    case TMEM_FLUSH_PAGE:
        return tmem_flush_page(d, c, op);

    default:
        return tmem_flush_object(c, op);
    }
}

static noinline long other_pool_op(struct domain *d, struct tmem_client *c,
                                   tmem_op_t *op)
{
    uint64_t start = rdtsc();
    bool frozen = false, refused;
    struct tmem_client *shared = NULL;
    long rc;

    if ( tmem_maybe_shared(c, op->pool_id) )
        shared = tmem_shared_enter(c, op->pool_id, &frozen);
    if ( !shared )
    {
        spin_lock(&c->lock);
        c->stats.ops++;
        c->stats.errors++;
        spin_unlock(&c->lock);
        return -ENODEV;
    }

    op->pool_id = 0;
    /* The pool is not frozen, one of its users is: drop what it had put. */
    refused = frozen && op->cmd == TMEM_PUT_PAGE;
    if ( refused )
        op->cmd = TMEM_FLUSH_PAGE;
    /* That client has no shared pools of its own, so this does not go on. */
    rc = page_op(d, shared, op);
    tmem_shared_exit(c, rdtsc() - start, op->cmd == TMEM_GET_PAGE && rc == 1);

    return refused && rc > 0 ? -EFROZEN : rc;
}

/* One read of everything: what a guest can write must not be read twice. */
static always_inline int read_op(const struct domain *d, tmem_op_t *op,
                                 XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop)
{
    BUILD_BUG_ON(sizeof(*op) != TMEM_OP_WORDS * sizeof(uint64_t));

    if ( unlikely(is_hvm_domain(d)) )
        return copy_from_guest(op, uop, 1) ? -EFAULT : 0;

    return tmem_fetch_op((uint64_t *)op, uop.p);
}

/* All but the operations on single pages. */
static noinline long rare_op(struct domain *d, struct tmem_client *c,
                             tmem_op_t *op,
                             XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop)
{
    long rc;

    switch ( op->cmd )
    {
    case TMEM_FLUSH_OBJECT:
        rc = tmem_maybe_shared(c, op->pool_id) ? other_pool_op(d, c, op)
                                               : tmem_flush_object(c, op);
        break;

    case TMEM_CONTROL:
        rc = tmem_control(uop, op);
        break;

    case TMEM_NEW_POOL:
        rc = tmem_new_pool(d, op);
        break;

    case TMEM_DESTROY_POOL:
        rc = c ? tmem_destroy_pool(c, op->pool_id) : 0;
        break;

    default:
        rc = -ENOSYS;
        break;
    }

    if ( rc == -ERESTART )
        rc = hypercall_create_continuation(__HYPERVISOR_tmem_op, "h", uop);

    return rc;
}

/* Of a domain that has not made a pool yet. */
static noinline long first_op(struct domain *d,
                              XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop)
{
    tmem_op_t op;

    if ( !opt_tmem )
        return -ENODEV;
    if ( read_op(d, &op, uop) )
        return -EFAULT;
    if ( op.cmd >= TMEM_PUT_PAGE && op.cmd <= TMEM_FLUSH_OBJECT )
        return -ENODEV;

    return rare_op(d, NULL, &op, uop);
}

long do_tmem_op(XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop)
{
    struct domain *d = current->domain;
    struct tmem_client *c = ACCESS_ONCE(d->tmem);
    tmem_op_t op;

    if ( unlikely(!c) )
        return first_op(d, uop);
    if ( unlikely(read_op(d, &op, uop)) )
        return -EFAULT;

    if ( op.cmd == TMEM_GET_PAGE )
        return tmem_get(d, c, &op);
    if ( op.cmd == TMEM_PUT_PAGE )
        return tmem_put(d, c, &op);
    if ( op.cmd == TMEM_FLUSH_PAGE )
        return tmem_flush_page(d, c, &op);

    return rare_op(d, c, &op, uop);
}
