/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies to and from a guest. Of the guest's addresses only those that the
 * harness has given to the calling thread with world_guest_range() are mapped;
 * a copy beyond them fails. See shim/domain.c.
 */
#ifndef SHIM_GUEST_ACCESS_H
#define SHIM_GUEST_ACCESS_H

#include <xen/sched.h>

unsigned long shim_copy_from_guest(void *to, const void *from, size_t bytes);
unsigned long shim_copy_to_guest(void *to, const void *from, size_t bytes);

#define copy_from_guest_offset(to, handle, offset, nr) \
    shim_copy_from_guest(to, (handle).p + (offset), sizeof(*(to)) * (nr))
#define copy_from_guest(to, handle, nr)     copy_from_guest_offset(to, handle, 0, nr)
#define copy_to_guest_offset(handle, offset, from, nr) \
    shim_copy_to_guest((handle).p + (offset), from, sizeof(*(from)) * (nr))
#define copy_to_guest(handle, from, nr)     copy_to_guest_offset(handle, 0, from, nr)
#define __copy_to_guest                     copy_to_guest
#define __copy_from_guest                   copy_from_guest
#define guest_handle_from_ptr(ptr, type)    ((XEN_GUEST_HANDLE_PARAM(type)){ (type *)(ptr) })
#define guest_handle_is_null(handle)        (!(handle).p)
#define guest_handle_okay(handle, nr)       ((void)(nr), true)

/* The hypercall is made again, as the guest's vCPU does after an interrupt. */
long shim_continue(const void *argument);
#define hypercall_create_continuation(op, format, handle) \
    ((void)(format), shim_continue((handle).p))

#endif
