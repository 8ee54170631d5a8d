#!/bin/sh
# Tells tmem how it keeps guests' pages. Runs in dom0.
#
#     set-tmem.sh [NAME FREEZE OPTIONS]...
#
# FREEZE: `freeze`, and the guest's puts are refused from then on; or empty. OPTIONS: of `tmemctl set`, as one word.
set -e
while [ $# -gt 0 ]; do
    id=$(xl domid "$1")
    # shellcheck disable=SC2086 # several options
    tmemctl set "$id" $3
    [ "$2" != freeze ] || tmemctl freeze "$id"
    shift 3
done
