/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the workloads' programs share: a clock, histograms of latencies, numbers of
 * the command line. PROGRAM is defined before: its name, for complaints.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FINE 5                  /* 32 buckets for each power of two: 3 % */
#define BUCKETS ((64 - FINE) << FINE)

static inline void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list list;

    fputs(PROGRAM ": ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

static inline uint64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000UL + (uint64_t)at.tv_nsec;
}

static inline void sleep_until(uint64_t moment)
{
    struct timespec at = { .tv_sec = (time_t)(moment / 1000000000UL), .tv_nsec = (long)(moment % 1000000000UL) };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static inline uint64_t mixed(uint64_t value)
{
    value ^= value >> 30;
    value *= 0xbf58476d1ce4e5b9UL;
    value ^= value >> 27;
    value *= 0x94d049bb133111ebUL;
    return value ^ value >> 31;
}

static inline unsigned int bucket(uint64_t ns)
{
    unsigned int power;

    if (ns < 1UL << FINE)
        return (unsigned int)ns;
    power = 63 - (unsigned int)__builtin_clzl(ns) - FINE;
    return (power << FINE) + (unsigned int)(ns >> power);
}

static inline uint64_t most_of(unsigned int number)    /* the largest latency that falls into a bucket */
{
    unsigned int power = number >> FINE;

    if (power <= 1)
        return number;
    power--;
    return ((uint64_t)(number - (power << FINE) + 1) << power) - 1;
}

struct latencies {
    uint64_t buckets[BUCKETS], longest;
};

static inline void took(struct latencies *of, uint64_t ns)
{
    of->buckets[bucket(ns)]++;
    if (ns > of->longest)
        of->longest = ns;
}

/* "latency WHAT BOUND COUNT", and nothing is left of them. */
static inline void print_latencies(struct latencies *of, const char *what)
{
    for (unsigned int i = 0; i < BUCKETS; i++)
        if (of->buckets[i])
            printf("latency %s %lu %lu\n", what, most_of(i), of->buckets[i]);
    fflush(stdout);
    memset(of, 0, sizeof(*of));
}

static inline uint64_t whole(const char *text, char until, const char **rest)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *end != until || *text == '-')
        die("%s: no whole number", text);
    if (rest)
        *rest = *end ? end + 1 : end;
    return value;
}

static inline double fraction(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= 0) || isinf(value))
        die("%s: no number", text);
    return value;
}

#endif
