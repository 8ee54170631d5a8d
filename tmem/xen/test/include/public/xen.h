/* SPDX-License-Identifier: GPL-2.0-only */
/* Of Xen's public types, those that tmem's interfaces use. */
#ifndef SHIM_PUBLIC_XEN_H
#define SHIM_PUBLIC_XEN_H

#include <stdint.h>

typedef uint16_t domid_t;
typedef uint64_t xen_pfn_t;
typedef uint64_t uint64_aligned_t __attribute__((aligned(8)));

#define DOMID_SELF          0x7ff0U
#define DOMID_FIRST_RESERVED DOMID_SELF
#define DOMID_INVALID       0x7ff4U
#define DOMID_IDLE          0x7fffU

#define __HYPERVISOR_tmem_op 38

#define XEN_GUEST_HANDLE(type)          __guest_handle_##type
#define XEN_GUEST_HANDLE_PARAM(type)    __guest_handle_##type
#define XEN_GUEST_HANDLE_64(type)       __guest_handle_##type
#define DEFINE_XEN_GUEST_HANDLE(type) \
    typedef struct { type *p; } __guest_handle_##type

DEFINE_XEN_GUEST_HANDLE(char);
DEFINE_XEN_GUEST_HANDLE(void);
DEFINE_XEN_GUEST_HANDLE(uint8_t);
DEFINE_XEN_GUEST_HANDLE(uint32_t);
DEFINE_XEN_GUEST_HANDLE(uint64_t);

#endif
