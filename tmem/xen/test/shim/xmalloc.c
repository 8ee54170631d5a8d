/* SPDX-License-Identifier: GPL-2.0-only */
/* xmalloc() and its like: counted, failing when they are told to, and checked for what guests wrote. */

#include <stdlib.h>

#include "world.h"

static void (*before_xmalloc)(void);
static unsigned int before_which;       /* atomic; 0: none */
static unsigned long nr_xmallocs;       /* atomic */

struct chunk {
    size_t bytes;
    char data[] __aligned(64);
};

void world_before_xmalloc(unsigned int n, void (*hook)(void))
{
    before_xmalloc = hook;
    __atomic_store_n(&before_which, n, __ATOMIC_RELAXED);
}

void *shim_zalloc(size_t size)
{
    struct chunk *chunk;

    if ( __atomic_load_n(&before_which, __ATOMIC_RELAXED) &&
         !__atomic_sub_fetch(&before_which, 1, __ATOMIC_RELAXED) )
        before_xmalloc();
    shim_no_locks("an allocation");
    if ( shim_fault_now() )
        return NULL;
    chunk = aligned_alloc(64, ROUNDUP(sizeof(*chunk) + size, 64));
    CHECK(chunk, "the harness itself is out of memory");
    memset(chunk, 0, sizeof(*chunk) + size);
    chunk->bytes = size;
    __atomic_fetch_add(&nr_xmallocs, 1, __ATOMIC_RELAXED);

    return chunk->data;
}

void xfree(void *p)
{
    struct chunk *chunk;

    if ( !p )
        return;
    chunk = container_of(p, struct chunk, data);
    shim_no_secrets(p, chunk->bytes, "what xmalloc() gave");
    __atomic_fetch_sub(&nr_xmallocs, 1, __ATOMIC_RELAXED);
    free(chunk);
}

/* What is allocated once, whenever, and stays. */

unsigned long total_pages;

bool world_vmalloc_fails;
static unsigned long nr_vmallocs;       /* atomic */

void *shim_vzalloc(size_t size)
{
    shim_no_locks("an allocation");
    if ( world_vmalloc_fails )
        return NULL;
    __atomic_fetch_add(&nr_vmallocs, 1, __ATOMIC_RELAXED);

    return calloc(1, size);
}

void shim_vfree(void *p)
{
    shim_no_locks("giving memory back");
    __atomic_fetch_sub(&nr_vmallocs, !!p, __ATOMIC_RELAXED);
    free(p);
}

/* For the tests. */

unsigned long heap_xmallocs(void)
{
    return __atomic_load_n(&nr_xmallocs, __ATOMIC_RELAXED);
}

unsigned long heap_vmallocs(void)
{
    return __atomic_load_n(&nr_vmallocs, __ATOMIC_RELAXED);
}
