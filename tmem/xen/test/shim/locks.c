/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spin locks with a checker of their order: each thread knows which locks it
 * holds, and all orders in which classes were ever nested are remembered.
 */

#include "world.h"

#define MAX_CLASSES     64
#define MAX_HELD        8

/* Relaxed, so that the checker adds no order between threads that would hide races. */
static const char *classes[MAX_CLASSES];
static uint64_t inside[MAX_CLASSES];        /* bit b of [a]: b was taken in a */

static _Thread_local spinlock_t *held[MAX_HELD];
static _Thread_local unsigned int nr_held;

/* What ACCESS_ONCE() means to TSAN: a read acquires, a write releases, as on x86. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define VOLATILE(bytes)                                 \
    void __tsan_volatile_read##bytes(void *p);          \
    void __tsan_volatile_read##bytes(void *p)           \
    { __tsan_acquire(p); }                              \
    void __tsan_volatile_write##bytes(void *p);         \
    void __tsan_volatile_write##bytes(void *p)          \
    { __tsan_release(p); }
VOLATILE(1)
VOLATILE(2)
VOLATILE(4)
VOLATILE(8)
#endif

static unsigned int find_class(const char *site)
{
    unsigned int i;

    for ( i = 0; i < MAX_CLASSES; i++ )
    {
        const char *found = __atomic_load_n(&classes[i], __ATOMIC_RELAXED);
        const char *expected = NULL;

        if ( !found &&
             __atomic_compare_exchange_n(&classes[i], &expected, site, false,
                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED) )
            return i;
        if ( !found )
            found = expected;
        if ( !strcmp(found, site) )
            return i;
    }
    FAIL("more than %u classes of locks: raise MAX_CLASSES", MAX_CLASSES);
}

static unsigned int class_of(spinlock_t *lock)
{
    unsigned int known = __atomic_load_n(&lock->class_plus_1, __ATOMIC_RELAXED);

    if ( !known )
    {
        known = find_class(lock->site) + 1;
        __atomic_store_n(&lock->class_plus_1, known, __ATOMIC_RELAXED);
    }

    return known - 1;
}

/* Is `to` ever taken, at whatever depth, while `from` is held? */
static bool reaches(unsigned int from, unsigned int to, uint64_t *seen)
{
    uint64_t next = __atomic_load_n(&inside[from], __ATOMIC_RELAXED);
    unsigned int i;

    *seen |= 1ULL << from;
    if ( next & (1ULL << to) )
        return true;
    for ( i = 0; i < MAX_CLASSES; i++ )
        if ( (next & ~*seen & (1ULL << i)) && reaches(i, to, seen) )
            return true;

    return false;
}

void shim_lock_init(spinlock_t *lock, const char *site)
{
    pthread_mutex_init(&lock->mutex, NULL);
    lock->site = site;
    lock->class_plus_1 = 0;
}

static void check_order(spinlock_t *lock)
{
    unsigned int i, new = class_of(lock);

    CHECK(nr_held < MAX_HELD, "%u locks are held", nr_held);
    for ( i = 0; i < nr_held; i++ )
    {
        unsigned int old = class_of(held[i]);
        uint64_t seen = 0;

        CHECK(old != new, "two locks of one class are held: %s", lock->site);
        if ( __atomic_load_n(&inside[old], __ATOMIC_RELAXED) & (1ULL << new) )
            continue;
        CHECK(!reaches(new, old, &seen),
              "locks are taken in two orders: %s inside %s, and the other way round",
              lock->site, held[i]->site);
        __atomic_fetch_or(&inside[old], 1ULL << new, __ATOMIC_RELAXED);
    }
}

void spin_lock(spinlock_t *lock)
{
    CHECK(lock->site, "a lock that was never initialised");
    check_order(lock);
    pthread_mutex_lock(&lock->mutex);
    held[nr_held++] = lock;
}

bool spin_trylock(spinlock_t *lock)
{
    CHECK(lock->site, "a lock that was never initialised");
    if ( pthread_mutex_trylock(&lock->mutex) )
        return false;
    held[nr_held++] = lock;

    return true;
}

void spin_unlock(spinlock_t *lock)
{
    unsigned int i = nr_held;

    while ( i && held[i - 1] != lock )
        i--;
    CHECK(i, "unlocked by who does not hold it: %s", lock->site);
    for ( nr_held--; i <= nr_held; i++ )
        held[i - 1] = held[i];
    pthread_mutex_unlock(&lock->mutex);
}

bool spin_is_locked(const spinlock_t *lock)
{
    unsigned int i;

    for ( i = 0; i < nr_held; i++ )
        if ( held[i] == lock )
            return true;

    return false;
}

void shim_no_locks(const char *what)
{
    CHECK(!nr_held, "%s while %s is held", what, held[0]->site);
}

unsigned int shim_locks_held(void)
{
    return nr_held;
}
