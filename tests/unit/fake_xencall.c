/* SPDX-License-Identifier: MIT */
/*
 * A Xen for tmemctl that has one guest, whose operations it makes up: in the environment,
 * TMEM_RECORDS is how many there will be, TMEM_LOST how many of them are overwritten, after the
 * first 1500; TMEM_REFUSES is the number of an error that every operation ends with. What was
 * asked goes to the file TMEM_LOG, a number a line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xencall.h>
#include <xen/sysctl.h>

#define BEFORE_LOSS     1500
#define AT_A_TIME       1000

static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : 0;
}

xencall_handle *xencall_open(void *logger, unsigned int flags)
{
    (void)logger;
    (void)flags;

    return malloc(1);
}

int xencall_close(xencall_handle *xcall)
{
    free(xcall);

    return 0;
}

void *xencall_alloc_buffer(xencall_handle *xcall, size_t bytes)
{
    (void)xcall;

    return malloc(bytes ? bytes : 1);
}

void xencall_free_buffer(xencall_handle *xcall, void *p)
{
    (void)xcall;
    free(p);
}

static void log_subop(uint32_t subop)
{
    const char *path = getenv("TMEM_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;

    if (!log)
        return;
    fprintf(log, "%u\n", subop);
    fclose(log);
}

static void read_trace(struct xen_sysctl_tmem_op *op)
{
    uint64_t from = op->u.trace.next, last = number_of("TMEM_RECORDS"), lost = number_of("TMEM_LOST");
    uint32_t nr = 0;

    op->u.trace.lost = 0;
    if (from == BEFORE_LOSS + 1 && lost) {
        op->u.trace.lost = lost;
        from += lost;
    }
    for (; nr < op->u.trace.nr && nr < AT_A_TIME && from <= last && (from != BEFORE_LOSS + 1 || !lost); nr++, from++)
        op->u.trace.to.p[nr] = (struct tmem_trace_record){
            .number = from, .time = 1000 + from / 100, .object = from << 4 | 3, .index = from % 7,
            .domid = 1, .kind = 1 + from % 13,
        };
    op->u.trace.nr = nr;
    op->u.trace.next = from;
    op->u.trace.now = 1000ULL << 24;
}

static int answer(struct xen_sysctl_tmem_op *op)
{
    static uint64_t hits = 10;

    switch (op->subop) {
    case TMEM_CONTROL_GLOBAL:
        memset(op->u.stats.to.global.p, 0, sizeof(*op->u.stats.to.global.p));
        op->u.stats.nr = 1;
        return 0;
    case TMEM_CONTROL_CLIENTS:
        memset(op->u.stats.to.clients.p, 0, sizeof(*op->u.stats.to.clients.p));
        op->u.stats.to.clients.p->domid = 1;
        op->u.stats.to.clients.p->ephemeral_gets = hits++;
        op->u.stats.nr = 1;
        return 0;
    case TMEM_CONTROL_POOLS:
    case TMEM_CONTROL_SHARED_POOLS:
        op->u.stats.nr = 0;
        return 0;
    case TMEM_CONTROL_TRACE_BEGIN:
        op->u.trace.now = 900ULL << 24;
        return op->u.trace.nr == 1 << 17 ? 0 : -EINVAL;
    case TMEM_CONTROL_TRACE_READ:
        read_trace(op);
        return 0;
    case TMEM_CONTROL_TRACE_END:
    case TMEM_CONTROL_TRACE_FREE:
        return 0;
    }

    return -ENOSYS;
}

int xencall1(xencall_handle *xcall, unsigned int op, uint64_t argument)
{
    struct xen_sysctl *sysctl = (void *)(uintptr_t)argument;
    int rc;

    (void)xcall;
    if (op != __HYPERVISOR_sysctl || sysctl->cmd != 24 || sysctl->u.tmem_op.version != TMEM_CONTROL_VERSION) {
        errno = EINVAL;
        return -1;
    }
    log_subop(sysctl->u.tmem_op.subop);
    rc = number_of("TMEM_REFUSES") ? -(int)number_of("TMEM_REFUSES") : answer(&sysctl->u.tmem_op);
    errno = rc < 0 ? -rc : errno;

    return rc < 0 ? -1 : rc;
}
