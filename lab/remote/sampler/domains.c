/* SPDX-License-Identifier: MIT */
/*
 * The domains that Xen has, with their names. Xenstore is asked for each once it
 * has one, then no more until domains_forget(); what dies loses it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

struct known {
    unsigned int id;
    unsigned char handle[16];
    char *name;
};

static struct known *names;
static size_t nr_names;

static const char *name_of(const struct domain *domain)
{
    struct known *found = NULL;
    char *name;

    for (size_t i = 0; i < nr_names && !found; i++)
        if (names[i].id == domain->id)
            found = &names[i];
    if (found && !domain->dying && !memcmp(found->handle, domain->handle, sizeof(found->handle)))
        return found->name;
    name = xen_name(domain->id);
    if (!name)
        return "";
    if (!found) {
        names = realloc(names, (nr_names + 1) * sizeof(*names));
        if (!names)
            die("no memory for names of domains");
        found = &names[nr_names++];
        found->name = NULL;
    }
    free(found->name);
    found->id = domain->id;
    memcpy(found->handle, domain->handle, sizeof(found->handle));
    found->name = name;

    return name;
}

void domains_forget(void)
{
    while (nr_names)
        free(names[--nr_names].name);
}

static void add_text(struct text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            text_print(out, "\\u%04x", (unsigned char)*text);
        else
            text_add(out, text, 1);
    }
}

void domains_read(struct text *out)
{
    struct domain domain;
    const char *comma = "";

    text_print(out, "\"free\":%" PRIu64 ",\"domains\":[", xen_pages().free);
    for (unsigned int next = 0; xen_domain(next, &domain); next = domain.id + 1) {
        text_print(out, "%s{\"id\":%u,\"name\":\"", comma, domain.id);
        add_text(out, name_of(&domain));
        text_print(out, "\",\"cpu_ns\":%" PRIu64 ",\"pages\":%" PRIu64 "}", domain.cpu_ns, domain.pages);
        comma = ",";
    }
    text_print(out, "]");
}

void domains_read_memory(struct text *out)
{
    struct pages pages = xen_pages();
    struct domain domain;
    const char *comma = "";
    uint64_t freeable;

    text_print(out, "\"total\":%" PRIu64 ",\"free\":%" PRIu64 ",\"freeable\":", pages.total, pages.free);
    if (xen_freeable_pages(&freeable))
        text_print(out, "%" PRIu64, freeable);
    else
        text_print(out, "null");
    text_print(out, ",\"domains\":[");
    for (unsigned int next = 0; xen_domain(next, &domain); next = domain.id + 1) {
        text_print(out, "%s{\"id\":%u,\"name\":\"", comma, domain.id);
        add_text(out, name_of(&domain));
        text_print(out, "\",\"pages\":%" PRIu64 ",\"dying\":%s}", domain.pages, domain.dying ? "true" : "false");
        comma = ",";
    }
    text_print(out, "]");
}
