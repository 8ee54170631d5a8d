/* SPDX-License-Identifier: GPL-2.0-only */
/* All processors are there from the beginning, and stay. */
#ifndef SHIM_CPU_H
#define SHIM_CPU_H

#include <xen/percpu.h>

struct notifier_block {
    int (*notifier_call)(struct notifier_block *nb, unsigned long action, void *cpu);
};

enum { CPU_UP_PREPARE, CPU_UP_CANCELED, CPU_DEAD };
#define NOTIFY_DONE                 0
#define notifier_from_errno(error)  (error)
#define register_cpu_notifier(nb)   ((void)(nb))

#endif
