#!/bin/sh
# Ends a preparation: memory in a known state. Behind prepare.sh.
#
#     reset-memory.sh
sync
swaps=$(sed -n 's/^\(\/[^ \t]*\).*/\1/p' /proc/swaps)
for device in $swaps; do
    if ! { swapoff "$device" && swapon "$device"; }; then
        fail "could not empty the swap device $device"
    fi
done
echo 3 > /proc/sys/vm/drop_caches || fail "could not drop the file caches: this needs root on a machine of its own"
