/* SPDX-License-Identifier: GPL-2.0-only */
/* Who may use tmem; see world_denied in world.h. */
#ifndef SHIM_XSM_H
#define SHIM_XSM_H

#include <xen/sched.h>

#define XSM_HOOK    0

int xsm_tmem_use(int action);

#endif
