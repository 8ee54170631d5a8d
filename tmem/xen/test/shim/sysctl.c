/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What do_sysctl() does around tmem_control(): the operation is copied in and
 * out, and the caller's right to it is checked. Cases say it flat, and all alike.
 */

#include <xen/guest_access.h>
#include <xen/tmem.h>

#include "world.h"

static void tell(struct xen_sysctl_tmem_op *op, const tmem_control_t *flat)
{
    *op = (struct xen_sysctl_tmem_op){
        .version = flat->version, .subop = flat->subop, .domid = flat->domid, .pad = flat->pad,
    };
    switch ( flat->subop )
    {
    case TMEM_CONTROL_GLOBAL:
        op->u.stats.to.global.p = (void *)flat->buf;
        break;
    case TMEM_CONTROL_CLIENTS:
        op->u.stats.to.clients.p = (void *)flat->buf;
        break;
    case TMEM_CONTROL_POOLS:
        op->u.stats.to.pools.p = (void *)flat->buf;
        break;
    case TMEM_CONTROL_SHARED_POOLS:
        op->u.stats.to.shared.p = (void *)flat->buf;
        break;
    case TMEM_CONTROL_FLUSH:
        op->u.flush.pages = flat->value;
        break;
    case TMEM_CONTROL_SET:
        op->u.set.setting = flat->nr;
        op->u.set.value = flat->value;
        break;
    case TMEM_CONTROL_SHARED_AUTH:
        op->u.shared_auth.uuid[0] = flat->buf;
        op->u.shared_auth.uuid[1] = flat->value;
        op->u.shared_auth.allowed = flat->nr;
        break;
    case TMEM_CONTROL_TRACE_BEGIN:
    case TMEM_CONTROL_TRACE_READ:
        op->u.trace.nr = flat->nr;
        op->u.trace.next = flat->value;
        op->u.trace.to.p = (void *)flat->buf;
        break;
    }
    switch ( flat->subop )
    {
    case TMEM_CONTROL_GLOBAL:
    case TMEM_CONTROL_CLIENTS:
    case TMEM_CONTROL_POOLS:
    case TMEM_CONTROL_SHARED_POOLS:
        op->u.stats.nr = flat->nr;
    }
}

static void hear(tmem_control_t *flat, const struct xen_sysctl_tmem_op *op)
{
    switch ( flat->subop )
    {
    case TMEM_CONTROL_CLIENTS:
    case TMEM_CONTROL_POOLS:
    case TMEM_CONTROL_SHARED_POOLS:
        flat->nr = op->u.stats.nr;
        break;
    case TMEM_CONTROL_FREEABLE:
        flat->value = op->u.freeable.pages;
        break;
    case TMEM_CONTROL_FLUSH:
        flat->value = op->u.flush.freed;
        flat->dropped = op->u.flush.dropped;
        break;
    case TMEM_CONTROL_TRACE_READ:
        flat->nr = op->u.trace.nr;
        flat->value = op->u.trace.next;
        flat->dropped = op->u.trace.lost;
        break;
    }
}

long shim_sysctl(tmem_control_t *guests)
{
    struct xen_sysctl_tmem_op op;
    tmem_control_t flat;
    long rc;

    if ( shim_copy_from_guest(&flat, guests, sizeof(flat)) )
        return -EFAULT;
    if ( !is_control_domain(current->domain) )
        return -EPERM;
    tell(&op, &flat);
    rc = tmem_control(&op);
    if ( rc == -ERESTART )
        return shim_continue(guests);
    hear(&flat, &op);
    if ( !rc && shim_copy_to_guest(guests, &flat, sizeof(flat)) )
        return -EFAULT;

    return rc;
}
