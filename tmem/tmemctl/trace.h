/* SPDX-License-Identifier: MIT */
/* What tmemctl.c and trace.c have of each other; the testbed's sampler shares none of it. */
#ifndef TMEMCTL_TRACE_H
#define TMEMCTL_TRACE_H

#include "tmemctl.h"

/* Says what, and ends the program; must(): when an operation was refused. */
void die(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void must(int rc, const char *doing);

/* See docs/trace.md. seconds 0: until a signal comes. */
struct trace_options {
    const char *file;           /* `-`: standard output */
    uint64_t seconds;
    uint32_t room;              /* records that Xen keeps */
    bool until_input_ends;      /* of standard input */
};
int trace_to_file(xencall_handle *xcall, const struct trace_options *options);
int trace_off(xencall_handle *xcall);

#endif
