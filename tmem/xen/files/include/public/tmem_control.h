/* SPDX-License-Identifier: MIT */
/*
 * Control and statistics of transcendent memory, for the control domain.
 *
 * XEN_SYSCTL_tmem_op, whose member of struct xen_sysctl this is. Records hold
 * 64-bit fields only, so that 32-bit and 64-bit tools read the same bytes.
 */

#ifndef __XEN_PUBLIC_TMEM_CONTROL_H__
#define __XEN_PUBLIC_TMEM_CONTROL_H__

#include "xen.h"

#define TMEM_CONTROL_VERSION          4

#define TMEM_CONTROL_ALL_CLIENTS      0xffffffffU

/* u.stats.global: one record. */
#define TMEM_CONTROL_GLOBAL           1
/* u.stats.clients: one for each. */
#define TMEM_CONTROL_CLIENTS          2
/* u.stats.pools: of client domid. */
#define TMEM_CONTROL_POOLS            3
/*
 * Refuse (thaw: accept again) puts of client domid, or of all clients. These
 * are two states: all are frozen also when they come later, and stay frozen by
 * their number when all are thawed.
 */
#define TMEM_CONTROL_FREEZE           4
#define TMEM_CONTROL_THAW             5
/* u.freeable returns how many pages Xen could take back at once. */
#define TMEM_CONTROL_FREEABLE         6
/* u.flush: gives pages of client domid, or of all clients, back to Xen. */
#define TMEM_CONTROL_FLUSH            7
/* u.set: of client domid, or of all clients. */
#define TMEM_CONTROL_SET              8
/* u.shared_auth: whether client domid may join a shared pool. */
#define TMEM_CONTROL_SHARED_AUTH      9
/* u.stats.shared: one record for each shared pool. */
#define TMEM_CONTROL_SHARED_POOLS     10
/*
 * u.trace: what all guests ask of tmem from now on is recorded; read what has
 * been; record no more, and what has been stays to be read; that, and give the
 * memory back. See docs/trace.md.
 */
#define TMEM_CONTROL_TRACE_BEGIN      11
#define TMEM_CONTROL_TRACE_READ       12
#define TMEM_CONTROL_TRACE_END        13
#define TMEM_CONTROL_TRACE_FREE       14

/* What TMEM_CONTROL_SET sets. */
/* At most TMEM_MAX_WEIGHT; 0: no share, see docs/tmem.md. */
#define TMEM_SET_WEIGHT               1
/* Most ephemeral pages that the client holds; 0: no limit. */
#define TMEM_SET_CAP                  2
#define TMEM_SET_COMPRESS             3 /* 0 or 1; of what is put from now on */
#define TMEM_SET_DEDUP                4 /* likewise */
#define TMEM_MAX_WEIGHT               0xffffU

#if !defined(__ASSEMBLY__) && (defined(__XEN__) || defined(__XEN_TOOLS__))

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
    /* Puts refused because something set aside for them was missing: a fault of
     * tmem's, which is to be reported. */
    uint64_aligned_t broken_bounds;
};
typedef struct tmem_stats_global tmem_stats_global_t;
DEFINE_XEN_GUEST_HANDLE(tmem_stats_global_t);

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
typedef struct tmem_stats_client tmem_stats_client_t;
DEFINE_XEN_GUEST_HANDLE(tmem_stats_client_t);

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
typedef struct tmem_stats_pool tmem_stats_pool_t;
DEFINE_XEN_GUEST_HANDLE(tmem_stats_pool_t);

/* pool.id is the number of the shared pool. */
struct tmem_stats_shared {
    uint64_aligned_t sharers;
    uint64_aligned_t weight, cap;       /* those of the sharer who has the most */
    uint64_aligned_t evicted;
    struct tmem_stats_pool pool;
};
typedef struct tmem_stats_shared tmem_stats_shared_t;
DEFINE_XEN_GUEST_HANDLE(tmem_stats_shared_t);

/* Room of a trace, in records: a power of two. 24 bytes each. */
#define TMEM_TRACE_LEAST              (1U << 12)
#define TMEM_TRACE_MOST               (1U << 19)

/* What a record tells. */
#define TMEM_TRACE_PUT                1 /* a new page */
#define TMEM_TRACE_OVER               2 /* a put over an older page */
#define TMEM_TRACE_REFUSED            3 /* a put: the older page has gone, too */
#define TMEM_TRACE_HIT                4 /* a get; an ephemeral page goes with it */
#define TMEM_TRACE_MISS               5
#define TMEM_TRACE_FAILED             6 /* a get: page there, no frame to copy to */
#define TMEM_TRACE_FLUSH              7
#define TMEM_TRACE_NO_FLUSH           8 /* of a page that is not there */
#define TMEM_TRACE_OBJECT             9 /* flushed, with all of its pages */
#define TMEM_TRACE_NO_OBJECT          10
#define TMEM_TRACE_POOL               11 /* made, or there when the trace began */
#define TMEM_TRACE_POOL_GONE          12 /* with all of its pages */
#define TMEM_TRACE_EVICTED            13 /* by tmem, whoever needed it */

struct tmem_trace_record {
    uint32_t number;            /* of the record: the low half */
    uint32_t time;              /* tmem's clock: since boot, in 2^24 ns */
    /*
     * The low 4 bits: pool. The others: of a page or an object, a hash of its
     * object's id, keyed with secrets of guest and pool; else 0.
     */
    uint64_aligned_t object;
    uint32_t index;             /* of a page; of a pool its flags, TMEM_POOL_* */
    uint16_t domid;             /* of pages in shared pools: DOMID_INVALID */
    uint8_t kind;               /* TMEM_TRACE_* */
    uint8_t pad;                /* zero */
};
typedef struct tmem_trace_record tmem_trace_record_t;
DEFINE_XEN_GUEST_HANDLE(tmem_trace_record_t);

struct xen_sysctl_tmem_op {
    uint32_t version;           /* IN: TMEM_CONTROL_VERSION */
    uint32_t subop;             /* IN: TMEM_CONTROL_*, which chooses from u */
    uint32_t domid;             /* IN: client, or TMEM_CONTROL_ALL_CLIENTS */
    uint32_t pad;               /* IN: zero */
    union {
        struct {
            uint32_t nr;        /* IN: records that fit. OUT: records there are,
                                 * which may be more than fitted */
            uint32_t pad;
            union {             /* OUT */
                XEN_GUEST_HANDLE_64(tmem_stats_global_t) global;
                XEN_GUEST_HANDLE_64(tmem_stats_client_t) clients;
                XEN_GUEST_HANDLE_64(tmem_stats_pool_t) pools;
                XEN_GUEST_HANDLE_64(tmem_stats_shared_t) shared;
            } to;
        } stats;
        struct {
            uint64_aligned_t pages;     /* OUT */
        } freeable;
        /*
         * Oldest first, or as the weights tell. May do less than was asked,
         * and is to be asked again, until a call drops nothing and frees
         * nothing.
         */
        struct {
            uint64_aligned_t pages;     /* IN: to be freed, at most */
            uint64_aligned_t freed;     /* OUT: pages that Xen's heap got */
            uint64_aligned_t dropped;   /* OUT: pages that guests had put */
        } flush;
        struct {
            uint32_t setting;           /* IN: TMEM_SET_* */
            uint32_t pad;               /* IN: zero */
            uint64_aligned_t value;     /* IN */
        } set;
        /* Pools it has joined stay. -ENOSPC: more than 16. */
        struct {
            uint64_aligned_t uuid[2];   /* IN */
            uint32_t allowed;           /* IN: 1: let it in; 0: no more */
            uint32_t pad;               /* IN: zero */
        } shared_auth;
        /*
         * Reading takes nothing away: records are overwritten by new ones.
         * -EBUSY: somebody traces already; -ENODATA: nobody does.
         */
        struct {
            uint32_t nr;                /* IN: room: of the trace; of what is read.
                                         * OUT: records that were read, with no
                                         * gap between them; maybe fewer than
                                         * there are */
            uint32_t pad;               /* IN: zero */
            uint64_aligned_t next;      /* IN: number of the first to read, from 1.
                                         * OUT: what to ask for next */
            uint64_aligned_t lost;      /* OUT: overwritten, before these */
            uint64_aligned_t now;       /* OUT: ns since boot */
            XEN_GUEST_HANDLE_64(tmem_trace_record_t) to;    /* OUT */
        } trace;
    } u;
};
typedef struct xen_sysctl_tmem_op xen_sysctl_tmem_op_t;
DEFINE_XEN_GUEST_HANDLE(xen_sysctl_tmem_op_t);

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
