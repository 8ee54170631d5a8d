/* SPDX-License-Identifier: MIT */
/*
 * tmemctl: looks at and controls the transcendent memory of this host's Xen.
 *
 * Runs in dom0. Exit codes: 0 done; 1 Xen refused; 2 wrong usage; 3 this
 * hypervisor has no tmem, or it is off.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

static const char usage_text[] =
    "tmemctl: transcendent memory of this host\n"
    "\n"
    "  tmemctl list [-l] [--json]     counters; -l: with levels, pools and cycles\n"
    "  tmemctl freeable               MiB that Xen would take back at once\n"
    "  tmemctl freeze DOMID|all       refuse new pages of a guest, or of all, also\n"
    "                                 of those to come\n"
    "  tmemctl thaw DOMID|all         end that freeze; `all` leaves frozen who was\n"
    "                                 frozen by number\n"
    "  tmemctl flush DOMID|all PAGES [--json]\n"
    "                                 give the oldest ephemeral pages back to Xen, until\n"
    "                                 so many pages of its memory are free; prints how\n"
    "                                 many are; --json: also how many went for it\n"
    "  tmemctl set DOMID|all OPTION VALUE...\n"
    "      --weight N                 share of ephemeral memory under pressure, 0 to\n"
    "                                 65535; of one guest\n"
    "      --cap PAGES                most ephemeral pages, 0: no limit; of one guest\n"
    "      --compress 0|1             compress what is put from now on\n"
    "      --dedup 0|1                let ephemeral pages share frames with equal ones\n"
    "  tmemctl shared-auth DOMID UUID yes|no\n"
    "                                 let a guest join the shared pool of that name\n"
    "  tmemctl trace FILE [--seconds N] [--room RECORDS] [--until-input-ends]\n"
    "                                 record what guests ask of tmem, until it is\n"
    "                                 interrupted, or so long; FILE `-`: standard output.\n"
    "                                 --room: that Xen keeps, 24 bytes each: 4096 to\n"
    "                                 524288, a power of two (131072)\n"
    "  tmemctl trace-off              end a trace whose reader was killed\n"
    "\n"
    "`list` prints the format of `xl tmem-list`; see docs/tmem.md for its tags.\n";

static xencall_handle *xcall;

void die(int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "tmemctl: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(code);
}

void must(int rc, const char *doing)
{
    if (rc >= 0)
        return;
    switch (errno) {
    case ENOSYS:
        die(3, "this hypervisor has no tmem; boot the one that the testbed builds");
    case ENODEV:
        die(3, "tmem is off; add \"tmem\" to Xen's command line and reboot (or the guest has no pool)");
    case EPERM:
        die(1, "%s: only the control domain may", doing);
    case EACCES:
        die(1, "%s: refused by XSM, or this hypervisor's sysctls are not of version %#x", doing,
            XEN_SYSCTL_INTERFACE_VERSION);
    case ENOSPC:
        die(1, "%s: the guest may join 16 shared pools already", doing);
    case EBUSY:
        die(1, "%s: somebody traces already; `tmemctl trace-off` ends what a killed reader left", doing);
    case ENODATA:
        die(1, "%s: nobody traces", doing);
    case ENOENT:
        die(1, "%s: the guest was not let in before", doing);
    case ESRCH:
        die(1, "%s: no such domain; see `xl list`", doing);
    default:
        die(1, "%s: %s", doing, strerror(errno));
    }
}

static int list(int argc, char **argv)
{
    bool long_form = false, json = false;
    struct reading r;
    const char *failed;

    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "-l"))
            long_form = true;
        else if (!strcmp(argv[i], "--json"))
            json = true;
        else
            die(2, "list: unknown option %s (there are -l and --json)", argv[i]);
    }

    failed = tmem_read(xcall, &r, long_form || json);
    if (failed)
        must(-1, failed);
    if (json)
        print_json(stdout, &r);
    else
        print_lines(stdout, &r, long_form);
    tmem_free(&r);

    return 0;
}

static uint64_t number(const char *text, uint64_t most, const char *what)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value > most)
        die(2, "%s is not a %s", text, what);

    return value;
}

static uint32_t domid(const char *text)
{
    if (!strcmp(text, "all"))
        return TMEM_CONTROL_ALL_CLIENTS;

    return number(text, 0x7fef, "domain number, nor all");
}

static uint32_t one_domid(const char *text)
{
    if (!strcmp(text, "all"))
        die(2, "one guest's number, please: this is nothing for all at once");

    return domid(text);
}

static const struct {
    const char *option;
    uint32_t setting;
    uint64_t most;
    const char *what;
    bool for_all;
} settings[] = {
    { "--weight", TMEM_SET_WEIGHT, TMEM_MAX_WEIGHT, "weight (0 to 65535)", false },
    { "--cap", TMEM_SET_CAP, UINT64_MAX, "number of pages", false },
    { "--compress", TMEM_SET_COMPRESS, 1, "switch (0 or 1)", true },
    { "--dedup", TMEM_SET_DEDUP, 1, "switch (0 or 1)", true },
};

static size_t find_setting(const char *option)
{
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (!strcmp(settings[i].option, option))
            return i;
    die(2, "set: unknown option %s (there are --weight, --cap, --compress and --dedup)", option);
}

/* All options are read before the first takes effect. */
static int set(int argc, char **argv)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 1; i < argc; i += 2) {
            size_t nr = find_setting(argv[i]);
            struct xen_sysctl_tmem_op op = {
                .subop = TMEM_CONTROL_SET,
                .u.set.setting = settings[nr].setting,
            };

            if (i + 1 == argc)
                die(2, "set: %s needs a value", argv[i]);
            op.domid = settings[nr].for_all ? domid(argv[0]) : one_domid(argv[0]);
            op.u.set.value = number(argv[i + 1], settings[nr].most, settings[nr].what);
            if (pass)
                must(tmem_control(xcall, &op), argv[i]);
        }
    }

    return 0;
}

/*
 * The two words in which a guest names the pool: the UUID's 16 bytes, in the
 * order in which they are written, as it has them in memory.
 */
static void parse_uuid(const char *text, uint64_t words[2])
{
    unsigned int digits = 0;

    words[0] = words[1] = 0;
    for (const char *p = text; *p; p++) {
        static const char hex[] = "0123456789abcdefABCDEF";
        const char *found = strchr(hex, *p);
        uint64_t nibble;

        if (*p == '-' && (p - text == 8 || p - text == 13 || p - text == 18 ||
                          p - text == 23))
            continue;
        if (!found || digits == 32)
            die(2, "%s is no UUID (32 hexadecimal digits)", text);
        nibble = found - hex < 16 ? found - hex : found - hex - 6;
        words[digits / 16] |= nibble << (digits % 16 / 2 * 8 + (digits % 2 ? 0 : 4));
        digits++;
    }
    if (digits != 32)
        die(2, "%s is no UUID (32 hexadecimal digits)", text);
}

static int shared_auth(const char *client, const char *uuid, const char *answer)
{
    struct xen_sysctl_tmem_op op = {
        .subop = TMEM_CONTROL_SHARED_AUTH,
        .domid = one_domid(client),
    };
    uint64_t words[2];

    if (!strcmp(answer, "yes"))
        op.u.shared_auth.allowed = 1;
    else if (strcmp(answer, "no"))
        die(2, "shared-auth: yes or no, not %s", answer);
    parse_uuid(uuid, words);
    op.u.shared_auth.uuid[0] = words[0];
    op.u.shared_auth.uuid[1] = words[1];

    must(tmem_control(xcall, &op), "shared-auth");

    return 0;
}

static int freeable(void)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_FREEABLE };

    must(tmem_control(xcall, &op), "asking what is freeable");
    printf("%" PRIu64 "\n", op.u.freeable.pages / 256);

    return 0;
}

static int freeze(const char *client, bool thaw)
{
    struct xen_sysctl_tmem_op op = {
        .subop = thaw ? TMEM_CONTROL_THAW : TMEM_CONTROL_FREEZE,
        .domid = domid(client),
    };

    must(tmem_control(xcall, &op), thaw ? "thaw" : "freeze");

    return 0;
}

static int flush(const char *client, const char *pages, bool json)
{
    uint64_t wanted = number(pages, UINT32_MAX, "number of pages"), done = 0, dropped = 0;

    while (done < wanted) {
        struct xen_sysctl_tmem_op op = {
            .subop = TMEM_CONTROL_FLUSH,
            .domid = domid(client),
            .u.flush.pages = wanted - done,
        };

        must(tmem_control(xcall, &op), "flush");
        /* Pages may go without a frame for each: that is no end of it. */
        if (!op.u.flush.freed && !op.u.flush.dropped)
            break;
        done += op.u.flush.freed;
        dropped += op.u.flush.dropped;
    }
    if (json) {
        printf("{\"freed\":%" PRIu64 ",\"dropped\":%" PRIu64 "}\n", done, dropped);
        return 0;
    }
    printf("%" PRIu64 "\n", done);
    if (dropped != done)
        fprintf(stderr, "tmemctl: %" PRIu64 " pages of guests were dropped for it\n", dropped);

    return 0;
}

static int trace(int argc, char **argv)
{
    struct trace_options options = { .file = argv[0], .room = 1 << 17 };

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--until-input-ends"))
            options.until_input_ends = true;
        else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
            options.seconds = number(argv[++i], 86400 * 7, "number of seconds");
        else if (!strcmp(argv[i], "--room") && i + 1 < argc)
            options.room = number(argv[++i], TMEM_TRACE_MOST, "number of records");
        else
            die(2, "trace: unknown option %s, or without its value", argv[i]);
    }
    if (options.room < TMEM_TRACE_LEAST || options.room & (options.room - 1))
        die(2, "trace: --room is a power of two from %u to %u", TMEM_TRACE_LEAST, TMEM_TRACE_MOST);

    return trace_to_file(xcall, &options);
}

static int run(int argc, char **argv)
{
    const char *task = argc > 1 ? argv[1] : "";

    if (!strcmp(task, "list"))
        return list(argc - 2, argv + 2);
    if (!strcmp(task, "set") && argc > 4)
        return set(argc - 2, argv + 2);
    if (!strcmp(task, "shared-auth") && argc == 5)
        return shared_auth(argv[2], argv[3], argv[4]);
    if (!strcmp(task, "freeable") && argc == 2)
        return freeable();
    if (!strcmp(task, "freeze") && argc == 3)
        return freeze(argv[2], false);
    if (!strcmp(task, "thaw") && argc == 3)
        return freeze(argv[2], true);
    if (!strcmp(task, "flush") && argc == 4)
        return flush(argv[2], argv[3], false);
    if (!strcmp(task, "flush") && argc == 5 && !strcmp(argv[4], "--json"))
        return flush(argv[2], argv[3], true);
    if (!strcmp(task, "trace") && argc > 2)
        return trace(argc - 2, argv + 2);
    if (!strcmp(task, "trace-off") && argc == 2)
        return trace_off(xcall);

    fputs(usage_text, stderr);
    return 2;
}

int main(int argc, char **argv)
{
    int rc;

    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(usage_text, stdout);
        return 0;
    }

    xcall = xencall_open(NULL, 0);
    if (!xcall)
        die(3, "can't open /dev/xen/privcmd: %s (run in dom0, as root)", strerror(errno));
    rc = run(argc, argv);
    xencall_close(xcall);

    return rc;
}
