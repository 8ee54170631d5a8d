/* SPDX-License-Identifier: GPL-2.0-only */
/* Allocations that fail on demand. */

#include "world.h"

static unsigned long faults_left, faults_hit;   /* atomic */
static bool faults_go_on;
static unsigned int fault_per_mille;
static uint64_t fault_state;

void fault_at(unsigned long n, bool all_after)
{
    fault_none();
    faults_left = n;
    faults_go_on = all_after;
}

void fault_probability(unsigned int per_mille, uint64_t seed)
{
    fault_none();
    fault_per_mille = per_mille;
    fault_state = seed;
}

void fault_none(void)
{
    faults_left = faults_hit = 0;
    faults_go_on = false;
    fault_per_mille = 0;
}

unsigned long fault_hits(void)
{
    return __atomic_load_n(&faults_hit, __ATOMIC_RELAXED);
}

bool shim_fault_now(void)
{
    unsigned long left = __atomic_load_n(&faults_left, __ATOMIC_RELAXED);
    bool hit = false;

    if ( left == 1 )
    {
        hit = true;
        if ( !faults_go_on )
            __atomic_store_n(&faults_left, 0, __ATOMIC_RELAXED);
    }
    else if ( left )
        __atomic_fetch_sub(&faults_left, 1, __ATOMIC_RELAXED);
    if ( fault_per_mille )
    {
        uint64_t x = __atomic_add_fetch(&fault_state, 0x9e3779b97f4a7c15ULL, __ATOMIC_RELAXED);

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        hit |= (x >> 32) % 1000 < fault_per_mille;
    }
    if ( hit )
        __atomic_fetch_add(&faults_hit, 1, __ATOMIC_RELAXED);

    return hit;
}
