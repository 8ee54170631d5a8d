/* SPDX-License-Identifier: MIT */
/* Of Xen's public sysctl.h, what tmemctl uses. */
#ifndef FAKE_SYSCTL_H
#define FAKE_SYSCTL_H

#include <public/tmem_control.h>

#define XEN_SYSCTL_INTERFACE_VERSION    0x15
#define __HYPERVISOR_sysctl             35
#define set_xen_guest_handle(handle, value) ((handle).p = (value))

struct xen_sysctl {
    uint32_t cmd, interface_version;
    union {
        struct xen_sysctl_tmem_op tmem_op;
        uint8_t pad[128];
    } u;
};

#endif
