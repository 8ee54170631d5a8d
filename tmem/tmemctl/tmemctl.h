/* SPDX-License-Identifier: MIT */
#ifndef TMEMCTL_H
#define TMEMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <xencall.h>
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

/* One control operation: -1 with errno when Xen refuses it. */
int tmem_control(xencall_handle *xcall, struct xen_sysctl_tmem_op *op);

/*
 * Reads all counters; pools: with those of pools. NULL, and then tmem_free() is
 * to be called, or what could not be done, with errno.
 */
const char *tmem_read(xencall_handle *xcall, struct reading *r, bool pools);
void tmem_free(struct reading *r);

/* The lines of `xl tmem-list`; long_form is its -l. */
void print_lines(FILE *out, const struct reading *r, bool long_form);
void print_json(FILE *out, const struct reading *r);

#endif
