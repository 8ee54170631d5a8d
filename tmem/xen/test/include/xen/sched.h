/* SPDX-License-Identifier: GPL-2.0-only */
/* Domains, virtual processors and RCU; see shim/domain.c. */
#ifndef SHIM_SCHED_H
#define SHIM_SCHED_H

#include <xen/mm.h>

struct tmem_client;

struct shim_p2m_entry {
    struct page_info *page;
    p2m_type_t type;
};

struct domain {
    domid_t domain_id;
    struct tmem_client *tmem;
    spinlock_t page_alloc_lock;
    spinlock_t domain_lock;
    unsigned int tot_pages, max_pages;
    unsigned long outstanding_pages;
    s_time_t tmem_evicted_until;
    int refcnt;                         /* atomic */
    bool is_dying;
    bool control;
    bool translated;                    /* as HVM and PVH guests are */
    struct domain *next_in_list;        /* RCU */
    unsigned int max_vcpus;
    /* The harness's. */
    spinlock_t p2m_lock;
    struct shim_p2m_entry *p2m;
    unsigned int nr_gfns;
    unsigned int bits;                  /* of its frames' addresses; 0: any */
    unsigned int dirtied;               /* atomic */
};

struct vcpu {
    struct domain *domain;
    unsigned int vcpu_id;
    unsigned int processor;
};

struct vcpu *shim_current(void);
#define current                     shim_current()
#define is_control_domain(d)        ((d)->control)
#define is_hardware_domain(d)       ((d)->control)
#define is_system_domain(d)         ((d)->domain_id >= DOMID_FIRST_RESERVED)
#define smp_processor_id()          shim_cpu()
#define is_hvm_domain(d)            ((d)->translated)

/* Domains whose last reference goes are freed after a grace period. */
void get_knownalive_domain(struct domain *d);
void put_domain(struct domain *d);

typedef struct shim_rcu_read_lock { int unused; } rcu_read_lock_t;
#define DEFINE_RCU_READ_LOCK(name)  rcu_read_lock_t name
extern rcu_read_lock_t domlist_read_lock;
struct rcu_head {
    struct rcu_head *next;
    void (*func)(struct rcu_head *);
};
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *));
void shim_rcu_read_lock(void);
void shim_rcu_read_unlock(void);
#define rcu_read_lock(lock)         ((void)(lock), shim_rcu_read_lock())
#define rcu_read_unlock(lock)       ((void)(lock), shim_rcu_read_unlock())
#define rcu_dereference(p)          __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_assign_pointer(p, v)    __atomic_store_n(&(p), v, __ATOMIC_RELEASE)

extern struct domain *domain_list;
struct domain *shim_next_domain(struct domain *const *link);
#define for_each_domain(d)                              \
    for ( (d) = shim_next_domain(&domain_list); (d);    \
          (d) = shim_next_domain(&(d)->next_in_list) )

struct domain *rcu_lock_domain_by_id(domid_t id);
void rcu_unlock_domain(struct domain *d);
struct domain *get_domain_by_id(domid_t id);

#define domain_lock(d)              spin_lock(&(d)->domain_lock)
#define domain_unlock(d)            spin_unlock(&(d)->domain_lock)

bool hypercall_preempt_check(void);
#define general_preempt_check()     hypercall_preempt_check()
#define process_pending_softirqs()  ((void)0)

#endif
