/* SPDX-License-Identifier: MIT */
/* What tmemctl uses of Xen's library, for ../fake_xencall.c. */
#ifndef FAKE_XENCALL_H
#define FAKE_XENCALL_H

#include <stddef.h>
#include <stdint.h>

typedef struct xencall_handle xencall_handle;

xencall_handle *xencall_open(void *logger, unsigned int flags);
int xencall_close(xencall_handle *xcall);
void *xencall_alloc_buffer(xencall_handle *xcall, size_t bytes);
void xencall_free_buffer(xencall_handle *xcall, void *p);
int xencall1(xencall_handle *xcall, unsigned int op, uint64_t argument);

#endif
