/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen's spin locks are mutexes here, with a checker of their order: locks that
 * are initialised at one place are one class. Two of one class are never held
 * together, and classes are never taken in two orders. See shim/locks.c.
 */
#ifndef SHIM_SPINLOCK_H
#define SHIM_SPINLOCK_H

#include <pthread.h>

#include <xen/lib.h>

typedef struct shim_lock {
    pthread_mutex_t mutex;
    const char *site;                   /* where it was initialised: its class */
    unsigned int class_plus_1;          /* 0: not looked up yet */
} spinlock_t;

#define SHIM_TEXT_(x)               #x
#define SHIM_TEXT(x)                SHIM_TEXT_(x)
#define SHIM_SITE                   __FILE__ ":" SHIM_TEXT(__LINE__)

#define SPIN_LOCK_UNLOCKED          { PTHREAD_MUTEX_INITIALIZER, SHIM_SITE, 0 }
#define DEFINE_SPINLOCK(name)       spinlock_t name = SPIN_LOCK_UNLOCKED
#define spin_lock_init(lock)        shim_lock_init(lock, SHIM_SITE)

void shim_lock_init(spinlock_t *lock, const char *site);
void spin_lock(spinlock_t *lock);
bool spin_trylock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
bool spin_is_locked(const spinlock_t *lock);   /* by the calling thread */

/* Nothing interrupts a thread of the harness. */
#define spin_lock_irq(lock)                 spin_lock(lock)
#define spin_unlock_irq(lock)               spin_unlock(lock)
#define spin_lock_irqsave(lock, flags)      ((flags) = 0, spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_unlock(lock))
#define spin_barrier(lock)                  (spin_lock(lock), spin_unlock(lock))
#define nrspin_lock(lock)                   spin_lock(lock)
#define nrspin_unlock(lock)                 spin_unlock(lock)

/* Readers exclude each other here: it hides no race between them and writers. */
typedef spinlock_t rwlock_t;
#define RW_LOCK_UNLOCKED            SPIN_LOCK_UNLOCKED
#define DEFINE_RWLOCK(name)         DEFINE_SPINLOCK(name)
#define rwlock_init(lock)           spin_lock_init(lock)
#define read_lock(lock)             spin_lock(lock)
#define read_unlock(lock)           spin_unlock(lock)
#define write_lock(lock)            spin_lock(lock)
#define write_unlock(lock)          spin_unlock(lock)

/* For checks: the calling thread holds no lock, or the harness fails. */
void shim_no_locks(const char *what);

#endif
