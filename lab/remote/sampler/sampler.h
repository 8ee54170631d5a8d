/* SPDX-License-Identifier: MIT */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PATH_BYTES 512

/* Ends the sampler with these words; errno's are added where it is not 0. */
__attribute__((noreturn, format(printf, 1, 2)))
void die(const char *format, ...);

/* Text that grows; at is NULL while there is none. */
struct text {
    char *at;
    size_t length, room;
};

void text_add(struct text *text, const char *bytes, size_t length);
__attribute__((format(printf, 2, 3)))
void text_print(struct text *text, const char *format, ...);

/*
 * A file of the kernel's, kept open. It is opened when it is first there, and
 * again after the kernel took it away.
 */
struct file {
    char path[PATH_BYTES];
    int fd;                 /* -1: not open */
};

void file_name(struct file *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Its content, with a terminating 0, valid until the next call; NULL: not there. */
const char *file_read(struct file *file);
void file_close(struct file *file);

/* Counters of Linux, by the names that the controller gives them. */
void linux_open(const char *root, char **names, int nr);
/* Reads them all. */
void linux_look(void);
/* " NAME=VALUE" for each that this kernel had when it was looked. */
void linux_print(struct text *out);
/* The value of one, by its place among the names; false: this kernel has none. */
bool linux_value(int counter, uint64_t *value);

/* Reports to dom0, through this domain's own part of xenstore: report.c. */
void report_open(const char *root, const char *path, const char *heartbeat, char **moves, int nr);
/* Looks, and reports when something moved. now: of any clock, in seconds. */
void report_look(double now);
/* How many were written since the last call. */
uint64_t report_count(void);

/* Statistics of the disks that dom0 serves, as JSON. */
void disks_open(const char *root);
void disks_read(struct text *out);

/* "free":PAGES,"domains":[...] */
void domains_read(struct text *out);
/* "total":PAGES,"free":PAGES,"freeable":PAGES or null,"domains":[...], with nothing but their memory */
void domains_read_memory(struct text *out);
/* Has names asked for again: a domain can be renamed. */
void domains_forget(void);

/*
 * What is asked of Xen and xenstore: xen.c. Tests have another in its place,
 * which makes it up from files.
 */
struct domain {
    unsigned int id;
    uint64_t cpu_ns, pages;
    unsigned char handle[16];   /* its UUID */
    bool dying;
};

struct pages {
    uint64_t total, free;
};

void xen_open(const char *root);
struct pages xen_pages(void);
/* What tmem would give back at once. False: there is no tmem. */
bool xen_freeable_pages(uint64_t *pages);
/* The first domain whose number is not below `first`; false: there is none. */
bool xen_domain(unsigned int first, struct domain *domain);
/* A domain's name in xenstore, to be freed; NULL: it has none, or has gone. */
char *xen_name(unsigned int id);
/* What `tmemctl list -l --json` prints, without the end of the line; or NULL, and then what Xen refused, with errno. */
char *xen_tmem(const char **refused);
/* In a guest: its own part of xenstore is reached. */
void xen_open_store(const char *root);
/* Writes there. False: xenstore did not take it. */
bool xen_store(const char *path, const char *value);

#endif
