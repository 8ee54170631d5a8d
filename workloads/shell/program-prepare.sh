#!/bin/sh
# Compiles a program of our own unless it is there. Behind prepare.sh. Prints the fact NAME=FILE.
#
#     program-prepare.sh NAME FILE SOURCE
if [ ! -x "$2" ]; then
    command -v gcc > /dev/null || fail "$2 is not there, and no compiler (gcc) to make it"
    mkdir -p "${2%/*}"
    printf '%s' "$3" > "$2.c"
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -ffp-contract=off -Wall -Wextra -Werror -o "$2.new" "$2.c" >&2 || fail "$1 does not compile"
    mv "$2.new" "$2"
    rm "$2.c"
fi
echo "$1=${2##*/}"
