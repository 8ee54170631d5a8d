/* SPDX-License-Identifier: MIT */
/*
 * Reports to a manager in dom0: " NAME=VALUE..." into this domain's own part of
 * xenstore, when a counter has moved by as much as was asked for since it was
 * reported, or when nothing was reported for a while, as a sign of life.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

#define MOST_BYTES 2048     /* more, no xenstore takes from a guest */

static struct {
    uint64_t move, reported;
    bool known;
} *watched;
static int nr_watched;
static const char *where;
static double silence, last;
static bool begun;
static uint64_t count;

static uint64_t number(const char *text, const char *of)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || !value)
        die("%s: %s is no number above 0", of, text);

    return value;
}

void report_open(const char *root, const char *path, const char *heartbeat, char **moves, int nr)
{
    watched = calloc(nr ? nr : 1, sizeof(*watched));
    if (!watched)
        die("no memory for counters");
    nr_watched = nr;
    where = path;
    silence = number(heartbeat, "seconds");
    for (int i = 0; i < nr; i++) {
        char *move = strchr(moves[i], '=');

        errno = 0;
        if (!move)
            die("%s: NAME=MOVE is missing its second half", moves[i]);
        *move++ = '\0';
        watched[i].move = number(move, moves[i]);
    }
    linux_open(root, moves, nr);
    xen_open_store(root);
}

static bool moved(void)
{
    for (int i = 0; i < nr_watched; i++) {
        uint64_t value;
        bool known = linux_value(i, &value);
        uint64_t by = value > watched[i].reported ? value - watched[i].reported : watched[i].reported - value;

        if (known != watched[i].known || (known && by >= watched[i].move))
            return true;
    }

    return false;
}

void report_look(double now)
{
    static struct text text;

    linux_look();
    if (begun && now - last < silence && !moved())
        return;
    text.length = 0;
    linux_print(&text);
    text_add(&text, "", 1);
    errno = 0;
    if (text.length > MOST_BYTES)
        die("a report of %zu bytes is too long", text.length);
    if (!xen_store(where, text.at)) {
        if (!begun)
            die("xenstore does not take %s", where);
        return;             /* with the next look, it is tried again */
    }
    for (int i = 0; i < nr_watched; i++)
        watched[i].known = linux_value(i, &watched[i].reported);
    last = now;
    begun = true;
    count++;
}

uint64_t report_count(void)
{
    uint64_t found = count;

    count = 0;

    return found;
}
