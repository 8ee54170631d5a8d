/* SPDX-License-Identifier: MIT */
/*
 * Control and statistics of transcendent memory, for the control domain.
 *
 * Reached through hypercall 38 (tmem_op) with cmd == TMEM_CONTROL, a number
 * that version 1 of the guest ABI leaves unused. Every record starts at a
 * multiple of eight bytes and holds 64-bit fields only, so that 32-bit and
 * 64-bit tools read the same bytes.
 */

#ifndef __XEN_PUBLIC_TMEM_CONTROL_H__
#define __XEN_PUBLIC_TMEM_CONTROL_H__

#include "xen.h"

#define TMEM_CONTROL                  0
#define TMEM_CONTROL_VERSION          3

#define TMEM_CONTROL_ALL_CLIENTS      0xffffffffU

/*
 * buf: one tmem_stats_global.
 */
#define TMEM_CONTROL_GLOBAL           1
/*
 * buf: an array of tmem_stats_client with room for nr records. nr returns how
 * many clients there are, which may be more than fitted.
 */
#define TMEM_CONTROL_CLIENTS          2
/* As CLIENTS, for the pools of client domid: tmem_stats_pool. */
#define TMEM_CONTROL_POOLS            3
/*
 * Refuse (thaw: accept again) puts of client domid, or of all clients. These
 * are two states: all are frozen also when they come later, and stay frozen by
 * their number when all are thawed.
 */
#define TMEM_CONTROL_FREEZE           4
#define TMEM_CONTROL_THAW             5
/* value returns how many pages Xen could take back at once. */
#define TMEM_CONTROL_FREEABLE         6
/*
 * Give up to value pages back to Xen's heap, oldest first; value returns how
 * many were given back. May do less than was asked: ask again.
 */
#define TMEM_CONTROL_FLUSH            7
/* Set `nr`, one of TMEM_SET_*, of domain domid, or of all clients, to value. */
#define TMEM_CONTROL_SET              8
/* At most TMEM_MAX_WEIGHT; 0: no share, see docs/tmem.md. */
#define TMEM_SET_WEIGHT               1
/* Most ephemeral pages that the client holds; 0: no limit. */
#define TMEM_SET_CAP                  2
#define TMEM_SET_COMPRESS             3 /* 0 or 1; of what is put from now on */
#define TMEM_SET_DEDUP                4 /* likewise */
#define TMEM_MAX_WEIGHT               0xffffU
/*
 * Let (nr 1) or no more let (nr 0) domain domid join the shared pool whose
 * UUID is buf, value. Pools it has joined stay. -ENOSPC: more than 16.
 */
#define TMEM_CONTROL_SHARED_AUTH      9
/* As CLIENTS, for the shared pools: tmem_stats_shared. */
#define TMEM_CONTROL_SHARED_POOLS     10

#if !defined(__ASSEMBLY__) && (defined(__XEN__) || defined(__XEN_TOOLS__))

/* Overlays tmem_op_t and is no larger. */
struct tmem_control {
    uint32_t cmd;               /* TMEM_CONTROL */
    uint32_t subop;
    uint32_t version;           /* TMEM_CONTROL_VERSION */
    uint32_t domid;             /* client, or TMEM_CONTROL_ALL_CLIENTS */
    uint32_t nr;                /* IN: records that fit. OUT: records there are.
                                 * SET: which setting, TMEM_SET_* */
    uint32_t pad;               /* zero */
    uint64_aligned_t buf;       /* address of the records in the caller */
    uint64_aligned_t value;
};
typedef struct tmem_control tmem_control_t;

/* Operations whose processor cycles are recorded, see tmem_timing. */
#define TMEM_TIME_GET_HIT             0
#define TMEM_TIME_PUT_OK              1
#define TMEM_TIME_GET_MISS            2
#define TMEM_TIME_PUT_FAIL            3
#define TMEM_TIME_FLUSH               4
#define TMEM_TIME_FLUSH_OBJECT        5
#define TMEM_TIME_COPY                6
#define TMEM_TIME_COMPRESS            7
#define TMEM_TIME_DECOMPRESS          8
/*
 * One step, under a client's lock, of what is done in steps: destroying a pool
 * or a client, flushing an object, lowering a cap.
 */
#define TMEM_TIME_STEP                9
#define TMEM_NR_TIMES                 10

/* Of a random sample: about one operation in 16 is timed; of every step. */
struct tmem_timing {
    uint64_aligned_t count;
    uint64_aligned_t total;     /* cycles */
    uint64_aligned_t most;      /* cycles of the slowest */
    uint64_aligned_t least;     /* cycles of the quickest; 0 while count is 0 */
};

/* A quantity that goes up and down, with the most it has been. */
struct tmem_level {
    uint64_aligned_t now;
    uint64_aligned_t most;
};

struct tmem_stats_global {
    uint64_aligned_t enabled;
    uint64_aligned_t ops, errors, failed_copies;
    uint64_aligned_t ephemeral_refused, persistent_refused;
    uint64_aligned_t free_frames;
    uint64_aligned_t low_memory;
    uint64_aligned_t evicted, evict_attempts;
    uint64_aligned_t relinquished, relinquish_attempts, relinquish_most;
    uint64_aligned_t pools_flushed;
    uint64_aligned_t ephemeral_puts;
    struct tmem_level ephemeral;        /* pages */
    struct tmem_level persistent;       /* pages */
    struct tmem_level objects;
    struct tmem_level nodes;            /* index pages */
    struct tmem_level descriptors;
    struct tmem_level frames;           /* all that tmem holds of Xen's heap */
    struct tmem_timing time[TMEM_NR_TIMES];
    uint64_aligned_t frozen;            /* all clients are */
    struct tmem_level contents;         /* distinct ones of ephemeral pages */
    uint64_aligned_t deduplicated;      /* puts that found their content there */
    uint64_aligned_t short_bytes;       /* now held of pages with a zero tail */
    uint64_aligned_t lz4_bytes;         /* now held of compressed pages */
};

struct tmem_stats_client {
    uint64_aligned_t domid, nr_pools;
    uint64_aligned_t weight, frozen, compress;
    uint64_aligned_t cap;
    uint64_aligned_t cycles;    /* estimated from the operations timed */
    uint64_aligned_t ephemeral_gets, persistent_puts, persistent_gets;
    uint64_aligned_t ops, errors, evicted;
    uint64_aligned_t free_frames;
    struct tmem_level ephemeral, persistent;
    struct tmem_level objects, nodes, frames;
    uint64_aligned_t descriptors;                   /* now */
    uint64_aligned_t dedup;
    uint64_aligned_t compressed, compressed_bytes;  /* puts, and their bytes */
    uint64_aligned_t incompressible;                /* puts stored whole */
    uint64_aligned_t compress_refused;              /* puts without memory */
    uint64_aligned_t deduplicated;
    uint64_aligned_t short_bytes, lz4_bytes;        /* now held */
};

struct tmem_stats_pool {
    uint64_aligned_t id, persistent, shared;
    uint64_aligned_t uuid[2];
    struct tmem_level pages, objects;
    uint64_aligned_t puts, puts_tried, puts_refused;
    uint64_aligned_t dup_flushed, dup_replaced;
    uint64_aligned_t gets, gets_tried;
    uint64_aligned_t flushes, flushes_tried;
    uint64_aligned_t object_flushes, object_flushes_tried;
};

/* pool.id is the number of the shared pool. */
struct tmem_stats_shared {
    uint64_aligned_t sharers;
    uint64_aligned_t weight, cap;       /* those of the sharer who has the most */
    uint64_aligned_t evicted;
    struct tmem_stats_pool pool;
};

#endif

#endif /* __XEN_PUBLIC_TMEM_CONTROL_H__ */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
