#!/bin/sh
# Tells sysbench's version, and lays its files out anew when the test has any. Behind prepare.sh.
#
#     sysbench-prepare.sh [DIRECTORY COMMAND...]
#
# COMMAND: what lays them out, in DIRECTORY.
version=$(sysbench --version) || fail "sysbench is not installed: install Debian's package sysbench"
echo "sysbench=$version"
if [ $# -gt 0 ]; then
    mkdir -p "$1"
    cd "$1" || exit
    shift
    rm -f test_file.*
    "$@" >&2 || fail 'sysbench could not write its files'
fi
