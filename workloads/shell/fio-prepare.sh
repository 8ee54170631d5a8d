#!/bin/sh
# Tells fio's version, and lays its file out anew. Behind prepare.sh.
#
#     fio-prepare.sh DIRECTORY JOB [COMMAND...]
#
# COMMAND: what lays it out; none when the job writes it itself.
version=$(fio --version) || fail "fio is not installed"
echo "fio=$version"
mkdir -p "$1"
rm -f "$1/$2".*
shift 2
if [ $# -gt 0 ]; then
    "$@" >&2
fi
