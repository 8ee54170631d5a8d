/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Xen's basic headers offer, as far as tmem needs it, in terms of a C
 * library. Written for the harness from the names that tmem uses: to compile
 * a new file of tmem, add here what it lacks.
 */
#ifndef SHIM_LIB_H
#define SHIM_LIB_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define __XEN__                     1
#define CONFIG_TMEM                 1
#define CONFIG_X86                  1

/* shim/report.c: says where and why, and ends the program. */
void shim_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

#define BUG()                       shim_fail(__FILE__, __LINE__, "BUG()")
#define BUG_ON(x) \
    do { if ( x ) shim_fail(__FILE__, __LINE__, "BUG_ON(%s)", #x); } while ( 0 )
#define ASSERT(x) \
    do { if ( !(x) ) shim_fail(__FILE__, __LINE__, "ASSERT(%s)", #x); } while ( 0 )
#define ASSERT_UNREACHABLE() \
    shim_fail(__FILE__, __LINE__, "ASSERT_UNREACHABLE()")
#define WARN_ON(x)                  BUG_ON(x)
#define BUILD_BUG_ON(x)             _Static_assert(!(x), #x)

#define __init
#define __initdata
#define __initconst
#define __read_mostly
#define __ro_after_init
#define cf_check
#define always_inline               inline __attribute__((always_inline))
#define noinline                    __attribute__((noinline))
#define __must_check                __attribute__((warn_unused_result))
#define __maybe_unused              __attribute__((unused))
#define __packed                    __attribute__((packed))
#define __aligned(n)                __attribute__((aligned(n)))
#define __cacheline_aligned         __aligned(64)
#define OPTIMIZER_HIDE_VAR(var)     asm ( "" : "+g" (var) )
#define likely(x)                   __builtin_expect(!!(x), 1)
#define unlikely(x)                 __builtin_expect(!!(x), 0)
#define fallthrough                 __attribute__((fallthrough))

#define barrier()                   __asm__ __volatile__ ( "" ::: "memory" )
#define smp_mb()                    __sync_synchronize()
#define smp_wmb()                   barrier()
#define smp_rmb()                   barrier()
#define cpu_relax()                 barrier()
#define prefetch(x)                 __builtin_prefetch(x)

/*
 * Under TSAN these are calls of __tsan_volatile_*, see shim/locks.c: a read
 * acquires and a write releases, as they do on x86.
 */
#define ACCESS_ONCE(x)              (*(volatile typeof(x) *)&(x))
#define read_atomic(p)              ACCESS_ONCE(*(p))
#define write_atomic(p, x)          ((void)(ACCESS_ONCE(*(p)) = (x)))
#define add_sized(p, x)             ((void)(ACCESS_ONCE(*(p)) += (x)))
#define cmpxchg(p, old, new)        __sync_val_compare_and_swap(p, old, new)
#define arch_fetch_and_add(p, v)    __sync_fetch_and_add(p, v)
#define xchg(p, new)                __atomic_exchange_n(p, new, __ATOMIC_SEQ_CST)

typedef struct { int counter; } atomic_t;
#define ATOMIC_INIT(i)              { i }
#define atomic_read(v)              __atomic_load_n(&(v)->counter, __ATOMIC_RELAXED)
#define atomic_set(v, i)            __atomic_store_n(&(v)->counter, i, __ATOMIC_RELAXED)
#define atomic_add_return(i, v)     __sync_add_and_fetch(&(v)->counter, i)
#define atomic_sub_return(i, v)     __sync_sub_and_fetch(&(v)->counter, i)
#define atomic_add(i, v)            ((void)atomic_add_return(i, v))
#define atomic_sub(i, v)            ((void)atomic_sub_return(i, v))
#define atomic_inc(v)               atomic_add(1, v)
#define atomic_dec(v)               atomic_sub(1, v)
#define atomic_inc_return(v)        atomic_add_return(1, v)
#define atomic_dec_return(v)        atomic_sub_return(1, v)
#define atomic_dec_and_test(v)      (!atomic_dec_return(v))
#define atomic_cmpxchg(v, old, new) cmpxchg(&(v)->counter, old, new)

#define min(a, b) \
    ({ typeof(a) a_ = (a); typeof(b) b_ = (b); (void)(&a_ == &b_); a_ < b_ ? a_ : b_; })
#define max(a, b) \
    ({ typeof(a) a_ = (a); typeof(b) b_ = (b); (void)(&a_ == &b_); a_ > b_ ? a_ : b_; })
#define min_t(type, a, b)           min((type)(a), (type)(b))
#define max_t(type, a, b)           max((type)(a), (type)(b))
#define ARRAY_SIZE(a)               (sizeof(a) / sizeof(*(a)))
#define ROUNDUP(x, a)               (((x) + (a) - 1) & ~((typeof(x))(a) - 1))
#define DIV_ROUND_UP(n, d)          (((n) + (d) - 1) / (d))
#define IS_ALIGNED(x, a)            (!((x) & ((a) - 1)))
#define container_of(p, type, member) \
    ((type *)((char *)(p) - offsetof(type, member)))
#define array_index_nospec(index, size)     (index)
#define block_speculation()         barrier()
#define evaluate_nospec(x)          (x)

#define BITS_PER_LONG               64
#define panic(...)                  shim_fail(__FILE__, __LINE__, __VA_ARGS__)

static inline uint32_t rol32(uint32_t word, unsigned int shift)
{
    return word << shift | word >> (32 - shift);
}

static inline unsigned int fls(unsigned int x)
{
    return x ? 32 - __builtin_clz(x) : 0;
}

static inline unsigned int flsl(unsigned long x)
{
    return x ? 64 - __builtin_clzl(x) : 0;
}

#define printk(...)                 shim_printk(__VA_ARGS__)
#define XENLOG_INFO                 ""
#define XENLOG_WARNING              ""
#define XENLOG_ERR                  ""
#define XENLOG_G_INFO               ""
#define XENLOG_G_WARNING            ""
void shim_printk(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Functions that Xen calls while it boots; world_start() does. */
void shim_register_initcall(int (*call)(void));
#define __initcall(fn) \
    static void __attribute__((constructor)) register_##fn(void) \
    { shim_register_initcall(fn); } \
    struct shim_dummy_##fn
/* Whoever needs another value than the default sets the variable. */
#define boolean_param(name, variable)       struct shim_param_##variable
#define integer_param(name, variable)       struct shim_param_##variable

#define SYS_STATE_active            1
extern int system_state;

unsigned int get_random(void);
/* Time that advances with every look at it, so that runs repeat. */
typedef int64_t s_time_t;
int64_t shim_now(void);
#define NOW()                       shim_now()
#define rdtsc()                     ((uint64_t)shim_now() >> 4)
#define MILLISECS(ms)               ((int64_t)(ms) * 1000000LL)
#define SECONDS(s)                  ((int64_t)(s) * 1000000000LL)

#endif
