/* SPDX-License-Identifier: MIT */
/*
 * sampler: reads counters of a machine, one process for as long as it is asked.
 * In a guest it also reports them to a manager in dom0.
 *
 *     sampler [--root DIR] linux NAME...     of this Linux: group.counter
 *     sampler [--root DIR] xen               of Xen, tmem and the disks; in dom0
 *     sampler [--root DIR] memory [tmem]     of the domains' memory alone; in dom0
 *     sampler [--root DIR] report PATH SECONDS NAME=MOVE...
 *                                            of this Linux, to dom0 by xenstore
 *     sampler check                          does nothing: it can be run
 *
 * It obeys lines on its standard input, and ends with it:
 *
 *     once              one reading now
 *     start INTERVAL    a reading at once and every INTERVAL seconds, kept in memory
 *     last              the newest of the readings since start, which stays kept
 *     stop              the readings since start, then the cost
 *
 * As a reporter it looks every INTERVAL seconds, and writes to PATH in xenstore
 * when a counter moved by MOVE since the last report, or after SECONDS without
 * one; it keeps no readings, and its cost ends with the number of reports.
 *
 *     now               epoch seconds of this machine's clock
 *     shift NANOSECONDS sets its clock forward, or back
 *
 * Every answer ends with a line `== end`. A reading is one line. Of Linux: epoch
 * seconds, then NAME=VALUE for each counter that this kernel has. Of Xen: JSON,
 * {"time": epoch seconds, "free": pages, "domains": [{"id", "name", "cpu_ns",
 * "pages"}], "vbd": {domid: {device number: {file: count}}}, "tmem": what
 * `tmemctl list -l --json` prints, or null, and then "tmem_error" says why}. Of
 * memory: {"total", "free", "freeable": pages that tmem would give back, null where
 * there is no tmem, "domains": [{"id", "name", "pages", "dying"}]}, with "tmem" as
 * above where it is asked for. In all, sampler.cpu is the processor time of this
 * process so far, in us.
 *
 * The cost is that time from start to stop, of Linux as a line `cost CPU_SECONDS
 * WALL_SECONDS READINGS`, of Xen as {"cost": {"cpu_seconds", "wall_seconds",
 * "readings"}}.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sampler.h"

static enum { OF_LINUX, OF_XEN, OF_MEMORY, REPORTER } mode;
static bool with_tmem;

static struct {
    bool on;
    double interval, began, spent;
    uint64_t readings;
    uint64_t beat;          /* number of the next one that is due */
    struct text lines;
} sampling;

void die(const char *format, ...)
{
    int saved = errno;
    va_list args;

    va_start(args, format);
    fprintf(stderr, "sampler: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, saved ? ": %s\n" : "\n", strerror(saved));
    va_end(args);
    exit(1);
}

static struct timespec clock_of(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);

    return now;
}

static double monotonic(void)
{
    struct timespec now = clock_of(CLOCK_MONOTONIC);

    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Microseconds of processor time that this process took. */
static uint64_t spent_us(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);

    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * UINT64_C(1000000) +
           used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

static void read_tmem(struct text *out)
{
    const char *refused;
    char *tmem = xen_tmem(&refused);

    if (tmem)
        text_print(out, ",\"tmem\":%s", tmem);
    else
        text_print(out, ",\"tmem\":null,\"tmem_error\":\"%s: %s\"", refused, strerror(errno));
    free(tmem);
}

static void read_xen(struct text *out, const struct timespec *now)
{
    text_print(out, "{\"time\":%lld.%06ld,", (long long)now->tv_sec, now->tv_nsec / 1000);
    domains_read(out);
    text_print(out, ",\"sampler.cpu\":%" PRIu64 ",\"vbd\":", spent_us());
    disks_read(out);
    read_tmem(out);
    text_print(out, "}\n");
}

static void read_memory(struct text *out, const struct timespec *now)
{
    text_print(out, "{\"time\":%lld.%06ld,", (long long)now->tv_sec, now->tv_nsec / 1000);
    domains_read_memory(out);
    text_print(out, ",\"sampler.cpu\":%" PRIu64, spent_us());
    if (with_tmem)
        read_tmem(out);
    text_print(out, "}\n");
}

static void read_linux(struct text *out, const struct timespec *now)
{
    text_print(out, "%lld.%06ld", (long long)now->tv_sec, now->tv_nsec / 1000);
    linux_look();
    linux_print(out);
    text_print(out, " sampler.cpu=%" PRIu64 "\n", spent_us());
}

static void reading(struct text *out)
{
    struct timespec now = clock_of(CLOCK_REALTIME);

    if (mode == OF_XEN)
        read_xen(out, &now);
    else if (mode == OF_MEMORY)
        read_memory(out, &now);
    else
        read_linux(out, &now);
}

/* A late reading does not shift those after it; beats that went by are left out. */
static void sample(void)
{
    double behind;

    if (mode == REPORTER)
        report_look(monotonic());
    else
        reading(&sampling.lines);
    sampling.readings++;
    behind = floor((monotonic() - sampling.began) / sampling.interval);
    sampling.beat = behind >= 0 ? (uint64_t)behind + 1 : sampling.beat + 1;
}

static bool start(const char *interval)
{
    char *end;
    double seconds = strtod(interval, &end);

    if (end == interval || *end || !(seconds > 0) || isinf(seconds))
        return false;
    sampling.on = true;
    sampling.interval = seconds;
    sampling.readings = sampling.beat = 0;
    sampling.lines.length = 0;
    sampling.began = monotonic();
    sampling.spent = spent_us() / 1e6;
    domains_forget();
    sample();

    return true;
}

static void stop(struct text *out)
{
    double cpu = sampling.on ? spent_us() / 1e6 - sampling.spent : 0;
    double wall = sampling.on ? monotonic() - sampling.began : 0;
    bool json = mode == OF_XEN || mode == OF_MEMORY;
    const char *format = json ? "{\"cost\":{\"cpu_seconds\":%.6f,\"wall_seconds\":%.3f,\"readings\":%" PRIu64 "}}\n"
                              : "cost %.6f %.3f %" PRIu64;

    text_add(out, sampling.lines.at, sampling.lines.length);
    if (sampling.on || !json)
        text_print(out, format, cpu, wall, sampling.readings);
    if (mode == REPORTER)
        text_print(out, " %" PRIu64, report_count());
    if (!json)
        text_print(out, "\n");
    free(sampling.lines.at);
    memset(&sampling, 0, sizeof(sampling));
}

/* Reads nothing, so that who looks on costs next to nothing. */
static void last(struct text *out)
{
    size_t begin = sampling.lines.length;

    while (begin > 1 && sampling.lines.at[begin - 2] != '\n')
        begin--;
    begin -= begin > 0;
    text_add(out, sampling.lines.at + begin, sampling.lines.length - begin);
}

static void shift(struct text *out, long long ns)
{
    struct timespec now = clock_of(CLOCK_REALTIME);
    long long time = now.tv_sec * 1000000000LL + now.tv_nsec + ns;

    now.tv_sec = time / 1000000000;
    now.tv_nsec = time % 1000000000;
    if (clock_settime(CLOCK_REALTIME, &now))
        text_print(out, "refused: %s\n", strerror(errno));
    else
        text_print(out, "set\n");
}

static void say(struct text *out)
{
    text_print(out, "== end\n");
    for (size_t done = 0; done < out->length; ) {
        ssize_t written = write(STDOUT_FILENO, out->at + done, out->length - done);

        if (written < 0 && errno != EINTR)
            exit(1);    /* nobody listens any more */
        done += written > 0 ? written : 0;
    }
    /* Readings of hours may have been in it. */
    free(out->at);
    memset(out, 0, sizeof(*out));
}

static void obey(char *line)
{
    static struct text out;
    char *rest = strchr(line, ' ');

    if (rest)
        *rest++ = '\0';
    else
        rest = line + strlen(line);
    if (!strcmp(line, "once")) {
        if (mode == OF_XEN)
            domains_forget();
        reading(&out);
    } else if (!strcmp(line, "start")) {
        if (!start(rest))
            text_print(&out, "no interval: %s\n", rest);
        else
            text_print(&out, "started\n");
    } else if (!strcmp(line, "stop")) {
        stop(&out);
    } else if (!strcmp(line, "last")) {
        if (sampling.lines.length)
            last(&out);
    } else if (!strcmp(line, "now")) {
        struct timespec now = clock_of(CLOCK_REALTIME);

        text_print(&out, "%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    } else if (!strcmp(line, "shift")) {
        shift(&out, strtoll(rest, NULL, 10));
    } else {
        text_print(&out, "unknown: %s\n", line);
    }
    say(&out);
}

/* Waits for input, and reads counters meanwhile when it is time to. */
static void wait_for_input(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

    for (;;) {
        struct timespec left, *limit = NULL;
        int rc;

        if (sampling.on) {
            double wait = sampling.began + sampling.beat * sampling.interval - monotonic();

            wait = wait > 0 ? wait : 0;
            left.tv_sec = wait;
            left.tv_nsec = (wait - left.tv_sec) * 1e9;
            limit = &left;
        }
        rc = ppoll(&input, 1, limit, NULL);
        if (rc > 0)
            return;
        if (rc < 0 && errno != EINTR)
            die("waiting for input");
        if (!rc)
            sample();
    }
}

static void serve(void)
{
    static char pending[4096];
    size_t length = 0;
    struct text hello = { 0 };

    text_print(&hello, "ready\n");
    say(&hello);
    for (;;) {
        ssize_t got;
        char *end;

        wait_for_input();
        got = read(STDIN_FILENO, pending + length, sizeof(pending) - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        length += got;
        pending[length] = '\0';
        while ((end = strchr(pending, '\n'))) {
            *end++ = '\0';
            obey(pending);
            length = pending + length - end;
            memmove(pending, end, length + 1);
        }
        if (length == sizeof(pending) - 1)
            length = 0;     /* no command is that long */
    }
}

int main(int argc, char **argv)
{
    const char *root = "";

    prctl(PR_SET_NAME, "sampler");
    argv++, argc--;
    if (argc > 1 && !strcmp(argv[0], "--root")) {
        root = argv[1];
        argv += 2, argc -= 2;
    }
    if (argc == 1 && !strcmp(argv[0], "check"))
        return 0;
    if (argc == 1 && !strcmp(argv[0], "xen")) {
        mode = OF_XEN;
        xen_open(root);
        disks_open(root);
    } else if (argc > 0 && argc <= 2 && !strcmp(argv[0], "memory") && (argc == 1 || !strcmp(argv[1], "tmem"))) {
        mode = OF_MEMORY;
        with_tmem = argc == 2;
        xen_open(root);
    } else if (argc > 2 && !strcmp(argv[0], "report")) {
        mode = REPORTER;
        report_open(root, argv[1], argv[2], argv + 3, argc - 3);
    } else if (argc > 0 && !strcmp(argv[0], "linux")) {
        linux_open(root, argv + 1, argc - 1);
    } else {
        fputs("usage: sampler [--root DIR] linux NAME... | xen | memory [tmem] | report PATH SECONDS NAME=MOVE...; "
              "sampler check\n", stderr);
        return 2;
    }
    serve();

    return 0;
}
