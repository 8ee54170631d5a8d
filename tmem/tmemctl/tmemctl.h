/* SPDX-License-Identifier: MIT */
#ifndef TMEMCTL_H
#define TMEMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xen/sysctl.h>
#include <public/tmem_control.h>

#define MAX_POOLS 16

struct client {
    struct tmem_stats_client stats;
    struct tmem_stats_pool pools[MAX_POOLS];
    unsigned int nr_pools;
};

#define MAX_SHARED 16

struct reading {
    struct tmem_stats_global global;
    struct client *clients;
    unsigned int nr_clients;
    struct tmem_stats_shared shared[MAX_SHARED];
    unsigned int nr_shared;
};

/* The lines of `xl tmem-list`; long_form is its -l. */
void print_lines(const struct reading *r, bool long_form);
void print_json(const struct reading *r);

#endif
