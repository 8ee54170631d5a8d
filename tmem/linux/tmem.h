/* SPDX-License-Identifier: GPL-2.0 */
/* What the driver's files know of each other. */
#ifndef TMEM_DRIVER_H
#define TMEM_DRIVER_H

#include <linux/kconfig.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <linux/version.h>

#include "abi.h"
#include "slots.h"

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
void tmem_set_drained(s32 pool, bool drained);
enum tmem_outcome tmem_put(enum tmem_kind kind, const struct tmem_key *key, struct page *page);
enum tmem_outcome tmem_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page);
enum tmem_outcome tmem_try_get(enum tmem_kind kind, const struct tmem_key *key, struct page *page);
enum tmem_outcome tmem_flush_page(enum tmem_kind kind, const struct tmem_key *key);
enum tmem_outcome tmem_flush_object(enum tmem_kind kind, const struct tmem_key *key);

struct tmem_counters {
	u64 count[TMEM_KINDS][TMEM_VERBS][TMEM_OUTCOMES];
};
DECLARE_PER_CPU(struct tmem_counters, tmem_counters);
u64 tmem_count(enum tmem_kind kind, enum tmem_verb verb, enum tmem_outcome outcome);

#ifdef CONFIG_DEBUG_FS
void tmem_stats_init(void);
void tmem_stats_exit(void);
#else
static inline void tmem_stats_init(void) { }
static inline void tmem_stats_exit(void) { }
#endif

/*
 * Where the kernel's own hooks are missing, its functions are replaced (hook.c); Kbuild says which
 * kernels are such.
 */
#ifdef TMEM_HOOKS
#define TMEM_HAS_CLEANCACHE	true
#define TMEM_HAS_FRONTSWAP	true
#else
#define TMEM_HAS_CLEANCACHE	IS_ENABLED(CONFIG_CLEANCACHE)
#define TMEM_HAS_FRONTSWAP	IS_ENABLED(CONFIG_FRONTSWAP)
#endif

/* ephemeral.c: clean file pages. */
int tmem_fs_add(const u64 uuid[2]);
void tmem_fs_remove(int number);
bool tmem_fs_put(int number, const struct tmem_object_id *file, pgoff_t index, struct page *page);
bool tmem_fs_get(int number, const struct tmem_object_id *file, pgoff_t index, struct page *page);
void tmem_fs_flush(int number, const struct tmem_object_id *file, pgoff_t index);
void tmem_fs_flush_file(int number, const struct tmem_object_id *file);
void tmem_fs_suspend(void);
void tmem_fs_resume(void);

/* persistent.c: swapped pages. */
void tmem_swap_begin(void);
void tmem_swap_wanted(void);
int tmem_swap_store(unsigned int type, pgoff_t offset, struct page *page);
bool tmem_swap_has(unsigned int type, pgoff_t offset);
int tmem_swap_load(unsigned int type, pgoff_t offset, struct page *page);
void tmem_swap_flush(unsigned int type, pgoff_t offset);
void tmem_swap_flush_device(unsigned int type);
int tmem_swap_drain(unsigned int seconds, unsigned long *pages);
unsigned long tmem_swap_resume(void);
unsigned long tmem_swap_pages(void);
u64 tmem_swap_loads(void);

/* The back ends. Once registered, none can be taken back: the kernel has no way to. */
#ifdef CONFIG_CLEANCACHE
int tmem_cleancache_register(void);
#else
static inline int tmem_cleancache_register(void) { return -EOPNOTSUPP; }
#endif

#ifdef CONFIG_FRONTSWAP
int tmem_frontswap_register(void);
#else
static inline int tmem_frontswap_register(void) { return -EOPNOTSUPP; }
#endif

#ifdef TMEM_HOOKS
/*
 * What became of folios of more than a page, of files and of swap. partial: gets that found some of
 * its pages only; swap_undone: puts of which Xen took the first pages, and not all.
 */
struct tmem_folio_counts {
	unsigned long puts, hits, partial;
	unsigned long swap_puts, swap_hits, swap_undone;
};
DECLARE_PER_CPU(struct tmem_folio_counts, tmem_folio_counts);

int tmem_hooks_register(bool cleancache, bool frontswap);
#endif

/* shrink.c: Linux 5.17 dropped what brings pages back. */
#if defined(CONFIG_FRONTSWAP) && LINUX_VERSION_CODE < KERNEL_VERSION(5, 17, 0)
#define TMEM_CAN_SHRINK
bool tmem_frontswap_shrink(unsigned long target);
#else
static inline bool tmem_frontswap_shrink(unsigned long target) { return false; }
#endif

/* stash.c */
int tmem_stash_init(void);
void tmem_stash_exit(void);
long tmem_stash_count(void);
bool tmem_stash_has(tmem_slot_t slot);
bool tmem_stash_next(tmem_slot_t *slot, tmem_slot_t last);
bool tmem_stash_forget(tmem_slot_t slot);
int tmem_stash_is_in(s32 pool, void (*name)(struct tmem_key *key, tmem_slot_t slot));
int tmem_stash_fill(tmem_slot_t slot, int (*fill)(const struct tmem_key *key, struct page *page),
		    const struct tmem_key *key);
int tmem_stash_read(tmem_slot_t slot, struct page *to);
int tmem_stash_use(tmem_slot_t slot, int (*use)(const struct tmem_key *key, struct page *page),
		   const struct tmem_key *key);
void tmem_stash_tidy(void);

/* suspend.c */
#ifdef CONFIG_HIBERNATE_CALLBACKS
int tmem_suspend_init(void);
void tmem_suspend_exit(void);
#else
static inline int tmem_suspend_init(void) { return 0; }
static inline void tmem_suspend_exit(void) { }
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
