/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: the hypercall, and the operations that guests make
 * most: put, get and flush of a page.
 *
 * Everything in an operation comes from a guest. An operation that fails
 * leaves everything as it was, but for a put over an older page, which drops
 * that page: a later get must not find data that the guest believes replaced.
 */

#include <xen/guest_access.h>
#include <xen/hypercall.h>

#include <xsm/xsm.h>

#include "put.h"

/*
 * What every operation does is inline in do_tmem_op(), with the constants of
 * each, which saves calls and what they keep in memory.
 */

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
                                   tmem_op_t *op, bool with_frame,
                                   bool may_time)
{
    uint64_t start = may_time ? tmem_start(c) : 0;
    struct page_info *dst = NULL;
    struct tmem_spot spot;
    struct tmem_pool *pool;
    struct tmem_page *page;
    bool lost = false;
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

    add_sized(&c->stats.ops, 1);
    pool->stats.gets_tried++;
    if ( unlikely(ACCESS_ONCE(tmem_frames_marked)) && page &&
         tmem_is_lost(page) )
    {
        lost = pool->persistent;
        if ( !lost )
        {
            tmem_drop_page(c, page);
            page = NULL;
        }
    }
    if ( !page )
    {
        if ( with_frame )
            ACCESS_ONCE(c->hit) = false;
        rc = pool->used ? 0 : -EEMPTY;
        tmem_trace(c, TMEM_TRACE_MISS, spot.key, op->u.gen.index);
        tmem_account(c, TMEM_TIME_GET_MISS, start);
    }
    else
    {
        pool->last = page->object;
        if ( unlikely(lost) )
            rc = -EFAULT;
        else if ( likely(dst) && likely(!tmem_is_packed(page)) )
            get_plain(c, pool, page, spot.bucket, dst, start);
        else if ( !dst || !get_packed(c, pool, page, dst) )
            rc = -EFAULT;

        if ( likely(rc == 1) )
        {
            pool->stats.gets++;
            tmem_trace(c, TMEM_TRACE_HIT, spot.key, op->u.gen.index);
            tmem_account(c, TMEM_TIME_GET_HIT, start);
        }
        else
        {
            c->stats.errors++;
            c->failed_copies++;
            tmem_trace(c, TMEM_TRACE_FAILED, spot.key, op->u.gen.index);
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
                                   tmem_op_t *op, bool may_time)
{
    long rc;

    /*
     * Only a hit needs the frame, and references to frames are not taken
     * under a client's lock. Hits follow hits, mostly, so a guess saves the
     * second look.
     */
    if ( !ACCESS_ONCE(c->hit) )
    {
        rc = get_once(d, c, op, false, may_time);
        if ( likely(rc != -ERESTART) )
            return rc;
    }

    return get_once(d, c, op, true, may_time);
}

static always_inline long tmem_flush_page(struct domain *d,
                                          struct tmem_client *c,
                                          tmem_op_t *op, bool may_time)
{
    uint64_t start = may_time ? tmem_start(c) : 0;
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
    add_sized(&c->stats.ops, 1);
    pool->stats.flushes_tried++;
    page = tmem_find_page(c, pool, op, &spot);
    tmem_trace(c, page ? TMEM_TRACE_FLUSH : TMEM_TRACE_NO_FLUSH, spot.key,
               op->u.gen.index);
    if ( page )
    {
        tmem_drop_page(c, page);
        pool->stats.flushes++;
    }
    tmem_account(c, TMEM_TIME_FLUSH, start);
    spin_unlock(&c->lock);

    return 1;
}

/* Not in line: on a shared pool, or timed. */
static noinline long page_op(struct domain *d, struct tmem_client *c,
                             tmem_op_t *op)
{
    switch ( op->cmd )
    {
    case TMEM_PUT_PAGE:
        return tmem_put(d, c, op, true);

    case TMEM_GET_PAGE:
        return tmem_get(d, c, op, true);

    case TMEM_FLUSH_PAGE:
        return tmem_flush_page(d, c, op, true);

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
        add_sized(&c->stats.ops, 1);
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

    case TMEM_DRAINED:
        rc = c ? tmem_set_drained(c, op) : -ENODEV;
        break;

    case TMEM_NEW_POOL:
        rc = xsm_tmem_use(XSM_HOOK) ?: tmem_new_pool(d, op);
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

    if ( unlikely(op.cmd < TMEM_PUT_PAGE || op.cmd > TMEM_FLUSH_PAGE) )
        return rare_op(d, c, &op, uop);

    /* What is timed is the same: nothing else is in line here. */
    if ( unlikely(tmem_timed(c)) )
        return page_op(d, c, &op);
    if ( op.cmd == TMEM_GET_PAGE )
        return tmem_get(d, c, &op, false);
    if ( op.cmd == TMEM_PUT_PAGE )
        return tmem_put(d, c, &op, false);

    return tmem_flush_page(d, c, &op, false);
}
