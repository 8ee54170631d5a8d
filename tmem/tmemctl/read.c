/* SPDX-License-Identifier: MIT */
/*
 * Asks Xen for tmem's counters: for tmemctl, and for the testbed's sampler.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tmemctl.h"

/* Which headers of a Xen without tmem do not name. */
#define SYSCTL_TMEM_OP      24

/* Memory that Xen can read and write. */
static void *buffer(xencall_handle *xcall, size_t bytes)
{
    void *p = xencall_alloc_buffer(xcall, bytes);

    if (p)
        memset(p, 0, bytes);
    else
        errno = ENOMEM;

    return p;
}

int tmem_control(xencall_handle *xcall, struct xen_sysctl_tmem_op *op)
{
    struct xen_sysctl *sysctl = buffer(xcall, sizeof(*sysctl));
    int rc, saved;

    _Static_assert(sizeof(*op) <= sizeof(sysctl->u), "the operation does not fit into a sysctl");

    if (!sysctl)
        return -1;
    op->version = TMEM_CONTROL_VERSION;
    sysctl->cmd = SYSCTL_TMEM_OP;
    sysctl->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    memcpy(&sysctl->u, op, sizeof(*op));
    rc = xencall1(xcall, __HYPERVISOR_sysctl, (uintptr_t)sysctl);
    saved = errno;
    memcpy(op, &sysctl->u, sizeof(*op));
    xencall_free_buffer(xcall, sysctl);
    errno = saved;

    return rc;
}

/*
 * Records of one kind, at most nr, into `to`. Returns how many there are, which
 * may be more than fitted, or -1.
 */
static int records(xencall_handle *xcall, uint32_t subop, uint32_t domid, void *to, size_t size, uint32_t nr)
{
    struct xen_sysctl_tmem_op op = { .subop = subop, .domid = domid, .u.stats.nr = nr };
    void *p = buffer(xcall, nr * size);
    int rc = -1, saved;

    if (!p)
        return -1;
    /* All handles are alike: the address of records. */
    set_xen_guest_handle(op.u.stats.to.global, p);
    if (tmem_control(xcall, &op) >= 0) {
        rc = op.u.stats.nr;
        memcpy(to, p, nr * size);
    }
    saved = errno;
    xencall_free_buffer(xcall, p);
    errno = saved;

    return rc;
}

static int read_clients(xencall_handle *xcall, struct reading *r)
{
    struct tmem_stats_client *stats = NULL;
    int room = 32, nr;

    for (;;) {
        struct tmem_stats_client *more = realloc(stats, room * sizeof(*stats));

        nr = -1;
        if (!more)
            break;
        stats = more;
        nr = records(xcall, TMEM_CONTROL_CLIENTS, 0, stats, sizeof(*stats), room);
        if (nr <= room)
            break;
        room = nr + 8;
    }
    if (nr >= 0)
        r->clients = calloc(nr ? nr : 1, sizeof(*r->clients));
    if (nr < 0 || !r->clients) {
        free(stats);
        return -1;
    }
    r->nr_clients = nr;
    for (int i = 0; i < nr; i++)
        r->clients[i].stats = stats[i];
    free(stats);

    return 0;
}

static unsigned int fitted(int nr, unsigned int most)
{
    return nr < 0 ? 0 : (unsigned int)nr < most ? (unsigned int)nr : most;
}

const char *tmem_read(xencall_handle *xcall, struct reading *r, bool pools)
{
    int nr;

    memset(r, 0, sizeof(*r));
    if (records(xcall, TMEM_CONTROL_GLOBAL, 0, &r->global, sizeof(r->global), 1) < 0)
        return "reading counters";
    if (read_clients(xcall, r) < 0)
        return "listing clients";
    if (!pools)
        return NULL;
    for (unsigned int i = 0; i < r->nr_clients; i++) {
        struct client *c = &r->clients[i];

        /* A guest that has gone since it was listed has no pools. */
        nr = records(xcall, TMEM_CONTROL_POOLS, c->stats.domid, c->pools, sizeof(c->pools[0]), MAX_POOLS);
        c->nr_pools = fitted(nr, MAX_POOLS);
    }
    nr = records(xcall, TMEM_CONTROL_SHARED_POOLS, 0, r->shared, sizeof(r->shared[0]), MAX_SHARED);
    if (nr < 0) {
        tmem_free(r);
        return "listing shared pools";
    }
    r->nr_shared = fitted(nr, MAX_SHARED);

    return NULL;
}

void tmem_free(struct reading *r)
{
    free(r->clients);
    r->clients = NULL;
    r->nr_clients = 0;
}
