/* SPDX-License-Identifier: MIT */
/*
 * What dom0's back ends count of the guests' disks: sysfs, below
 * /sys/bus/xen-backend/devices/vbd-DOMID-NUMBER/statistics.
 *
 * {"DOMID":{"NUMBER":{"rd_req":COUNT,...}}}; what cannot be read is left out.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

static const char *const statistics[] = { "rd_req", "wr_req", "rd_sect", "wr_sect" };
#define NR_STATISTICS (sizeof(statistics) / sizeof(statistics[0]))

struct disk {
    unsigned int domid, number;
    struct file files[NR_STATISTICS];
    bool there;
};

static char folder[PATH_BYTES / 2];
static DIR *listing;
static struct disk *disks;
static size_t nr_disks;

void disks_open(const char *root)
{
    int length = snprintf(folder, sizeof(folder), "%s/sys/bus/xen-backend/devices", root);

    errno = 0;
    if (length < 0 || (size_t)length >= sizeof(folder))
        die("%s...: too long", folder);
}

static int compare(const void *a, const void *b)
{
    const struct disk *x = a, *y = b;

    if (x->domid != y->domid)
        return x->domid < y->domid ? -1 : 1;

    return x->number < y->number ? -1 : x->number > y->number;
}

static void add(unsigned int domid, unsigned int number)
{
    struct disk *disk;

    disks = realloc(disks, (nr_disks + 1) * sizeof(*disks));
    if (!disks)
        die("no memory for disks");
    disk = &disks[nr_disks++];
    disk->domid = domid;
    disk->number = number;
    disk->there = true;
    for (size_t i = 0; i < NR_STATISTICS; i++)
        file_name(&disk->files[i], "%s/vbd-%u-%u/statistics/%s", folder, domid, number, statistics[i]);
}

static void forget_those_gone(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < nr_disks; i++) {
        if (disks[i].there) {
            if (kept != i)
                disks[kept] = disks[i];
            kept++;
            continue;
        }
        for (size_t j = 0; j < NR_STATISTICS; j++)
            file_close(&disks[i].files[j]);
    }
    nr_disks = kept;
}

/* Guests come and go, so the devices are listed at every reading. */
static void list(void)
{
    size_t known = nr_disks;
    struct dirent *entry;

    for (size_t i = 0; i < nr_disks; i++)
        disks[i].there = false;
    if (listing)
        rewinddir(listing);
    else
        listing = opendir(folder);
    while (listing && (entry = readdir(listing))) {
        struct disk wanted, *found = NULL;
        char rest;

        if (sscanf(entry->d_name, "vbd-%u-%u%c", &wanted.domid, &wanted.number, &rest) != 2)
            continue;
        for (size_t i = 0; i < known && !found; i++)
            if (!compare(&disks[i], &wanted))
                found = &disks[i];
        if (found)
            found->there = true;
        else
            add(wanted.domid, wanted.number);
    }
    forget_those_gone();
    if (nr_disks > 1)
        qsort(disks, nr_disks, sizeof(*disks), compare);
}

static void read_disk(struct text *out, struct disk *disk)
{
    const char *comma = "";

    text_print(out, "\"%u\":{", disk->number);
    for (size_t i = 0; i < NR_STATISTICS; i++) {
        const char *content = file_read(&disk->files[i]);
        char *end;
        uint64_t value;

        if (!content)
            continue;
        value = strtoull(content, &end, 10);
        if (end == content)
            continue;
        text_print(out, "%s\"%s\":%" PRIu64, comma, statistics[i], value);
        comma = ",";
    }
    text_print(out, "}");
}

void disks_read(struct text *out)
{
    list();
    text_print(out, "{");
    for (size_t i = 0; i < nr_disks; i++) {
        bool same = i > 0 && disks[i - 1].domid == disks[i].domid;

        if (same)
            text_print(out, ",");
        else
            text_print(out, "%s\"%u\":{", i ? "}," : "", disks[i].domid);
        read_disk(out, &disks[i]);
    }
    text_print(out, nr_disks ? "}}" : "}");
}
