/* SPDX-License-Identifier: GPL-2.0 */
/* What the driver's files know of each other. */
#ifndef TMEM_DRIVER_H
#define TMEM_DRIVER_H

#include <linux/kconfig.h>
#include <linux/percpu.h>
#include <linux/types.h>

#include "abi.h"

struct page;

/* Which kind of pool an operation is for; it is also the row of the counters. */
enum tmem_kind {
	TMEM_EPHEMERAL,		/* cleancache */
	TMEM_PERSISTENT,	/* frontswap */
	TMEM_KINDS
};

enum tmem_verb {
	TMEM_VERB_PUT,
	TMEM_VERB_GET,
	TMEM_VERB_FLUSH_PAGE,
	TMEM_VERB_FLUSH_OBJECT,
	TMEM_VERBS
};

enum tmem_outcome {
	TMEM_DONE,
	TMEM_MISSED,		/* get only: nothing is there */
	TMEM_NO_MEMORY,		/* put only: Xen has none, or the guest is at its allowance */
	TMEM_FROZEN,
	TMEM_FAILED,		/* whatever else; never expected */
	TMEM_OUTCOMES
};

/* Names one page. */
struct tmem_key {
	s32 pool;
	u32 index;
	struct tmem_object_id object;
};

/* hypercall.c: each returns as soon as Xen has answered; none sleeps or allocates. */
int tmem_probe(void);
int tmem_new_pool(u32 flags, const u64 uuid[2]);
int tmem_destroy_pool(s32 pool);
enum tmem_outcome tmem_put(enum tmem_kind kind, const struct tmem_key *key, struct page *page);
enum tmem_outcome tmem_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page);
enum tmem_outcome tmem_flush_page(enum tmem_kind kind, const struct tmem_key *key);
enum tmem_outcome tmem_flush_object(enum tmem_kind kind, const struct tmem_key *key);

struct tmem_counters {
	u64 count[TMEM_KINDS][TMEM_VERBS][TMEM_OUTCOMES];
};
DECLARE_PER_CPU(struct tmem_counters, tmem_counters);

#ifdef CONFIG_DEBUG_FS
void tmem_stats_init(void);
void tmem_stats_exit(void);
#else
static inline void tmem_stats_init(void) { }
static inline void tmem_stats_exit(void) { }
#endif

/* The back ends. Once registered, none can be taken back: the kernel has no way to. */
#ifdef CONFIG_CLEANCACHE
int tmem_cleancache_register(void);
#else
static inline int tmem_cleancache_register(void) { return -EOPNOTSUPP; }
#endif

#ifdef CONFIG_FRONTSWAP
void tmem_frontswap_register(void);
unsigned long tmem_frontswap_pages(void);
void tmem_frontswap_shrink(unsigned long target_pages);
#else
static inline void tmem_frontswap_register(void) { }
static inline unsigned long tmem_frontswap_pages(void) { return 0; }
static inline void tmem_frontswap_shrink(unsigned long target_pages) { }
#endif

/* selfballoon.c: prepare() may fail; stop() undoes it, and start(), which cannot. */
#ifdef CONFIG_XEN_BALLOON
int tmem_selfballoon_prepare(bool ballooning, bool shrinking, bool have_frontswap);
void tmem_selfballoon_stop(void);
void tmem_selfballoon_start(void);
#else
static inline int tmem_selfballoon_prepare(bool ballooning, bool shrinking, bool have_frontswap)
{
	return -EOPNOTSUPP;
}

static inline void tmem_selfballoon_stop(void) { }
static inline void tmem_selfballoon_start(void) { }
#endif

#endif /* TMEM_DRIVER_H */
