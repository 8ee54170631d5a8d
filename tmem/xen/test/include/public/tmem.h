/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Version 1 of tmem's ABI, as a hypervisor without tmem still ships it. The
 * guest driver has its own, tmem/linux/abi.h; the numbers have to agree.
 */
#ifndef SHIM_PUBLIC_TMEM_H
#define SHIM_PUBLIC_TMEM_H

#include "xen.h"

#define TMEM_SPEC_VERSION           1

#define TMEM_NEW_POOL               1
#define TMEM_DESTROY_POOL           2
#define TMEM_PUT_PAGE               4
#define TMEM_GET_PAGE               5
#define TMEM_FLUSH_PAGE             6
#define TMEM_FLUSH_OBJECT           7

#define TMEM_DRAINED                0x1001

#define TMEM_AUTH                   101
#define TMEM_RESTORE_NEW            102

#define TMEM_POOL_PERSIST           1
#define TMEM_POOL_SHARED            2
#define TMEM_POOL_PRECOMPRESSED     4
#define TMEM_POOL_PAGESIZE_SHIFT    4
#define TMEM_POOL_PAGESIZE_MASK     0xf
#define TMEM_POOL_VERSION_SHIFT     24
#define TMEM_POOL_VERSION_MASK      0xff
#define TMEM_POOL_RESERVED_BITS     0x00ffff00

#define EFROZEN                     1000
#define EEMPTY                      1001

typedef struct xen_tmem_oid { uint64_t oid[3]; } xen_tmem_oid_t;
DEFINE_XEN_GUEST_HANDLE(xen_tmem_oid_t);

typedef struct tmem_op {
    uint32_t cmd;
    int32_t pool_id;
    union {
        struct {
            uint64_t uuid[2];
            uint32_t flags, arg1;
        } creat;
        struct {
            xen_tmem_oid_t oid;
            uint32_t index, tmem_offset, pfn_offset, len;
            xen_pfn_t cmfn;
        } gen;
    } u;
} tmem_op_t;
DEFINE_XEN_GUEST_HANDLE(tmem_op_t);

_Static_assert(sizeof(tmem_op_t) == 56, "the ABI's size of an operation");

#endif
