/* SPDX-License-Identifier: GPL-2.0-only */
/* Failures, messages, time, random numbers, boot. */

#include <stdarg.h>
#include <stdlib.h>

#include "world.h"

int system_state = SYS_STATE_active;

void shim_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "FAILED %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

void shim_printk(const char *format, ...)
{
    va_list args;

    if ( !getenv("HARNESS_VERBOSE") )
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

/* A quarter of a millisecond a look, so that stamps of ages differ, and agree, often. */
int64_t shim_now(void)
{
    static int64_t now;

    return __atomic_add_fetch(&now, 1 << 18, __ATOMIC_RELAXED);
}

static _Thread_local uint64_t random_state = 1;

void random_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
}

uint64_t random_64(void)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15ULL;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

uint32_t random_below(uint32_t limit)
{
    return ((random_64() >> 32) * limit) >> 32;
}

bool world_random_is_poor;

unsigned int get_random(void)
{
    return world_random_is_poor ? 4 : random_64();
}

#define MAX_INITCALLS   32
static int (*initcalls[MAX_INITCALLS])(void);
static unsigned int nr_initcalls;

void shim_register_initcall(int (*call)(void))
{
    if ( nr_initcalls == MAX_INITCALLS )
        abort();
    initcalls[nr_initcalls++] = call;
}

void shim_boot(void);
void shim_boot(void)
{
    unsigned int i;

    for ( i = 0; i < nr_initcalls; i++ )
        CHECK(!initcalls[i](), "initcall %u failed", i);
}
