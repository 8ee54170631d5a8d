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

#include <xencall.h>

#include "tmemctl.h"

#define HYPERCALL_TMEM_OP   38
/* What the hypervisor copies in and out: a tmem_op_t. */
#define OP_BYTES            56

static const char usage_text[] =
    "tmemctl: transcendent memory of this host\n"
    "\n"
    "  tmemctl list [-l] [--json]     counters; -l: with levels, pools and cycles\n"
    "  tmemctl freeable               MiB that Xen would take back at once\n"
    "  tmemctl freeze DOMID|all       refuse new pages of a guest\n"
    "  tmemctl thaw DOMID|all         accept them again\n"
    "  tmemctl flush DOMID|all PAGES  give the oldest ephemeral pages back to Xen\n"
    "  tmemctl set DOMID|all NAME=VALUE...  change a guest's settings:\n"
    "      compress=0|1               compress what it puts from now on\n"
    "      dedup=0|1                  let its ephemeral pages share frames with equal ones\n"
    "\n"
    "`list` prints the format of `xl tmem-list`; see tmem/README.md for its tags.\n";

static xencall_handle *xcall;

static __attribute__((noreturn, format(printf, 2, 3)))
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

/* One control operation; `records` of `bytes` each are copied out of Xen. */
static int control(struct tmem_control *ctl, void *records, size_t bytes)
{
    void *op, *buffer = NULL;
    int rc, saved;

    op = xencall_alloc_buffer(xcall, OP_BYTES);
    if (bytes)
        buffer = xencall_alloc_buffer(xcall, bytes);
    if (!op || (bytes && !buffer))
        die(1, "no memory for a hypercall buffer");

    memset(op, 0, OP_BYTES);
    if (bytes)
        memset(buffer, 0, bytes);
    ctl->cmd = TMEM_CONTROL;
    ctl->version = TMEM_CONTROL_VERSION;
    ctl->buf = (uintptr_t)buffer;
    memcpy(op, ctl, sizeof(*ctl));

    rc = xencall1(xcall, HYPERCALL_TMEM_OP, (uintptr_t)op);
    saved = errno;
    memcpy(ctl, op, sizeof(*ctl));
    if (bytes)
        memcpy(records, buffer, bytes);

    xencall_free_buffer(xcall, buffer);
    xencall_free_buffer(xcall, op);
    errno = saved;

    return rc;
}

static void must(int rc, const char *doing)
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
    case ESRCH:
        die(1, "%s: no such domain; see `xl list`", doing);
    default:
        die(1, "%s: %s", doing, strerror(errno));
    }
}

static void read_pools(struct client *c)
{
    struct tmem_control ctl = {
        .subop = TMEM_CONTROL_POOLS,
        .domid = c->stats.domid,
        .nr = MAX_POOLS,
    };

    /* A guest that has gone since it was listed has no pools. */
    if (control(&ctl, c->pools, sizeof(c->pools)) >= 0)
        c->nr_pools = ctl.nr;
}

static void take_reading(struct reading *r, bool pools)
{
    struct tmem_control ctl = { .subop = TMEM_CONTROL_GLOBAL };
    struct tmem_stats_client *records;
    unsigned int room = 32;

    must(control(&ctl, &r->global, sizeof(r->global)), "reading counters");

    for (;;) {
        records = calloc(room, sizeof(*records));
        if (!records)
            die(1, "no memory for %u clients", room);
        memset(&ctl, 0, sizeof(ctl));
        ctl.subop = TMEM_CONTROL_CLIENTS;
        ctl.nr = room;
        must(control(&ctl, records, room * sizeof(*records)), "listing clients");
        if (ctl.nr <= room)
            break;
        room = ctl.nr + 8;
        free(records);
    }

    r->nr_clients = ctl.nr;
    r->clients = calloc(ctl.nr ? ctl.nr : 1, sizeof(*r->clients));
    if (!r->clients)
        die(1, "no memory for %u clients", ctl.nr);
    for (unsigned int i = 0; i < ctl.nr; i++) {
        r->clients[i].stats = records[i];
        if (pools)
            read_pools(&r->clients[i]);
    }
    free(records);
}

static int list(int argc, char **argv)
{
    bool long_form = false, json = false;
    struct reading r = { 0 };

    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "-l"))
            long_form = true;
        else if (!strcmp(argv[i], "--json"))
            json = true;
        else
            die(2, "list: unknown option %s (there are -l and --json)", argv[i]);
    }

    take_reading(&r, long_form || json);
    if (json)
        print_json(&r);
    else
        print_lines(&r, long_form);
    free(r.clients);

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

static int freeable(void)
{
    struct tmem_control ctl = { .subop = TMEM_CONTROL_FREEABLE };

    must(control(&ctl, NULL, 0), "asking what is freeable");
    printf("%" PRIu64 "\n", ctl.value / 256);

    return 0;
}

static int freeze(const char *client, bool thaw)
{
    struct tmem_control ctl = {
        .subop = thaw ? TMEM_CONTROL_THAW : TMEM_CONTROL_FREEZE,
        .domid = domid(client),
    };

    must(control(&ctl, NULL, 0), thaw ? "thaw" : "freeze");

    return 0;
}

static int flush(const char *client, const char *pages)
{
    uint64_t wanted = number(pages, UINT32_MAX, "number of pages"), done = 0;

    while (done < wanted) {
        struct tmem_control ctl = {
            .subop = TMEM_CONTROL_FLUSH,
            .domid = domid(client),
            .value = wanted - done,
        };

        must(control(&ctl, NULL, 0), "flush");
        if (!ctl.value)
            break;
        done += ctl.value;
    }
    printf("%" PRIu64 "\n", done);

    return 0;
}

static const struct {
    const char *name;
    uint32_t number;
    uint64_t most;
} settings[] = {
    { "compress", TMEM_SET_COMPRESS, 1 },
    { "dedup", TMEM_SET_DEDUP, 1 },
};

/* Fills in the setting that NAME=VALUE is about. */
static void parse_setting(const char *text, struct tmem_control *ctl)
{
    const char *value = strchr(text, '=');

    for (size_t i = 0; value && i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strncmp(settings[i].name, text, value - text) ||
            settings[i].name[value - text])
            continue;
        ctl->nr = settings[i].number;
        ctl->value = number(value + 1, settings[i].most, "value of that setting");
        return;
    }
    die(2, "set: %s is not NAME=VALUE of a setting; see tmemctl --help", text);
}

static int set(const char *client, int argc, char **argv)
{
    /* All are understood before any is made. */
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < argc; i++) {
            struct tmem_control ctl = {
                .subop = TMEM_CONTROL_SET,
                .domid = domid(client),
            };

            parse_setting(argv[i], &ctl);
            if (pass)
                must(control(&ctl, NULL, 0), argv[i]);
        }
    }

    return 0;
}

static int run(int argc, char **argv)
{
    const char *task = argc > 1 ? argv[1] : "";

    if (!strcmp(task, "list"))
        return list(argc - 2, argv + 2);
    if (!strcmp(task, "freeable") && argc == 2)
        return freeable();
    if (!strcmp(task, "freeze") && argc == 3)
        return freeze(argv[2], false);
    if (!strcmp(task, "thaw") && argc == 3)
        return freeze(argv[2], true);
    if (!strcmp(task, "flush") && argc == 4)
        return flush(argv[2], argv[3]);
    if (!strcmp(task, "set") && argc >= 4)
        return set(argv[2], argc - 3, argv + 3);

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
