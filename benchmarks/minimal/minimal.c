/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A paravirtual kernel that does nothing but time tmem's operations, beside an
 * empty hypercall and a copy of a page: what they cost where no other kernel is
 * in the way. It runs as the first domain, prints lines on Xen's console, and
 * switches the machine off. See benchmarks/tmem_minimal.py.
 */

#include <stdint.h>

#define PAGE_SIZE       4096UL
#define VIRT(p)         ((unsigned long)(p))

/*
 * Public headers: xen.h, version.h, sched.h, sysctl.h, tmem.h, and tmem_control.h
 * of the testbed's. Said here again, so that
 * this compiles with nothing but a compiler, and what is timed is the ABI as
 * published: a change of the headers that broke it would show here.
 */
#define CONSOLE_IO      18
#define XEN_VERSION     17
#define SCHED_OP        29
#define SYSCTL          35
#define TMEM_OP         38

struct start_info {
    char magic[32];
    unsigned long nr_pages, shared_info;
    uint32_t flags;
    unsigned long store_mfn;
    uint32_t store_evtchn;
    unsigned long console[2], pt_base, nr_pt_frames, mfn_list;
};

struct tmem_op {
    uint32_t cmd;
    int32_t pool_id;
    union {
        struct {
            uint64_t uuid[2];
            uint32_t flags, arg1;
        } creat;
        struct {
            uint64_t oid[3];
            uint32_t index, tmem_offset, pfn_offset, len;
            uint64_t cmfn;
        } gen;
    } u;
};

struct sysctl {
    uint32_t cmd, interface_version;
    struct {
        uint32_t version, subop, domid, pad;
        uint32_t nr, nr_pad;
        uint64_t next, lost, now, to;
        uint64_t other[4];
    } tmem;
    uint64_t rest[16];
};
enum { SYSCTL_VERSION = 0x15, SYSCTL_TMEM = 24, CONTROL_VERSION = 4 };
enum { TRACE_BEGIN = 11, TRACE_READ = 12, TRACE_END = 13, TRACE_FREE = 14 };
enum { TOLD_PUT = 1, TOLD_OVER = 2, TOLD_HIT = 4, TOLD_MISS = 5, TOLD_FLUSH = 7, TOLD_POOL_GONE = 12 };
#define ROOM            (1U << 17)

struct record {
    uint32_t number, time;
    uint64_t object;
    uint32_t index;
    uint16_t domid;
    uint8_t kind, pad;
};

enum { NEW_POOL = 1, DESTROY_POOL = 2, PUT = 4, GET = 5, FLUSH = 6 };
#define PERSISTENT      1
#define VERSION         (1U << 24)

extern char hypercall_page[];

static long hypercall(unsigned int nr, unsigned long a, unsigned long b,
                      unsigned long c)
{
    long rc;
    void *target = hypercall_page + nr * 32;

    asm volatile ( "call *%[target]"
                   : "=a" (rc), "+D" (a), "+S" (b), "+d" (c)
                   : [target] "r" (target)
                   : "memory", "rcx", "r8", "r9", "r10", "r11" );

    return rc;
}

static uint64_t clock(void)
{
    uint32_t low, high;

    asm volatile ( "lfence; rdtsc" : "=a" (low), "=d" (high) :: "memory" );

    return ((uint64_t)high << 32) | low;
}

static void say(const char *text)
{
    unsigned long length = 0;

    while ( text[length] )
        length++;
    hypercall(CONSOLE_IO, 0, length, VIRT(text));
}

static void say_number(uint64_t value)
{
    char text[24], *p = text + sizeof(text);

    *--p = 0;
    do
        *--p = '0' + value % 10;
    while ( value /= 10 );
    say(p);
}

static __attribute__((noreturn)) void finish(void)
{
    uint32_t reason = 1;       /* a reboot, which ends QEMU */

    for ( ; ; )
        hypercall(SCHED_OP, 2, VIRT(&reason), 0);
}

static void check(long rc, long wanted, const char *what)
{
    if ( rc == wanted )
        return;
    say("minimal: error=");
    say(rc < 0 ? "-" : "");
    say_number(rc < 0 ? -rc : rc);
    say(" of ");
    say(what);
    say("\n");
    finish();
}

/* So many pages are put and got by turns, from and to as many frames. */
#define PAGES           64
#define ROUNDS          512
/* Operations that are timed together: reading the clock costs, too. */
#define BATCH           16
/* New pages, each timed by itself, into a pool that grows. */
#define EACH            8192

static uint8_t memory[2 * PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t mfns[2 * PAGES];
static uint64_t cycles[ROUNDS * PAGES / BATCH], each[EACH];

static void copy_page(void *to, const void *from)
{
    unsigned long words = PAGE_SIZE / 8;

    asm volatile ( "rep movsq" : "+D" (to), "+S" (from), "+c" (words) :: "memory" );
}

static void sort(uint64_t *values, unsigned int nr)
{
    unsigned int gap, i, j;

    for ( gap = nr / 2; gap; gap /= 2 )
        for ( i = gap; i < nr; i++ )
        {
            uint64_t value = values[i];

            for ( j = i; j >= gap && values[j - gap] > value; j -= gap )
                values[j] = values[j - gap];
            values[j] = value;
        }
}

enum what { TIMER, EMPTY, COPY, PUT_NEW, PUT_OVER, GET_HIT, FLUSHED, GET_MISS, NR_OPERATIONS };
static const char *const names[NR_OPERATIONS] = {
    "timer", "empty_hypercall", "copy_4096", "put_new", "put_duplicate", "get_hit", "flush_page",
    "get_miss",
};

static struct tmem_op page_op(uint32_t cmd, int pool, uint32_t index, uint64_t mfn)
{
    struct tmem_op op = { .cmd = cmd, .pool_id = pool };

    op.u.gen.oid[0] = 1 + index / 64;
    op.u.gen.index = index;
    op.u.gen.cmfn = mfn;

    return op;
}

/* Cycles of a batch, of which `first` is the first page. */
static uint64_t time_batch(enum what what, int pool, unsigned int first)
{
    static const uint32_t commands[NR_OPERATIONS] = {
        [PUT_NEW] = PUT, [PUT_OVER] = PUT, [GET_HIT] = GET, [FLUSHED] = FLUSH, [GET_MISS] = GET,
    };
    static struct tmem_op ops[BATCH];
    unsigned int i;
    uint64_t start;
    long rc = 1, wanted = what == GET_MISS ? 0 : 1;

    for ( i = 0; i < BATCH && what > COPY; i++ )
        ops[i] = page_op(commands[what], pool, first + i, mfns[first + i]);

    start = clock();
    switch ( what )
    {
    case TIMER:
        break;
    case EMPTY:
        for ( i = 0; i < BATCH; i++ )
            hypercall(XEN_VERSION, 0, 0, 0);
        break;
    case COPY:
        for ( i = 0; i < BATCH; i++ )
            copy_page(memory[PAGES + first + i], memory[first + i]);
        break;
    default:
        for ( i = 0, rc = wanted; i < BATCH && rc == wanted; i++ )
            rc = hypercall(TMEM_OP, VIRT(&ops[i]), 0, 0);
        break;
    }
    start = clock() - start;
    check(what > COPY ? rc : wanted, wanted, names[what]);

    return start;
}

static void report(const char *kind, const char *name, const uint64_t *sorted, unsigned int nr,
                   unsigned int per, uint64_t timer)
{
    static const unsigned int percents[] = { 50, 90, 99 };
    static const char *const tags[] = { " median=", " p90=", " p99=" };
    unsigned int i;

    say("minimal: kind=");
    say(kind);
    say(" name=");
    say(name);
    for ( i = 0; i < 3; i++ )
    {
        uint64_t value = sorted[(nr - 1) * percents[i] / 100];

        say(tags[i]);
        say_number(value > timer ? (value - timer) / per : 0);
    }
    say("\n");
}

static void time_pool(const char *kind, uint32_t flags)
{
    /* What each finds is what those before it left. */
    static const enum what turns[] = { TIMER, EMPTY, COPY, PUT_NEW, PUT_OVER, GET_HIT, FLUSHED, GET_MISS };
    struct tmem_op op = { .cmd = NEW_POOL };
    uint64_t timer = 0;
    unsigned int turn, round, i;
    int pool;

    op.u.creat.flags = VERSION | flags;
    pool = hypercall(TMEM_OP, VIRT(&op), 0, 0);
    check(pool < 0 ? pool : 0, 0, "new pool");

    for ( turn = 0; turn < NR_OPERATIONS; turn++ )
    {
        enum what what = turns[turn];
        unsigned int nr = 0;

        for ( round = 0; round < ROUNDS; round++ )
        {
            /* An ephemeral get has dropped the page. */
            for ( i = 0; i < PAGES && what >= PUT_OVER && what <= FLUSHED; i++ )
            {
                op = page_op(PUT, pool, i, mfns[i]);
                check(hypercall(TMEM_OP, VIRT(&op), 0, 0), 1, "put");
            }
            for ( i = 0; i < PAGES; i += BATCH )
                cycles[nr++] = time_batch(what, pool, i);
            for ( i = 0; i < PAGES && what > COPY; i++ )
            {
                op = page_op(FLUSH, pool, i, 0);
                check(hypercall(TMEM_OP, VIRT(&op), 0, 0), 1, "flush");
            }
        }
        sort(cycles, nr);
        report(kind, names[what], cycles, nr, BATCH, timer);
        if ( what == TIMER )
            timer = cycles[(nr - 1) / 2];
    }

    for ( i = 0; i < EACH; i++ )
    {
        each[i] = clock();
        each[i] = clock() - each[i];
    }
    sort(each, EACH);
    timer = each[EACH / 2];
    for ( i = 0; i < EACH; i++ )
    {
        op = page_op(PUT, pool, PAGES + i, mfns[i % PAGES]);
        each[i] = clock();
        check(hypercall(TMEM_OP, VIRT(&op), 0, 0), 1, "put of a new page");
        each[i] = clock() - each[i];
    }
    sort(each, EACH);
    report(kind, "put_each", each, EACH, 1, timer);

    op = (struct tmem_op){ .cmd = DESTROY_POOL, .pool_id = pool };
    check(hypercall(TMEM_OP, VIRT(&op), 0, 0), 1, "destroy");
}

static struct sysctl control = { .cmd = SYSCTL_TMEM, .interface_version = SYSCTL_VERSION };

static void trace(uint32_t subop, uint32_t nr, const char *what)
{
    control.tmem.version = CONTROL_VERSION;
    control.tmem.subop = subop;
    control.tmem.nr = nr;
    check(hypercall(SYSCTL, VIRT(&control), 0, 0), 0, what);
}

/*
 * What nobody has read while operations were timed is overwritten, all but the newest: the
 * last of them are those that are made here.
 */
static void check_trace(void)
{
    static const struct { uint32_t cmd; uint8_t told; } done[] = {
        { PUT, TOLD_PUT }, { PUT, TOLD_OVER }, { GET, TOLD_HIT }, { GET, TOLD_MISS }, { PUT, TOLD_PUT },
        { FLUSH, TOLD_FLUSH },
    };
    enum { DONE = sizeof(done) / sizeof(done[0]) };
    static struct record records[512];
    struct tmem_op op = { .cmd = NEW_POOL };
    uint64_t lost = 0, read = 0, last = 0;
    unsigned int i;
    int pool;

    op.u.creat.flags = VERSION;
    pool = hypercall(TMEM_OP, VIRT(&op), 0, 0);
    check(pool < 0 ? pool : 0, 0, "new pool");
    for ( i = 0; i < DONE; i++ )
    {
        op = page_op(done[i].cmd, pool, 7, mfns[0]);
        check(hypercall(TMEM_OP, VIRT(&op), 0, 0), done[i].told != TOLD_MISS, "an operation that is traced");
    }
    op = (struct tmem_op){ .cmd = DESTROY_POOL, .pool_id = pool };
    check(hypercall(TMEM_OP, VIRT(&op), 0, 0), 1, "destroy");
    trace(TRACE_END, 0, "ending a trace");

    control.tmem.to = VIRT(records);
    for ( ; ; )
    {
        trace(TRACE_READ, sizeof(records) / sizeof(records[0]), "reading a trace");
        lost += control.tmem.lost;
        if ( !control.tmem.nr )
            break;
        read += control.tmem.nr;
        last = control.tmem.nr;
        check(records[0].number, (uint32_t)(control.tmem.next - last), "a record's number");
        check(records[last - 1].number, (uint32_t)(control.tmem.next - 1), "a record's number");
    }
    check(lost != 0 && read == ROOM, 1, "a ring that is full");
    check(last > DONE, 1, "so many records at the end");
    for ( i = 0; i < DONE; i++ )
    {
        const struct record *r = &records[last - 1 - DONE + i];

        check(r->kind, done[i].told, "a record's kind");
        check(r->index == 7 && !r->domid && (int)(r->object & 15) == pool && !r->pad, 1, "a record");
    }
    check(records[last - 1].kind, TOLD_POOL_GONE, "the last record's kind");
    trace(TRACE_FREE, 0, "freeing a trace");
    say("minimal: trace records=");
    say_number(read);
    say(" lost=");
    say_number(lost);
    say("\n");
}

void run(const struct start_info *info)
{
    const unsigned long *frames = (const unsigned long *)info->mfn_list;
    unsigned int i, j;

    for ( i = 0; i < 2 * PAGES; i++ )
    {
        mfns[i] = frames[(VIRT(memory[i]) - VIRT_BASE) / PAGE_SIZE];
        for ( j = 0; j < PAGE_SIZE; j++ )
            memory[i][j] = i * 131 + j * 7 + 1;
    }
    time_pool("ephemeral", 0);
    time_pool("persistent", PERSISTENT);
    trace(TRACE_BEGIN, ROOM, "beginning a trace");
    time_pool("ephemeral_traced", 0);
    time_pool("persistent_traced", PERSISTENT);
    check_trace();
    say("minimal: done\n");
    finish();
}
