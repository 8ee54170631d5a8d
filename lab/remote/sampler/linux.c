/* SPDX-License-Identifier: MIT */
/*
 * Counters of this Linux, from /proc and debugfs.
 *
 * A name is group.counter, and its group says where it is: vmstat, meminfo, psi
 * (/proc/pressure; psi.RESOURCE.some, psi.RESOURCE.full, totals in us), block
 * (block.DISK.FILE.WORD: a word of /sys/block/DISK/FILE, counted from 1), swaps
 * (swaps.DEVICE.WORD: of the device's line in /proc/swaps, counted behind its
 * name), and any other is a folder of debugfs with a file for each counter.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

/* One file. key: the word that begins the counter's line; NULL: the whole file is a number. */
struct source {
    struct file file;
    const char *before;     /* the value stands behind this, on the line; or NULL */
    struct source *next;
};

struct counter {
    const char *name, *key;
    size_t key_length;
    unsigned long word;     /* which of those that stand there, from 1 */
    struct source *source;
    uint64_t value;
    bool known;
};

static struct source *sources;
static struct counter *counters;
static int nr_counters;

static struct source *source_of(const char *path, const char *before)
{
    struct source **last = &sources;

    for (; *last; last = &(*last)->next)
        if (!strcmp((*last)->file.path, path))
            return *last;
    *last = calloc(1, sizeof(**last));
    if (!*last)
        die("no memory for counters");
    file_name(&(*last)->file, "%s", path);
    (*last)->before = before;

    return *last;
}

/* The number of a word, with which a name ends. */
static unsigned long word_of(const char *name, const char *last)
{
    unsigned long word = strtoul(last + 1, NULL, 10);

    errno = 0;
    if (!word)
        die("%s is no counter: it has to end with the number of a word", name);

    return word;
}

/* The word that begins a device's line in /proc/swaps: /dev/ and so many characters of its name. */
static const char *device_key(const char *device, size_t length)
{
    char *key = NULL;

    if (asprintf(&key, "/dev/%.*s", (int)length, device) < 0)
        die("no memory for counters");

    return key;
}

static void find(struct counter *counter, const char *root, const char *name)
{
    const char *rest = strchr(name, '.'), *last = strrchr(name, '.'), *before = NULL;
    const char *second = rest ? strchr(rest + 1, '.') : NULL;
    struct file where;

    errno = 0;
    if (!rest || strchr(name, '/') || rest == name)
        die("%s is no counter: group.counter", name);
    if (!strncmp(name, "vmstat.", rest - name + 1) || !strncmp(name, "meminfo.", rest - name + 1)) {
        file_name(&where, "%s/proc/%.*s", root, (int)(rest - name), name);
        counter->key = rest + 1;
    } else if (!strncmp(name, "psi.", rest - name + 1) && last > rest) {
        file_name(&where, "%s/proc/pressure/%.*s", root, (int)(last - rest - 1), rest + 1);
        counter->key = last + 1;
        before = "total=";
    } else if (!strncmp(name, "block.", rest - name + 1) && second && last > second) {
        file_name(&where, "%s/sys/block/%.*s/%.*s", root, (int)(second - rest - 1), rest + 1, (int)(last - second - 1),
                  second + 1);
        counter->word = word_of(name, last);
    } else if (!strncmp(name, "swaps.", rest - name + 1) && last > rest) {
        file_name(&where, "%s/proc/swaps", root);
        counter->key = device_key(rest + 1, last - rest - 1);
        counter->word = word_of(name, last);
    } else {
        file_name(&where, "%s/sys/kernel/debug/%.*s/%s", root, (int)(rest - name), name, rest + 1);
    }
    counter->name = name;
    counter->key_length = counter->key ? strlen(counter->key) : 0;
    counter->source = source_of(where.path, before);
}

void linux_open(const char *root, char **names, int nr)
{
    counters = calloc(nr ? nr : 1, sizeof(*counters));
    if (!counters)
        die("no memory for counters");
    nr_counters = nr;
    for (int i = 0; i < nr; i++)
        find(&counters[i], root, names[i]);
}

static void take(struct counter *counter, const char *text)
{
    text += strspn(text, ": \t");
    for (unsigned long word = 1; word < counter->word; word++) {
        text += strcspn(text, " \t\n");
        text += strspn(text, " \t");
    }
    if (*text < '0' || *text > '9')
        return;
    counter->value = strtoull(text, NULL, 10);
    counter->known = true;
}

static void read_line(const struct source *source, const char *line, size_t length)
{
    size_t word = strcspn(line, ": \t\n");

    for (int i = 0; i < nr_counters; i++) {
        struct counter *counter = &counters[i];
        const char *value = line + word;

        if (counter->source != source || counter->key_length != word || memcmp(counter->key, line, word))
            continue;
        if (source->before) {
            value = strstr(line, source->before);
            if (!value || value >= line + length)
                return;
            value += strlen(source->before);
        }
        take(counter, value);
        return;
    }
}

static void read_source(struct source *source)
{
    const char *line = file_read(&source->file);
    bool whole = false;

    if (!line)
        return;
    for (int i = 0; i < nr_counters; i++)
        if (counters[i].source == source && !counters[i].key) {
            take(&counters[i], line);
            whole = true;
        }
    if (whole)
        return;
    while (*line) {
        size_t length = strcspn(line, "\n");

        read_line(source, line, length);
        line += length + (line[length] == '\n');
    }
}

void linux_look(void)
{
    for (int i = 0; i < nr_counters; i++)
        counters[i].known = false;
    for (struct source *source = sources; source; source = source->next)
        read_source(source);
}

bool linux_value(int counter, uint64_t *value)
{
    *value = counters[counter].value;

    return counters[counter].known;
}

void linux_print(struct text *out)
{
    for (int i = 0; i < nr_counters; i++)
        if (counters[i].known)
            text_print(out, " %s=%" PRIu64, counters[i].name, counters[i].value);
}
