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
        # as Linux's top makefile calls its parts
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
