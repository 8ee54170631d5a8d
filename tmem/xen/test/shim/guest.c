/* SPDX-License-Identifier: GPL-2.0-only */
/* Hypercalls as a guest's vCPU makes them: its memory, preemption, continuations. */

#include <xen/hypercall.h>

#include <asm/tmem.h>

#include <xsm/xsm.h>

#include "world.h"

void (*world_between)(const tmem_op_t *op);

const struct domain *world_denied;

unsigned int shim_preempt_percent;

static _Thread_local struct vcpu vcpu;
static _Thread_local const void *continuation;

unsigned int shim_cpu(void)
{
    static unsigned int threads;
    static _Thread_local unsigned int cpu_plus_1;

    /* The main thread's is its own. */
    if ( !cpu_plus_1 )
    {
        unsigned int nr = __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);

        cpu_plus_1 = (nr ? 1 + (nr - 1) % (SHIM_CPUS - 1) : 0) + 1;
    }

    return cpu_plus_1 - 1;
}

/* A thread that has entered no domain is Xen itself. */
struct vcpu *shim_current(void)
{
    static struct domain idle = { .domain_id = DOMID_IDLE };
    static struct vcpu of_idle = { .domain = &idle };

    return vcpu.domain ? &vcpu : &of_idle;
}

void shim_domain_is_gone(const struct domain *d)
{
    if ( vcpu.domain == d )
        vcpu.domain = NULL;
}

void world_enter(struct domain *d)
{
    vcpu.domain = d;
}

int xsm_tmem_use(int action)
{
    return current->domain == world_denied ? -EACCES : 0;
}

bool hypercall_preempt_check(void)
{
    shim_no_locks("looking for other work");
    return random_below(100) < shim_preempt_percent;
}

#define MAX_RANGES  16
static _Thread_local struct { const char *p; size_t bytes; } ranges[MAX_RANGES];
static _Thread_local unsigned int next_range;

void world_guest_range(void *p, size_t bytes)
{
    unsigned int i;

    for ( i = 0; i < MAX_RANGES; i++ )
        if ( (char *)p >= ranges[i].p && (char *)p < ranges[i].p + ranges[i].bytes )
            ranges[i].bytes = 0;
    ranges[next_range].p = p;
    ranges[next_range].bytes = bytes;
    next_range = (next_range + 1) % MAX_RANGES;
}

void world_guest_range_only(void *p, size_t bytes)
{
    memset(ranges, 0, sizeof(ranges));
    world_guest_range(p, bytes);
}

static bool in_range(const void *p, size_t bytes)
{
    unsigned int i;

    shim_no_locks("a copy from or to a guest");
    for ( i = 0; i < MAX_RANGES; i++ )
        if ( (const char *)p >= ranges[i].p && bytes <= ranges[i].bytes &&
             (size_t)((const char *)p - ranges[i].p) <= ranges[i].bytes - bytes )
            return true;

    return false;
}

unsigned long shim_copy_from_guest(void *to, const void *from, size_t bytes)
{
    if ( !in_range(from, bytes) )
        return 1;
    memcpy(to, from, bytes);

    return 0;
}

bool shim_guest_word(const void *address, uint64_t *word)
{
    return !shim_copy_from_guest(word, address, sizeof(*word));
}

unsigned long shim_copy_to_guest(void *to, const void *from, size_t bytes)
{
    if ( !in_range(to, bytes) )
        return 1;
    memcpy(to, from, bytes);

    return 0;
}

long shim_continue(const void *argument)
{
    continuation = argument;
    return -ERESTART;
}

long world_op(tmem_op_t *op)
{
    XEN_GUEST_HANDLE_PARAM(tmem_op_t) uop = { op };
    long rc;

    CHECK(vcpu.domain, "this thread is no vCPU: world_enter()");
    for ( ; ; )
    {
        continuation = NULL;
        rc = op->cmd == TMEM_CONTROL ? shim_sysctl((tmem_control_t *)op) : do_tmem_op(uop);
        CHECK(!shim_locks_held(), "the hypercall returned with a lock held");
        CHECK(!shim_mappings(), "the hypercall returned with a frame mapped");
        CHECK(!shim_rcu_depth(), "the hypercall returned inside an RCU critical section");
        if ( !continuation )
            break;
        CHECK(rc == -ERESTART && continuation == op, "a continuation of another operation");
        if ( world_between )
            world_between(op);
    }
    CHECK(rc != -ERESTART, "the guest sees -ERESTART");

    return rc;
}
