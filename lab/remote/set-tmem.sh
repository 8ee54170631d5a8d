#!/bin/sh
# Tells tmem how it keeps guests' pages. Runs in dom0.
#
#     set-tmem.sh [NAME OPTIONS]...
#
# OPTIONS: of `tmemctl set`, as one word.
set -e
while [ $# -gt 0 ]; do
    id=$(xl domid "$1")
    # shellcheck disable=SC2086 # several options
    tmemctl set "$id" $2
    shift 2
done
