/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * harness [--seed N] [--scale N] [CASE...]: runs the cases named, or all, and
 * reports in TAP. The first failure ends the program, which says where.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

static const struct test_case *const groups[] = {
    random_cases, fault_cases, death_cases, index_cases, control_cases, race_cases,
    policy_cases, shared_cases, hostile_cases, claim_cases, guest_cases, charge_cases, gain_cases,
    trace_cases, replay_cases,
};

#define NR_GROUPS   (sizeof(groups) / sizeof(*groups))

static int wanted(const char *name, char **names, int nr)
{
    int i;

    for ( i = 0; i < nr; i++ )
        if ( !strcmp(names[i], name) )
            return 1;

    return !nr;
}

int main(int argc, char **argv)
{
    unsigned int group, number = 0, scale = 1;
    uint64_t seed = 1;
    int first = 1;

    for ( ; first + 1 < argc && argv[first][0] == '-'; first += 2 )
        if ( !strcmp(argv[first], "--seed") )
            seed = strtoull(argv[first + 1], NULL, 0);
        else if ( !strcmp(argv[first], "--scale") )
            scale = strtoul(argv[first + 1], NULL, 0);
        else
            break;
    if ( first < argc && argv[first][0] == '-' )
    {
        fprintf(stderr, "usage: %s [--seed N] [--scale N] [CASE...]\n", argv[0]);
        return 2;
    }

    for ( group = 0; group < NR_GROUPS; group++ )
    {
        const struct test_case *test;

        for ( test = groups[group]; test->run; test++ )
        {
            if ( !wanted(test->name, argv + first, argc - first) )
                continue;
            fprintf(stderr, "# %s, seed %llu\n", test->name, (unsigned long long)seed);
            test->run(seed, scale);
            printf("ok %u %s\n", ++number, test->name);
            fflush(stdout);
        }
    }
    printf("1..%u\n", number);

    return number ? 0 : 2;
}
