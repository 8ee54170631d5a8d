/* SPDX-License-Identifier: MIT */
/*
 * Records what guests ask of tmem into a file, whose format is docs/trace.md's.
 *
 * Xen overwrites what is not read in time, so it is read often, and what was
 * lost is told where it was lost. Tracing ends, and its memory goes back to Xen,
 * however this ends, but for SIGKILL.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "trace.h"

/* As many as Xen tells at once; and how long it is left alone between. */
#define RECORDS     4096
#define PAUSE_MS    100

#define MAGIC       "TMEMTRC\n"
#define VERSION     1
enum block_kind { BLOCK_RECORDS = 1, BLOCK_COUNTERS = 2, BLOCK_END = 3 };

struct header {
    char magic[8];
    uint32_t version, record_bytes;
    uint64_t realtime;          /* ns since 1970, when the trace began */
    uint64_t uptime;            /* the same moment by Xen's clock, ns */
};

/* What follows: `bytes` of records, or of JSON. */
struct block {
    uint32_t kind, bytes;
    uint64_t first;             /* number of the first record; END: of the next */
    uint64_t lost;              /* since the block of records before; END: in all */
    uint64_t uptime;            /* when Xen told it, ns */
};

_Static_assert(sizeof(struct header) == 32 && sizeof(struct block) == 32 && sizeof(struct tmem_trace_record) == 24,
               "the format of docs/trace.md");

static xencall_handle *xcall;
static FILE *out;
static struct tmem_trace_record *records;
static bool tracing;
static volatile sig_atomic_t ended;
static uint64_t next = 1, read_in_all, lost_in_all;

static void end_by_signal(int number)
{
    (void)number;
    ended = 1;
}

/* Also when something has failed: whoever traces next must be able to. */
static void free_trace(void)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_TRACE_FREE };

    if (tracing)
        tmem_control(xcall, &op);
    tracing = false;
}

static void put(const void *data, size_t bytes)
{
    if (bytes && fwrite(data, bytes, 1, out) != 1)
        die(1, "writing the trace: %s", strerror(errno));
}

static void put_block(enum block_kind kind, const void *data, size_t bytes, uint64_t first, uint64_t lost,
                      uint64_t uptime)
{
    struct block block = { .kind = kind, .bytes = bytes, .first = first, .lost = lost, .uptime = uptime };

    put(&block, sizeof(block));
    put(data, bytes);
}

static void put_counters(void)
{
    struct reading r;
    const char *failed = tmem_read(xcall, &r, true);
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory;

    if (failed)
        must(-1, failed);
    memory = open_memstream(&text, &bytes);
    if (!memory)
        die(1, "out of memory");
    print_json(memory, &r);
    fclose(memory);
    tmem_free(&r);
    put_block(BLOCK_COUNTERS, text, bytes, next, 0, 0);
    free(text);
}

/* How many records that were, with those that were lost; few: there are no more for now. */
static uint64_t read_some(void)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_TRACE_READ, .u.trace = { .nr = RECORDS, .next = next } };

    set_xen_guest_handle(op.u.trace.to, records);
    must(tmem_control(xcall, &op), "reading the trace");
    if (op.u.trace.nr || op.u.trace.lost)
        put_block(BLOCK_RECORDS, records, op.u.trace.nr * sizeof(*records), op.u.trace.next - op.u.trace.nr,
                  op.u.trace.lost, op.u.trace.now);
    next = op.u.trace.next;
    read_in_all += op.u.trace.nr;
    lost_in_all += op.u.trace.lost;

    return op.u.trace.nr + op.u.trace.lost;
}

static void begin(uint32_t room)
{
    struct header header = { .magic = MAGIC, .version = VERSION, .record_bytes = sizeof(*records) };
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_TRACE_BEGIN, .u.trace.nr = room };
    struct timespec now;

    must(tmem_control(xcall, &op), "beginning to trace");
    tracing = true;
    clock_gettime(CLOCK_REALTIME, &now);
    header.realtime = now.tv_sec * 1000000000ULL + now.tv_nsec;
    header.uptime = op.u.trace.now;
    put(&header, sizeof(header));
    put_counters();
}

static void finish(void)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_TRACE_END };

    must(tmem_control(xcall, &op), "ending the trace");
    while (read_some())
        ;
    put_counters();
    put_block(BLOCK_END, NULL, 0, next, lost_in_all, 0);
    free_trace();
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Whether standard input has ended, which whoever started this closes. */
static bool input_ended(bool watched)
{
    struct pollfd input = { .fd = watched ? STDIN_FILENO : -1, .events = POLLIN };
    char byte;

    return poll(&input, 1, PAUSE_MS) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int trace_to_file(xencall_handle *handle, const struct trace_options *options)
{
    struct sigaction action = { .sa_handler = end_by_signal };
    double until = seconds_now() + options->seconds;

    xcall = handle;
    out = strcmp(options->file, "-") ? fopen(options->file, "w") : stdout;
    if (!out)
        die(1, "can't write %s: %s", options->file, strerror(errno));
    records = xencall_alloc_buffer(xcall, RECORDS * sizeof(*records));
    if (!records)
        die(1, "out of memory");
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    atexit(free_trace);

    begin(options->room);
    while (!ended && (!options->seconds || seconds_now() < until)) {
        while (read_some() >= RECORDS && !ended)
            ;
        if (fflush(out))
            die(1, "writing the trace: %s", strerror(errno));
        if (input_ended(options->until_input_ends))
            break;
    }
    finish();
    if (fflush(out) || (out != stdout && fclose(out)))
        die(1, "writing the trace: %s", strerror(errno));
    fprintf(stderr, "tmemctl: %" PRIu64 " records, %" PRIu64 " lost\n", read_in_all, lost_in_all);
    xencall_free_buffer(xcall, records);

    return 0;
}

/* Of a reader that was killed. */
int trace_off(xencall_handle *handle)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_TRACE_FREE };

    must(tmem_control(handle, &op), "ending a trace");

    return 0;
}
