/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of Linux as persistent.c, frontswap.c, stash.c and slots.c need, for one thread in user space. Memory for pages of shared memory is bounded by
 * `room`, so that it can run out.
 */
#ifndef SHIM_H
#define SHIM_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef unsigned int gfp_t;
typedef unsigned long pgoff_t;
typedef struct { u8 b[16]; } uuid_t;

#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define BIT(n) (1UL << (n))
#define HZ 100
#define GFP_KERNEL 0
#define GFP_NOWAIT 0
#define GFP_HIGHUSER_MOVABLE 0
#define __GFP_NOWARN 0
#define __GFP_RETRY_MAYFAIL 0
#define CONFIG_FRONTSWAP 1
#define CONFIG_DEBUG_FS 1
#define KERNEL_VERSION(a, b, c) ((a) << 16 | (b) << 8 | (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 223)
#define KBUILD_MODNAME "tmem"
#define likely(x) (x)
#define unlikely(x) (x)
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, value) ((x) = (value))
#define smp_rmb() do { } while (0)
#define smp_mb() do { } while (0)
#define rcu_read_lock() do { } while (0)
#define rcu_read_unlock() do { } while (0)
#define synchronize_rcu() do { } while (0)
#define cond_resched() do { } while (0)
#define DECLARE_PER_CPU(type, name) extern type name
#define pr_warn(...) do { } while (0)
#define pr_crit(...) fprintf(stderr, __VA_ARGS__)
#define BUG() abort()

struct mutex { int held; };
#define DEFINE_MUTEX(name) struct mutex name
static inline void mutex_lock(struct mutex *mutex) { assert(!mutex->held++); }
static inline void mutex_unlock(struct mutex *mutex) { assert(mutex->held--); }
#define DEFINE_RAW_SPINLOCK(name) struct mutex name
#define raw_spin_lock_irqsave(lock, flags) ((flags) = 1, mutex_lock(lock))
#define raw_spin_unlock_irqrestore(lock, flags) (assert(flags), mutex_unlock(lock))

extern unsigned long jiffies;
#define time_after(a, b) ((long)((b) - (a)) < 0)
void msleep(unsigned int milliseconds);

typedef struct { long counter; } atomic_long_t;
static inline void atomic_long_inc(atomic_long_t *value) { value->counter++; }
static inline void atomic_long_dec(atomic_long_t *value) { value->counter--; }
static inline long atomic_long_read(const atomic_long_t *value) { return value->counter; }

static inline bool test_bit(unsigned long bit, const unsigned long *map) { return map[bit / 64] >> bit % 64 & 1; }
static inline bool test_and_set_bit(unsigned long bit, unsigned long *map)
{
	bool was = test_bit(bit, map);

	map[bit / 64] |= 1UL << bit % 64;
	return was;
}
static inline bool test_and_clear_bit(unsigned long bit, unsigned long *map)
{
	bool was = test_bit(bit, map);

	map[bit / 64] &= ~(1UL << bit % 64);
	return was;
}
static inline unsigned long find_next_bit(const unsigned long *map, unsigned long size, unsigned long bit)
{
	while (bit < size && !test_bit(bit, map))
		bit++;
	return bit;
}

static inline unsigned long get_zeroed_page(gfp_t gfp) { (void)gfp; return (unsigned long)calloc(1, PAGE_SIZE); }
static inline void free_page(unsigned long page) { free((void *)page); }

/* An array of a few entries, which is what an xarray is to its users. */
#define XA_ENTRIES 64
struct xarray { unsigned long index[XA_ENTRIES]; void *entry[XA_ENTRIES]; unsigned int count; };
#define XARRAY_INIT(name, flags) { .count = 0 }
static inline void *xa_load(struct xarray *array, unsigned long index)
{
	for (unsigned int i = 0; i < array->count; i++)
		if (array->index[i] == index)
			return array->entry[i];
	return NULL;
}
static inline int xa_insert(struct xarray *array, unsigned long index, void *entry, gfp_t gfp)
{
	(void)gfp;
	assert(array->count < XA_ENTRIES && !xa_load(array, index));
	array->index[array->count] = index;
	array->entry[array->count++] = entry;
	return 0;
}
static inline void *xa_next(struct xarray *array, unsigned long *index, unsigned long last, bool after)
{
	void *found = NULL;
	unsigned long best = 0;

	for (unsigned int i = 0; i < array->count; i++)
		if ((after ? array->index[i] > *index : array->index[i] >= *index) && array->index[i] <= last &&
		    (!found || array->index[i] < best)) {
			best = array->index[i];
			found = array->entry[i];
		}
	if (found)
		*index = best;
	return found;
}
#define xa_for_each_range(array, i, item, start, last)				\
	for (i = start, item = xa_next(array, &i, last, false); item;		\
	     item = xa_next(array, &i, last, true))

static inline void *ERR_PTR(long error) { return (void *)error; }
static inline long PTR_ERR(const void *pointer) { return (long)pointer; }
static inline bool IS_ERR(const void *pointer) { return (unsigned long)pointer >= (unsigned long)-4095; }

/* Pages, and a file of shared memory. */
struct address_space { int unused; };
struct page { struct address_space *mapping; u8 content[PAGE_SIZE]; };
struct inode { int unused; };
struct file { struct address_space *f_mapping; };
#define MAX_LFS_FILESIZE INT64_MAX
#define VM_NORESERVE 0
struct file *shmem_file_setup(const char *name, loff_t size, unsigned long flags);
struct page *shmem_read_mapping_page_gfp(struct address_space *mapping, pgoff_t index, gfp_t gfp);
void shmem_truncate_range(struct inode *inode, loff_t start, loff_t end);
static inline struct inode *file_inode(const struct file *file) { (void)file; return NULL; }
static inline void fput(struct file *file) { (void)file; }
static inline void lock_page(struct page *page) { (void)page; }
static inline void unlock_page(struct page *page) { (void)page; }
static inline void put_page(struct page *page) { (void)page; }
static inline void set_page_dirty(struct page *page) { (void)page; }
static inline struct page *compound_head(struct page *page) { return page; }
static inline void *page_address(struct page *page) { return page->content; }
static inline struct page *alloc_page(gfp_t gfp) { (void)gfp; return calloc(1, sizeof(struct page)); }
static inline void __free_page(struct page *page) { free(page); }
static inline void copy_highpage(struct page *to, struct page *from) { memcpy(to->content, from->content, PAGE_SIZE); }

struct frontswap_ops {
	void (*init)(unsigned int type);
	int (*store)(unsigned int type, pgoff_t offset, struct page *page);
	int (*load)(unsigned int type, pgoff_t offset, struct page *page);
	void (*invalidate_page)(unsigned int type, pgoff_t offset);
	void (*invalidate_area)(unsigned int type);
};
void frontswap_register_ops(struct frontswap_ops *ops);
static inline void frontswap_tmem_exclusive_gets(bool enable) { (void)enable; }

#endif /* SHIM_H */
