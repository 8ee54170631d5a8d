/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * memload: takes memory, touches it, gives it back, and says how long each page
 * took; or streams through three arrays.
 *
 *     memload steps SEED STEP...      STEP: grow:BYTES:SECONDS, hold:SECONDS,
 *                                     touch:COUNT:SECONDS, release:BYTES:SECONDS
 *     memload stream BYTES ROUNDS     of each of the three arrays
 *
 * SECONDS of 0: at once. Touches that have a time come at fixed moments of it, and
 * each is late from its moment on: waiting counts. Every page has contents of its
 * own, which a touch checks. workloads/memload_output.py reads what is printed.
 */
#define PROGRAM "memload"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "latency.h"

#define PAGE 4096UL
#define CHUNK (1UL << 20)       /* what is committed at once: guests balloon by what is */
#define AHEAD 10000000UL        /* ns that a ramp may be early before it sleeps */

static struct latencies pages;
static uint64_t seed;
static unsigned char *memory;   /* pages below held / PAGE are in use */
static size_t held, committed;

static void print_step(int step, const char *what, uint64_t amount, uint64_t began)
{
    char number[16];

    printf("step %d %s %lu %.6f %zu %lu\n", step, what, amount, (double)(now() - began) / 1e9, held,
           pages.longest);
    snprintf(number, sizeof(number), "%d", step);
    print_latencies(&pages, number);
}

static void commit(size_t bytes)
{
    if (mprotect(memory + committed, bytes, PROT_READ | PROT_WRITE))
        die("cannot allocate memory beyond %zu bytes: %s", committed, strerror(errno));
    committed += bytes;
}

static void grow(size_t bytes, uint64_t began, double per_byte)
{
    for (size_t done = 0; done < bytes; done += PAGE) {
        uint64_t planned = began + (uint64_t)((double)done * per_byte), start;
        uint64_t *page = (uint64_t *)(memory + held);

        start = now();
        if (planned > start + AHEAD) {
            sleep_until(planned);
            start = now();
        }
        if (held == committed) {
            size_t left = bytes - done;

            commit(left < CHUNK ? left : CHUNK);
        }
        *(volatile uint64_t *)page = mixed(seed + held);
        took(&pages, now() - start);
        for (size_t i = 1; i < PAGE / sizeof(*page); i++)
            page[i] = mixed(page[0] + i);
        held += PAGE;
    }
}

static void touch(uint64_t count, uint64_t began, double interval)
{
    static uint64_t drawn;

    for (uint64_t i = 0; i < count; i++) {
        size_t at = mixed(seed ^ mixed(++drawn)) % (held / PAGE) * PAGE;
        volatile uint64_t *page = (volatile uint64_t *)(memory + at);
        uint64_t start = now();

        if (interval > 0) {
            uint64_t planned = began + (uint64_t)((double)i * interval);

            if (planned > start)
                sleep_until(planned);
            start = planned;
        }
        if (page[0] != mixed(seed + at))
            die("the page at byte %zu has other contents than were written", at);
        page[1] = page[1];
        took(&pages, now() - start);
    }
}

static void release(size_t bytes, uint64_t began, double per_byte)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < CHUNK ? bytes - done : CHUNK;
        uint64_t planned = began + (uint64_t)((double)done * per_byte);

        if (planned > now() + AHEAD)
            sleep_until(planned);
        held -= part;
        committed = held;
        if (mmap(memory + held, part, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            die("cannot give memory back: %s", strerror(errno));
        madvise(memory + held, part, MADV_NOHUGEPAGE);
        done += part;
    }
}

static void run_step(int number, const char *step)
{
    const char *colon = strchr(step, ':'), *over, *what;
    uint64_t amount, began = now();
    double ns;

    if (!colon)
        die("%s: no step", step);
    if (!strncmp(step, "hold:", 5)) {
        sleep_until(began + (uint64_t)(fraction(colon + 1) * 1e9));
        print_step(number, "hold", 0, began);
        return;
    }
    amount = whole(colon + 1, ':', &over);
    ns = fraction(over) * 1e9;
    if (!amount)
        die("%s: nothing to do", step);
    if (!strncmp(step, "touch:", 6)) {
        if (!held)
            die("%s: no memory to touch", step);
        what = "touch";
        touch(amount, began, ns / (double)amount);
    } else if (amount % PAGE) {
        die("%s: no whole number of pages", step);
    } else if (!strncmp(step, "grow:", 5)) {
        what = "grow";
        grow(amount, began, ns / (double)amount);
    } else if (!strncmp(step, "release:", 8) && amount <= held) {
        what = "release";
        release(amount, began, ns / (double)amount);
    } else {
        die("%s: no step, or more than is held", step);
    }
    print_step(number, what, amount, began);
}

static void run_steps(int count, char **steps)
{
    size_t most = PAGE;
    const char *rest;

    for (int i = 0; i < count; i++)
        if (!strncmp(steps[i], "grow:", 5))
            most += whole(steps[i] + 5, ':', &rest);
    prctl(PR_SET_TIMERSLACK, 1UL);
    /* Addresses alone: what is not writable is not committed, and guests balloon by what is. */
    memory = mmap(NULL, most, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("no addresses for %zu bytes: %s", most, strerror(errno));
    madvise(memory, most, MADV_NOHUGEPAGE);
    for (int i = 0; i < count; i++)
        run_step(i + 1, steps[i]);
}

static void stream(size_t bytes, uint64_t rounds)
{
    static const char *const names[] = { "copy", "scale", "add", "triad" };
    size_t count = bytes / sizeof(double);
    double *a = malloc(bytes), *b = malloc(bytes), *c = malloc(bytes), wa = 1, wb = 2, wc = 0;

    if (!count || !a || !b || !c)
        die("cannot allocate memory for three arrays of %zu bytes", bytes);
    for (size_t i = 0; i < count; i++) {
        a[i] = 1;
        b[i] = 2;
        c[i] = 0;
    }
    for (uint64_t round = 1; round <= rounds; round++) {
        for (int kernel = 0; kernel < 4; kernel++) {
            uint64_t began = now();

            switch (kernel) {
            case 0:
                for (size_t i = 0; i < count; i++)
                    c[i] = a[i];
                break;
            case 1:
                for (size_t i = 0; i < count; i++)
                    b[i] = 0.25 * c[i];
                break;
            case 2:
                for (size_t i = 0; i < count; i++)
                    c[i] = a[i] + b[i];
                break;
            default:
                for (size_t i = 0; i < count; i++)
                    a[i] = b[i] + 0.5 * c[i];
            }
            printf("round %lu %s %.9f\n", round, names[kernel], (double)(now() - began) / 1e9);
        }
        wc = wa;
        wb = 0.25 * wc;
        wc = wa + wb;
        wa = wb + 0.5 * wc;
    }
    for (size_t i = 0; i < count; i++)
        if (a[i] != wa || b[i] != wb || c[i] != wc)
            die("element %zu has another value than was written", i);
    printf("checked %zu\n", count);
}

int main(int argc, char **argv)
{
    puts("memload 1");
    if (argc > 3 && !strcmp(argv[1], "steps")) {
        seed = mixed(whole(argv[2], '\0', NULL));
        run_steps(argc - 3, argv + 3);
    } else if (argc == 4 && !strcmp(argv[1], "stream")) {
        stream(whole(argv[2], '\0', NULL), whole(argv[3], '\0', NULL));
    } else {
        die("usage: memload steps SEED STEP... | memload stream BYTES ROUNDS");
    }
    puts("end");
    if (fflush(stdout) || ferror(stdout))
        die("cannot write: %s", strerror(errno));

    return 0;
}
