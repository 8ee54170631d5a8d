#!/bin/sh
# Ends every guest whose name is one of ours, and waits until their memory is back. Runs in dom0.
#
#     destroy-guests.sh SECONDS
for name in $(xl list | awk '$1 ~ /^guest[0-9]+$/ { print $1 }'); do
    xl destroy "$name" || exit
done
# A domain is gone when its last page is: wait for that, since memory is what is measured.
for _ in $(seq "$1"); do
    xl list | awk '$1 ~ /^guest[0-9]+$|^\(null\)$/ { found = 1 } END { exit !found }' || exit 0
    sleep 1
done
echo "guests are still there after $1 s" >&2
exit 1
