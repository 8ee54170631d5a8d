#!/bin/sh
# Compiles a program of our own unless it is there. Behind prepare.sh. Prints the fact NAME=FILE.
#
#     program-prepare.sh NAME FILE HEADER SOURCE
#
# HEADER: the text of latency.h.
if [ ! -x "$2" ]; then
    command -v gcc > /dev/null || fail "$2 is not there, and no compiler (gcc) to make it"
    mkdir -p "$2.build"
    printf '%s' "$3" > "$2.build/latency.h"
    printf '%s' "$4" > "$2.build/$1.c"
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -ffp-contract=off -Wall -Wextra -Werror -o "$2.build/$1" "$2.build/$1.c" -lm >&2 ||
        fail "$1 does not compile"
    mv "$2.build/$1" "$2"
    rm -r "$2.build"
fi
echo "$1=${2##*/}"
