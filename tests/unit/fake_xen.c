/* SPDX-License-Identifier: MIT */
/*
 * In the place of lab/remote/sampler/xen.c: what ROOT/xen says. A line `free PAGES`,
 * then `DOMID CPU_NS PAGES NAME` for each domain, in order; ROOT/tmem.json is what
 * tmemctl would print. A name `-` is none. ROOT/freeable is what tmem would give
 * back. Files are read at each question.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

static char folder[PATH_BYTES];

struct entry {
    struct domain domain;
    char name[64];
};

static FILE *open_file(const char *name)
{
    char path[PATH_BYTES + 16];

    snprintf(path, sizeof(path), "%s/%s", folder, name);

    return fopen(path, "r");
}

void xen_open(const char *root)
{
    FILE *file;

    snprintf(folder, sizeof(folder), "%s", root);
    file = open_file("xen");
    if (!file)
        die("can't open %s/xen", root);
    fclose(file);
}

struct pages xen_pages(void)
{
    FILE *file = open_file("xen");
    struct pages pages = { .total = 1 << 17 };

    if (!file || fscanf(file, "free %" SCNu64, &pages.free) != 1)
        die("no free pages");
    fclose(file);

    return pages;
}

bool xen_freeable_pages(uint64_t *pages)
{
    FILE *file = open_file("freeable");

    *pages = 0;
    if (!file)
        return false;
    if (fscanf(file, "%" SCNu64, pages) != 1)
        die("no freeable pages");
    fclose(file);

    return true;
}

void xen_open_store(const char *root)
{
    snprintf(folder, sizeof(folder), "%s", root);
}

/* A line is added to ROOT/PATH for each; false: there is no such folder. */
bool xen_store(const char *path, const char *value)
{
    char name[2 * PATH_BYTES];
    FILE *file;

    snprintf(name, sizeof(name), "%s/%s", folder, path);
    file = fopen(name, "a");
    if (!file)
        return false;
    fprintf(file, "%s\n", value);
    fclose(file);

    return true;
}

static bool find(unsigned int first, struct entry *found)
{
    FILE *file = open_file("xen");
    char line[256];
    bool there = false;

    memset(found, 0, sizeof(*found));
    while (!there && fgets(line, sizeof(line), file))
        there = sscanf(line, "%u %" SCNu64 " %" SCNu64 " %63[^\n]", &found->domain.id, &found->domain.cpu_ns,
                       &found->domain.pages, found->name) == 4 && found->domain.id >= first;
    fclose(file);
    found->domain.handle[0] = found->domain.id;

    return there;
}

bool xen_domain(unsigned int first, struct domain *domain)
{
    struct entry entry;
    bool there = find(first, &entry);

    *domain = entry.domain;

    return there;
}

char *xen_name(unsigned int id)
{
    struct entry entry;

    return find(id, &entry) && entry.domain.id == id && strcmp(entry.name, "-") ? strdup(entry.name) : NULL;
}

char *xen_tmem(const char **refused)
{
    FILE *file = open_file("tmem.json");
    char *text = calloc(1, 65536);

    *refused = "reading counters";
    if (!file) {
        free(text);
        errno = ENODEV;
        return NULL;
    }
    if (text && fread(text, 1, 65535, file))
        text[strcspn(text, "\n")] = '\0';
    fclose(file);

    return text;
}
