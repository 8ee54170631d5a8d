#!/bin/sh
# Tells fio's version, and lays its files out anew. Behind prepare.sh.
#
#     fio-prepare.sh SIZE_FILE DIRECTORY JOB [COMMAND...]
#
# SIZE_FILE: has the bytes of a file, where fio-size.sh has written it. COMMAND: what lays them out; none when the job writes them itself.
version=$(fio --version) || fail "fio is not installed: install Debian's package fio"
echo "fio=$version"
size=
[ ! -f "$1" ] || read -r size < "$1"
mkdir -p "$2"
rm -f "$2/$3".*
shift 3
if [ $# -gt 0 ]; then
    "$@" ${size:+--size="$size"} >&2
fi
