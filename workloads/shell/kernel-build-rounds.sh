#!/bin/sh
# Builds the targets ROUNDS times, all of them with one make, every round but the first from clean.
# Behind timed.sh, kernel-build-environment.sh and kernel-build-clean.sh.
#
#     kernel-build-rounds.sh SOURCE BUILD JOBS ROUNDS CLEAN VARIABLES MAKEFILE TARGET...
#
# CLEAN: how. VARIABLES, MAKEFILE: files of BUILD that kernel-build-probe.sh wrote; both empty where
# make is to ask the compiler again.
#
# KERNELRELEASE and PAHOLE_FLAGS are given because make 4.4 and later runs their shell commands again
# for every command it starts: about 340 processes, half of what a make that finds nothing to do
# costs. Neither value changes an object of these targets.
if [ -n "$6" ]; then
    # shellcheck disable=SC1090 # make writes it
    . "$2/$6"
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
else
    read -r release < "$2/include/config/kernel.release"
fi
source=$1 build=$2 jobs=$3 rounds=$4 how=$5 variables=$6 makefile=$7
shift 7
round=1
while [ "$round" -le "$rounds" ]; do
    if [ "$round" -gt 1 ]; then
        clean "$build" "$how" "$@"
    fi
    if [ -n "$variables" ]; then
        # as Linux's top makefile calls its parts
        timed "round$round" make -srR --no-print-directory -I "$source" -C "$build" -f "$makefile" -j"$jobs"
    else
        timed "round$round" make -s -C "$source" O="$build" -j"$jobs" KERNELRELEASE="$release" PAHOLE_FLAGS= "$@"
    fi
    round=$((round + 1))
done
timed sync sync
