/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transcendent memory: a put of a page, in line with the hypercall; for op.c.
 */

#ifndef __TMEM_PUT_H__
#define __TMEM_PUT_H__

#include "guest.h"
#include "records.h"

/* How often a put looks for memory before it is refused. */
#define MAX_TRIES   4

static void touch(struct tmem_client *c, struct tmem_page *page)
{
    list_move_tail(&page->lru, &c->lru);
    page->stamp = tmem_now();
    ACCESS_ONCE(c->oldest) =
        list_entry(c->lru.next, struct tmem_page, lru)->stamp;
}

/* What a put that found no frame to read, or no memory, leaves behind. */
static noinline long put_refused(struct tmem_client *c, struct tmem_pool *pool,
                                 const tmem_op_t *op, uint64_t key,
                                 struct tmem_page *old, long rc,
                                 uint64_t start)
{
    tmem_trace(c, TMEM_TRACE_REFUSED, key, op->u.gen.index);
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
        return put_refused(c, pool, op, spot.key, page, -EFAULT, start);
    if ( c->frozen || ACCESS_ONCE(tmem_frozen) )
        return put_refused(c, pool, op, spot.key, page, -EFROZEN, start);

    if ( page && unlikely(ACCESS_ONCE(tmem_frames_marked)) &&
         tmem_must_leave(page) )
    {
        tmem_drop_page(c, page);
        pool->stats.dup_flushed++;
        page = NULL;
        spot.bucket = bucket_of(&c->pages, spot.hash);
    }

    if ( !page && !pool->persistent && unlikely(ACCESS_ONCE(c->cap)) )
    {
        tmem_make_room(c);
        spot.bucket = bucket_of(&c->pages, spot.hash);
    }

    if ( unlikely(new) || (page && unlikely(tmem_is_packed(page))) )
    {
        struct tmem_prepared plain = { };

        rc = tmem_put_content(c, pool, op, &spot, page, src, new ?: &plain);
        if ( rc == -ERESTART && may_retry )
            return rc;
        if ( rc != 1 )
        {
            c->stats.compress_refused += new && new->bytes;
            return put_refused(c, pool, op, spot.key, page, -ENOMEM, start);
        }
        tmem_trace(c, page ? TMEM_TRACE_OVER : TMEM_TRACE_PUT, spot.key,
                   op->u.gen.index);
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
        pool->last = page->object;
        copy_frame(c, page->frame, src, start);
        if ( !pool->persistent )
            touch(c, page);
        pool->stats.dup_replaced++;
        tmem_trace(c, TMEM_TRACE_OVER, spot.key, op->u.gen.index);
        goto done;
    }

    if ( !tmem_has_frame(c) || c->nr_spare < TMEM_SPARE_NEEDED )
        return may_retry ? -ERESTART
                         : put_refused(c, pool, op, spot.key, NULL, -ENOMEM,
                                       start);
    if ( pool->persistent &&
         !tmem_charge(c, 1, tmem_needs_slab(c, op, &spot)) )
        return put_refused(c, pool, op, spot.key, NULL, -ENOMEM, start);

    frame = tmem_take_frame(c);
    copy_frame(c, frame, src, start);
    page = tmem_enter_page(c, pool, op, &spot, frame);
    /* The index pages are at hand, or it would not have got here. */
    if ( unlikely(!page) )
    {
        tmem_broken_bound(c);
        tmem_release_frame(c, frame);
        if ( pool->persistent )
        {
            tmem_content_gone(c);
            tmem_settle(c);
        }
        return put_refused(c, pool, op, spot.key, NULL, -ENOMEM, start);
    }
    tmem_trace(c, TMEM_TRACE_PUT, spot.key, op->u.gen.index);

 done:
    pool->stats.puts++;
    if ( pool->persistent )
    {
        c->stats.persistent_puts++;
        pool->drained = false;
    }
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
                                   tmem_op_t *op, bool may_time)
{
    uint64_t start = may_time ? tmem_start(c) : 0;
    struct tmem_prepared made, *new = NULL;
    struct page_info *src = frame_get(d, op->u.gen.cmfn, false);
    struct tmem_pool *pool;
    unsigned int tries = 0;
    bool found;
    long rc;

    if ( src && unlikely(ACCESS_ONCE(c->compress) | ACCESS_ONCE(c->dedup)) &&
         !tmem_maybe_shared(c, op->pool_id) )
        new = tmem_prepare(c, op->pool_id, src, &made);

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
        add_sized(&c->stats.ops, 1);
        pool->stats.puts_tried++;
        rc = put_page_locked(c, pool, op, src, new, tries < MAX_TRIES, start);
        if ( unlikely(rc == -ERESTART) )
        {
            /* It is counted when it has been tried for good. */
            add_sized(&c->stats.ops, -1);
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

#endif /* __TMEM_PUT_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
