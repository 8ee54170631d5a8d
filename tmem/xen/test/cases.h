/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TMEM_TEST_CASES_H
#define TMEM_TEST_CASES_H

#include <stdint.h>

/* One test case. It returns, or the program ends with what failed. */
struct test_case {
    const char *name;
    /* scale: 1 takes about a second; a soak asks for more. */
    void (*run)(uint64_t seed, unsigned int scale);
};

#define CASE(fn)        { .name = #fn, .run = fn }
#define END_OF_CASES    { 0 }

extern const struct test_case random_cases[], fault_cases[], race_cases[], death_cases[], index_cases[],
    control_cases[], policy_cases[], shared_cases[], hostile_cases[], claim_cases[], guest_cases[],
    charge_cases[], gain_cases[], trace_cases[], replay_cases[];

#endif
