/* SPDX-License-Identifier: GPL-2.0 */
/* Functions of the kernel that are replaced, see hook.c. */
#ifndef TMEM_HOOK_H
#define TMEM_HOOK_H

#include <linux/ftrace.h>
#include <linux/types.h>

/**
 * struct tmem_hook - A function of the kernel, and what is called in its place.
 * @name: the function's
 * @prototypes: what it may be like, as the kernel's own type information tells it
 * @original: where the address goes by which replacements call it
 * @replacement: called in its place, but by this module
 * @within: another function, or NULL
 * @replacement_within: called in its place when @within calls
 */
struct tmem_hook {
	const char *name;
	const char *prototypes[2];
	void **original;
	void *replacement;
	const char *within;
	void *replacement_within;
	/* hook.c's own */
	struct ftrace_ops ops;
	unsigned long address;
	unsigned long within_start;
	unsigned long within_end;
	bool installed;
};

/* Those of one file. */
struct tmem_hook_set {
	struct tmem_hook *hooks;
	unsigned int nr;
};

extern const struct tmem_hook_set tmem_pagecache_hooks;
extern const struct tmem_hook_set tmem_changes_hooks;
extern const struct tmem_hook_set tmem_mounted_hooks;
int tmem_mounted_prepare(void);

extern const struct tmem_hook_set tmem_swap_hooks;

#endif /* TMEM_HOOK_H */
