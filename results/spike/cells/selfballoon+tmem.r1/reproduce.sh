#!/bin/sh
# shellcheck disable=SC2016 # what is quoted is for another machine
# What was run for cell selfballoon+tmem.r1 of campaign spike, as shell.
#
# The testbed does this, with samples, gates and a record, by
#     ./inv campaign.run spike --cell selfballoon+tmem.r1
# By hand: give ssh a configuration in which dom0 and the guests have these names (lab.status tells
# that of an emulated host), and dom0 the guests' kernel and disks as below.
#
#     SSH='ssh -F ssh_config' sh reproduce.sh
set -e
: "${SSH:=ssh}"
on() { $SSH "$1" 'script=$(mktemp) && cat > "$script" && sh "$script" < /dev/null'; }

# --- the guests, from disks made anew

printf %s 'mkdir -p /var/lib/overcommit/guests
printf %s '"'"'# Written by the testbed.
name = "guest1"
type = "pv"
kernel = "/var/lib/overcommit/vmlinuz"
extra = "root=/dev/xvda rw console=hvc0 ip=10.77.0.11::10.77.0.1:255.255.255.0:guest1:eth0:off hostname=guest1 psi=1"
vcpus = 1
memory = 144
maxmem = 224
disk = ["phy:/dev/ROOT1,xvda,w,script=block-overcommit", "phy:/dev/SWAP1,xvdb,w,script=block-overcommit"]
vif = ["mac=00:16:3e:77:00:01,bridge=xenbr0,script=vif-overcommit"]
on_poweroff = "destroy"
on_crash = "preserve"
on_reboot = "preserve"
'"'"' > /var/lib/overcommit/guests/guest1.cfg
xl create -q /var/lib/overcommit/guests/guest1.cfg
mkdir -p /var/lib/overcommit/guests
printf %s '"'"'# Written by the testbed.
name = "guest2"
type = "pv"
kernel = "/var/lib/overcommit/vmlinuz"
extra = "root=/dev/xvda rw console=hvc0 ip=10.77.0.12::10.77.0.1:255.255.255.0:guest2:eth0:off hostname=guest2 psi=1"
vcpus = 1
memory = 144
maxmem = 224
disk = ["phy:/dev/ROOT2,xvda,w,script=block-overcommit", "phy:/dev/SWAP2,xvdb,w,script=block-overcommit"]
vif = ["mac=00:16:3e:77:00:02,bridge=xenbr0,script=vif-overcommit"]
on_poweroff = "destroy"
on_crash = "preserve"
on_reboot = "preserve"
'"'"' > /var/lib/overcommit/guests/guest2.cfg
xl create -q /var/lib/overcommit/guests/guest2.cfg
' | on dom0

# --- the loads' preparation

printf %s '# environment.sh
set -- 
#!/bin/sh
# What every script of a workload begins with: the first error ends it, programs are found, and they
# speak English.
#
#     environment.sh
set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ
# prepare.sh
set -- /run/overcommit/raw
#!/bin/sh
# Begins a preparation: an empty folder for raw outputs; `fail MESSAGE...`, and `lacks WHAT WORKLOAD
# PACKAGE` for those behind it.
#
#     prepare.sh RAW
fail() {
    echo "$*" >&2
    exit 1
}
lacks() {
    fail "$1 is not installed: for a guest, ./inv lab.up --loads $2; elsewhere, install Debian'"'"'s package $3"
}
rm -rf "$1"
mkdir -p "$1"
# program-prepare.sh
set -- memload /usr/local/lib/overcommit/memload-4abe46c30a788c2d '"'"'/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the workloads'"'"'"'"'"'"'"'"' programs share: a clock, histograms of latencies, numbers of
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
    fputc('"'"'"'"'"'"'"'"'\n'"'"'"'"'"'"'"'"', stderr);
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
    if (errno || end == text || *end != until || *text == '"'"'"'"'"'"'"'"'-'"'"'"'"'"'"'"'"')
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
'"'"' '"'"'/* SPDX-License-Identifier: GPL-2.0-only */
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
    const char *colon = strchr(step, '"'"'"'"'"'"'"'"':'"'"'"'"'"'"'"'"'), *over, *what;
    uint64_t amount, began = now();
    double ns;

    if (!colon)
        die("%s: no step", step);
    if (!strncmp(step, "hold:", 5)) {
        sleep_until(began + (uint64_t)(fraction(colon + 1) * 1e9));
        print_step(number, "hold", 0, began);
        return;
    }
    amount = whole(colon + 1, '"'"'"'"'"'"'"'"':'"'"'"'"'"'"'"'"', &over);
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
            most += whole(steps[i] + 5, '"'"'"'"'"'"'"'"':'"'"'"'"'"'"'"'"', &rest);
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
        seed = mixed(whole(argv[2], '"'"'"'"'"'"'"'"'\0'"'"'"'"'"'"'"'"', NULL));
        run_steps(argc - 3, argv + 3);
    } else if (argc == 4 && !strcmp(argv[1], "stream")) {
        stream(whole(argv[2], '"'"'"'"'"'"'"'"'\0'"'"'"'"'"'"'"'"', NULL), whole(argv[3], '"'"'"'"'"'"'"'"'\0'"'"'"'"'"'"'"'"', NULL));
    } else {
        die("usage: memload steps SEED STEP... | memload stream BYTES ROUNDS");
    }
    puts("end");
    if (fflush(stdout) || ferror(stdout))
        die("cannot write: %s", strerror(errno));

    return 0;
}
'"'"'
#!/bin/sh
# Compiles a program of our own unless it is there. Behind prepare.sh. Prints the fact NAME=FILE.
#
#     program-prepare.sh NAME FILE HEADER SOURCE
#
# HEADER: the text of latency.h.
if [ ! -x "$2" ]; then
    command -v gcc > /dev/null || fail "$2 is not there, and no compiler (gcc) to make it"
    mkdir -p "$2.build"
    printf '"'"'%s'"'"' "$3" > "$2.build/latency.h"
    printf '"'"'%s'"'"' "$4" > "$2.build/$1.c"
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -ffp-contract=off -Wall -Wextra -Werror -o "$2.build/$1" "$2.build/$1.c" -lm >&2 ||
        fail "$1 does not compile"
    mv "$2.build/$1" "$2"
    rm -r "$2.build"
fi
echo "$1=${2##*/}"
# reset-memory.sh
set -- 
#!/bin/sh
# Ends a preparation: memory in a known state. Behind prepare.sh.
#
#     reset-memory.sh
sync
swaps=$(sed -n '"'"'s/^\(\/[^ \t]*\).*/\1/p'"'"' /proc/swaps)
for device in $swaps; do
    if ! { swapoff "$device" && swapon "$device"; }; then
        fail "could not empty the swap device $device"
    fi
done
echo 3 > /proc/sys/vm/drop_caches || fail "could not drop the file caches: this needs root on a machine of its own"
' | on guest1
printf %s '# environment.sh
set -- 
#!/bin/sh
# What every script of a workload begins with: the first error ends it, programs are found, and they
# speak English.
#
#     environment.sh
set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ
# prepare.sh
set -- /run/overcommit/raw
#!/bin/sh
# Begins a preparation: an empty folder for raw outputs; `fail MESSAGE...`, and `lacks WHAT WORKLOAD
# PACKAGE` for those behind it.
#
#     prepare.sh RAW
fail() {
    echo "$*" >&2
    exit 1
}
lacks() {
    fail "$1 is not installed: for a guest, ./inv lab.up --loads $2; elsewhere, install Debian'"'"'s package $3"
}
rm -rf "$1"
mkdir -p "$1"
# kernel-build-environment.sh
set -- 
#!/bin/sh
# What every make of the kernel build has. As a build farm does it: whatever would make the same
# source give other bytes is fixed.
#
#     kernel-build-environment.sh
KBUILD_BUILD_TIMESTAMP='"'"'Thu Jan  1 00:00:00 UTC 1970'"'"'
KBUILD_BUILD_USER=overcommit
KBUILD_BUILD_HOST=guest
KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER KBUILD_BUILD_HOST KBUILD_BUILD_VERSION
# kernel-build-clean.sh
set -- 
#!/bin/sh
# `clean BUILD HOW TARGET...` for those behind it: removes compiled files below the folder BUILD.
# HOW: `objects` are exactly what the targets make, `tree` is every compiled file. Those of `make
# prepare` stay: they are no part of a round.
#
#     kernel-build-clean.sh
remove_compiled() { # arguments of find: where, and what of it is left out
    find "$@" -type f \
        \( -name '"'"'*.o'"'"' -o -name '"'"'*.a'"'"' -o -name '"'"'.*.o.cmd'"'"' -o -name '"'"'.*.a.cmd'"'"' -o -name modules.order \) -exec rm -f {} +
}

clean() {
    at=$1
    how=$2
    shift 2
    if [ "$how" = tree ]; then
        remove_compiled "$at" \( -path '"'"'*/scripts'"'"' -o -path '"'"'*/tools'"'"' \) -prune -o
        rm -f "$at/vmlinux"
        return
    fi
    for target; do
        case $target in
            */) if [ -d "$at/$target" ]; then remove_compiled "$at/$target"; fi ;;
            */*) rm -f "$at/$target" "$at/${target%/*}/.${target##*/}.cmd" ;;
            *) rm -f "$at/$target" "$at/.$target.cmd" ;;
        esac
    done
}
# kernel-build-prepare.sh
set -- /usr/src/linux /var/lib/overcommit/build tinyconfig 1 .prepared-config .make-variables
#!/bin/sh
# Checks the source tree, and configures it if it was prepared for another configuration. Behind
# prepare.sh and kernel-build-environment.sh.
#
#     kernel-build-prepare.sh SOURCE BUILD CONFIG JOBS STAMP VARIABLES
#
# STAMP: the file of BUILD that names the configuration it was prepared for, written last.
# VARIABLES: the file of BUILD with what make had found, which another configuration makes void.
# Prints facts, KEY=VALUE.
source=$1 build=$2 config=$3 jobs=$4 stamp=$2/$5 variables=$2/$6
[ -f "$source/Makefile" ] || fail "$source holds no Linux source"
version=
for key in VERSION PATCHLEVEL SUBLEVEL; do
    value=$(sed -n "s/^$key = *//p" "$source/Makefile")
    version=${version:+$version.}$value
done
echo "linux_version=$version"
prepared=before
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$config" ]; then
    prepared=now
    rm -f "$stamp" "$variables"
    mkdir -p "$build"
    for step in "$config" olddefconfig prepare; do
        make -s -C "$source" O="$build" -j"$jobs" "$step" > "$build/prepare.log" 2>&1 ||
            fail "make $step failed:" "$(tail -n 20 "$build/prepare.log")"
    done
    echo "$config" > "$stamp"
fi
echo "prepared=$prepared"
echo "config=$config"
sum=$(sha256sum "$build/.config")
echo "config_sha256=${sum%% *}"
echo "compiler=$(gcc --version | sed 1q)"
echo "make=$(make --version | sed 1q)"
# kernel-build-probe.sh
set -- /usr/src/linux /var/lib/overcommit/build .make-variables .targets.mk '"'"'.PHONY: all in/fs
all: in/fs
in/fs:
	+$(MAKE) -f /usr/src/linux/scripts/Makefile.build obj=fs fs/inode.o
'"'"'
#!/bin/sh
# Has make write down what it exports to its parts, the compiler'"'"'s answers among it, when that has
# not been done; and writes the makefile of the targets. Behind kernel-build-prepare.sh.
#
#     kernel-build-probe.sh SOURCE BUILD VARIABLES MAKEFILE TEXT
if [ ! -s "$2/$3" ]; then
    env -i PATH="$PATH" make -s -C "$1" O="$2" --eval="overcommit-variables: ; @export -p > $2/$3" overcommit-variables \
        > "$2/prepare.log" 2>&1 || fail '"'"'make overcommit-variables failed:'"'"' "$(tail -n 20 "$2/prepare.log")"
fi
printf '"'"'%s'"'"' "$5" > "$2/$4"
clean /var/lib/overcommit/build objects fs/inode.o
# reset-memory.sh
set -- 
#!/bin/sh
# Ends a preparation: memory in a known state. Behind prepare.sh.
#
#     reset-memory.sh
sync
swaps=$(sed -n '"'"'s/^\(\/[^ \t]*\).*/\1/p'"'"' /proc/swaps)
for device in $swaps; do
    if ! { swapoff "$device" && swapon "$device"; }; then
        fail "could not empty the swap device $device"
    fi
done
echo 3 > /proc/sys/vm/drop_caches || fail "could not drop the file caches: this needs root on a machine of its own"
' | on guest2

# --- the policy selfballoon+tmem; nothing moves yet

printf %s '# set-memory.sh
set -- 120 guest1 144 224 guest2 144 224
#!/bin/sh
# Gives guests their memory, waits until they have it, then lets them hold more. Runs in dom0.
#
#     set-memory.sh SECONDS [NAME TARGET LIMIT]...
#
# SECONDS: how long they get. TARGET, LIMIT: in MiB; a LIMIT that is no more than the TARGET stays
# what `xl mem-set` makes it, the TARGET. A guest may miss its target by 1 MiB: libxl leaves that
# much to a domain.
#
# A guest'"'"'s balloon can rest for up to an hour and not see that its target has changed (Linux 5.10:
# after Xen refused it memory, when the change comes while it makes up its mind). It sees the next
# change, so who is late after some looks gets another target, and the right one again.
set -e
seconds=$1
shift
pause=0.3     # seconds between two looks
wake_every=20 # looks, of half a second each

# All at once: an xl takes dom0'"'"'s processor a third of an emulated second, and dom0 has several.
aim() {
    started=
    while [ $# -gt 0 ]; do
        xl mem-set "$1" "$2m" &
        started="$started $!"
        shift 3
    done
    for each in $started; do wait "$each"; done
}

wake() {
    while [ $# -gt 0 ]; do
        case "$late" in *"$1 "*) xl mem-set "$1" "$(($2 + 1))m" ;; esac
        shift 3
    done
}

raise() {
    started=
    while [ $# -gt 0 ]; do
        if [ "$3" -gt "$2" ]; then
            xl mem-max "$1" "$3m" &
            started="$started $!"
        fi
        shift 3
    done
    for each in $started; do wait "$each"; done
}

wanted=$(printf '"'"'%s=%s %.0s'"'"' "$@")
aim "$@"
deadline=$(($(date +%s) + seconds))
looks=0
while :; do
    late=$(xl list | awk -v wanted="$wanted" '"'"'
        BEGIN { count = split(wanted, pairs, " ")
            for (i = 1; i <= count; i++) { split(pairs[i], pair, "="); target[pair[1]] = pair[2] } }
        $1 in target && ($3 - target[$1] > 1 || target[$1] - $3 > 1) { print $1, $3 }'"'"')
    [ -n "$late" ] || break
    if [ "$(date +%s)" -gt "$deadline" ]; then
        echo "guests did not reach their memory within $seconds s: $late (MiB)" >&2
        exit 1
    fi
    looks=$((looks + 1))
    sleep "$pause"
    if [ $((looks % wake_every)) -eq 0 ]; then
        wake "$@"
        sleep 1
        aim "$@"
    fi
done
raise "$@"
' | on dom0
printf %s '# load-driver.sh
set -- cleancache=1 frontswap=1 selfballooning=1 selfshrinking=1
#!/bin/sh
# Loads the driver in a guest, and checks that it took its parameters.
#
#     load-driver.sh [NAME=0|NAME=1]...
modprobe tmem "$@" || exit
for each; do
    name=${each%%=*}
    wanted=N
    [ "${each#*=}" = 0 ] || wanted=Y
    path=/sys/module/tmem/parameters/$name
    if [ -r "$path" ] && ! { read -r now < "$path" && [ "$now" = "$wanted" ]; }; then
        echo "$name is not $wanted" >&2
        exit 1
    fi
done
# write-settings.sh
set -- /sys/devices/system/xen_memory/xen_memory0/selfballoon/selfballooning 0 /sys/devices/system/xen_memory/xen_memory0/selfballoon/frontswap_selfshrinking 0 /sys/devices/system/xen_memory/xen_memory0/selfballoon/selfballoon_min_usable_mb 64
#!/bin/sh
# Writes settings to files of the kernel, and checks that it then has them.
#
#     write-settings.sh [PATH VALUE]...
while [ $# -gt 0 ]; do
    # read and no cat: a process costs an emulated guest a twentieth of a second
    if ! { echo "$2" > "$1" && read -r now < "$1" && [ "$now" = "$2" ]; }; then
        echo "$1 does not take $2" >&2
        exit 1
    fi
    shift 2
done
' | on guest1
printf %s '# load-driver.sh
set -- cleancache=1 frontswap=1 selfballooning=1 selfshrinking=1
#!/bin/sh
# Loads the driver in a guest, and checks that it took its parameters.
#
#     load-driver.sh [NAME=0|NAME=1]...
modprobe tmem "$@" || exit
for each; do
    name=${each%%=*}
    wanted=N
    [ "${each#*=}" = 0 ] || wanted=Y
    path=/sys/module/tmem/parameters/$name
    if [ -r "$path" ] && ! { read -r now < "$path" && [ "$now" = "$wanted" ]; }; then
        echo "$name is not $wanted" >&2
        exit 1
    fi
done
# write-settings.sh
set -- /sys/devices/system/xen_memory/xen_memory0/selfballoon/selfballooning 0 /sys/devices/system/xen_memory/xen_memory0/selfballoon/frontswap_selfshrinking 0 /sys/devices/system/xen_memory/xen_memory0/selfballoon/selfballoon_min_usable_mb 64
#!/bin/sh
# Writes settings to files of the kernel, and checks that it then has them.
#
#     write-settings.sh [PATH VALUE]...
while [ $# -gt 0 ]; do
    # read and no cat: a process costs an emulated guest a twentieth of a second
    if ! { echo "$2" > "$1" && read -r now < "$1" && [ "$now" = "$2" ]; }; then
        echo "$1 does not take $2" >&2
        exit 1
    fi
    shift 2
done
' | on guest2

# --- the release: in all guests at once, the policy takes effect and the load runs

done=$(mktemp -d)
( # guest1
    trap '[ "$?" -eq 0 ] || : > "$done/failed"' EXIT
printf %s '# release-policy.sh
set -- /sys/devices/system/xen_memory/xen_memory0/selfballoon selfballooning 1 frontswap_selfshrinking 1
#!/bin/sh
# Lets a policy take effect in a guest, at the release: writes settings of the driver.
#
#     release-policy.sh FOLDER [NAME VALUE]...
#
# Exit status 96 when the driver does not take one.
folder=$1
shift
while [ $# -gt 0 ]; do
    if ! echo "$2" > "$folder/$1"; then
        echo "the driver does not take $1" >&2
        exit 96
    fi
    shift 2
done
' | on guest1
printf %s '# environment.sh
set -- 
#!/bin/sh
# What every script of a workload begins with: the first error ends it, programs are found, and they
# speak English.
#
#     environment.sh
set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ
# timed.sh
set -- /run/overcommit/raw
#!/bin/sh
# Begins the timed part.
#
#     timed.sh RAW [DIRECTORY]
#
# RAW: the folder of raw outputs. DIRECTORY: where to go first. Behind it, `timed LABEL COMMAND...`
# runs a command, keeps its output in RAW/LABEL.out and .err, and adds `LABEL started ended status`
# (seconds since boot) to RAW/timings; one that fails ends the script with its status.
raw=$1
[ $# -lt 2 ] || cd "$2" || exit

timed() {
    label=$1
    shift
    status=0
    times > "$raw/$label.before"
    read -r started rest < /proc/uptime
    "$@" > "$raw/$label.out" 2> "$raw/$label.err" || status=$?
    # shellcheck disable=SC2034 # the line has two words
    read -r ended rest < /proc/uptime
    times > "$raw/$label.after"
    echo "$label $started $ended $status" >> "$raw/timings"
    [ "$status" -eq 0 ] || exit "$status"
}
timed memload /usr/local/lib/overcommit/memload-4abe46c30a788c2d steps 1 hold:40.000000 grow:117440512:0.000000 touch:10000:0.000000
' | on guest1
    : > "$done/guest1"
) &
( # guest2
    trap '[ "$?" -eq 0 ] || : > "$done/failed"' EXIT
printf %s '# release-policy.sh
set -- /sys/devices/system/xen_memory/xen_memory0/selfballoon selfballooning 1 frontswap_selfshrinking 1
#!/bin/sh
# Lets a policy take effect in a guest, at the release: writes settings of the driver.
#
#     release-policy.sh FOLDER [NAME VALUE]...
#
# Exit status 96 when the driver does not take one.
folder=$1
shift
while [ $# -gt 0 ]; do
    if ! echo "$2" > "$folder/$1"; then
        echo "the driver does not take $1" >&2
        exit 96
    fi
    shift 2
done
' | on guest2
printf %s '# environment.sh
set -- 
#!/bin/sh
# What every script of a workload begins with: the first error ends it, programs are found, and they
# speak English.
#
#     environment.sh
set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ
# timed.sh
set -- /run/overcommit/raw
#!/bin/sh
# Begins the timed part.
#
#     timed.sh RAW [DIRECTORY]
#
# RAW: the folder of raw outputs. DIRECTORY: where to go first. Behind it, `timed LABEL COMMAND...`
# runs a command, keeps its output in RAW/LABEL.out and .err, and adds `LABEL started ended status`
# (seconds since boot) to RAW/timings; one that fails ends the script with its status.
raw=$1
[ $# -lt 2 ] || cd "$2" || exit

timed() {
    label=$1
    shift
    status=0
    times > "$raw/$label.before"
    read -r started rest < /proc/uptime
    "$@" > "$raw/$label.out" 2> "$raw/$label.err" || status=$?
    # shellcheck disable=SC2034 # the line has two words
    read -r ended rest < /proc/uptime
    times > "$raw/$label.after"
    echo "$label $started $ended $status" >> "$raw/timings"
    [ "$status" -eq 0 ] || exit "$status"
}
# kernel-build-environment.sh
set -- 
#!/bin/sh
# What every make of the kernel build has. As a build farm does it: whatever would make the same
# source give other bytes is fixed.
#
#     kernel-build-environment.sh
KBUILD_BUILD_TIMESTAMP='"'"'Thu Jan  1 00:00:00 UTC 1970'"'"'
KBUILD_BUILD_USER=overcommit
KBUILD_BUILD_HOST=guest
KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER KBUILD_BUILD_HOST KBUILD_BUILD_VERSION
# kernel-build-clean.sh
set -- 
#!/bin/sh
# `clean BUILD HOW TARGET...` for those behind it: removes compiled files below the folder BUILD.
# HOW: `objects` are exactly what the targets make, `tree` is every compiled file. Those of `make
# prepare` stay: they are no part of a round.
#
#     kernel-build-clean.sh
remove_compiled() { # arguments of find: where, and what of it is left out
    find "$@" -type f \
        \( -name '"'"'*.o'"'"' -o -name '"'"'*.a'"'"' -o -name '"'"'.*.o.cmd'"'"' -o -name '"'"'.*.a.cmd'"'"' -o -name modules.order \) -exec rm -f {} +
}

clean() {
    at=$1
    how=$2
    shift 2
    if [ "$how" = tree ]; then
        remove_compiled "$at" \( -path '"'"'*/scripts'"'"' -o -path '"'"'*/tools'"'"' \) -prune -o
        rm -f "$at/vmlinux"
        return
    fi
    for target; do
        case $target in
            */) if [ -d "$at/$target" ]; then remove_compiled "$at/$target"; fi ;;
            */*) rm -f "$at/$target" "$at/${target%/*}/.${target##*/}.cmd" ;;
            *) rm -f "$at/$target" "$at/.$target.cmd" ;;
        esac
    done
}
reset_memory() { :; }
# kernel-build-rounds.sh
set -- /usr/src/linux /var/lib/overcommit/build 1 1 0 objects .make-variables .targets.mk fs/inode.o
#!/bin/sh
# Builds the targets ROUNDS times, all of them with one make, every round but the first from clean.
# Behind timed.sh, kernel-build-environment.sh and kernel-build-clean.sh.
#
#     kernel-build-rounds.sh SOURCE BUILD JOBS ROUNDS WARM CLEAN VARIABLES MAKEFILE TARGET...
#
# JOBS: one number or several, ROUNDS builds with each. WARM: builds with the first number before
# all others. `reset_memory` is called before each build. CLEAN: how. VARIABLES, MAKEFILE: files of
# BUILD that kernel-build-probe.sh wrote; both empty where make is to ask the compiler again.
#
# KERNELRELEASE and PAHOLE_FLAGS are given because make 4.4 and later runs their shell commands again
# for every command it starts: about 340 processes, half of what a make that finds nothing to do
# costs. Neither value changes an object of these targets.
if [ -n "$7" ]; then
    # shellcheck disable=SC1090 # make writes it
    . "$2/$7"
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
else
    read -r release < "$2/include/config/kernel.release"
fi
source=$1 build=$2 levels=$3 rounds=$4 warm=$5 how=$6 variables=$7 makefile=$8
shift 8
dirty=

build_once() { # LABEL JOBS TARGET...
    label=$1 jobs=$2
    shift 2
    if [ -n "$dirty" ]; then
        clean "$build" "$how" "$@"
    fi
    dirty=yes
    reset_memory
    if [ -n "$variables" ]; then
        # as Linux'"'"'s top makefile calls its parts
        timed "$label" make -srR --no-print-directory -I "$source" -C "$build" -f "$makefile" -j"$jobs"
    else
        timed "$label" make -s -C "$source" O="$build" -j"$jobs" KERNELRELEASE="$release" PAHOLE_FLAGS= "$@"
    fi
}

number=1
while [ "$number" -le "$warm" ]; do
    build_once "warmup$number" "${levels%% *}" "$@"
    number=$((number + 1))
done
number=1
for level in $levels; do
    last=$((number + rounds))
    while [ "$number" -lt "$last" ]; do
        build_once "round$number" "$level" "$@"
        number=$((number + 1))
    done
done
timed sync sync
' | on guest2
    : > "$done/guest2"
) &
wait
failed=0
[ ! -e "$done/failed" ] || failed=1
rm -r "$done"
exit "$failed"
