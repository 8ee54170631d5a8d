/* SPDX-License-Identifier: GPL-2.0-only */
/* A thread of the harness is a processor of its own: a hypercall is not moved. */
#ifndef SHIM_PERCPU_H
#define SHIM_PERCPU_H

#include <xen/lib.h>

#define SHIM_CPUS                   32

unsigned int shim_cpu(void);

#define DEFINE_PER_CPU(type, name)  type per_cpu__##name[SHIM_CPUS]
#define DECLARE_PER_CPU(type, name) extern type per_cpu__##name[SHIM_CPUS]
#define per_cpu(name, cpu)          (per_cpu__##name[cpu])
#define this_cpu(name)              per_cpu(name, shim_cpu())
#define for_each_online_cpu(cpu)    for ( (cpu) = 0; (cpu) < SHIM_CPUS; (cpu)++ )

#endif
