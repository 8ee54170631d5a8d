#!/bin/sh
# Tells what guests have done so far, as dom0 sees it. Runs in dom0.
#
#     guest-activity.sh NAME...
#
# Prints for each guest that is there `NAME SECONDS SECTORS`: processor time of its vCPUs, and sectors that its disks read
# and wrote.
domains=$(xl list) || exit
for name; do
    eval "$(echo "$domains" | awk -v name="$name" '$1 == name { print "id=" $2 " seconds=" $NF; found = 1 }
        END { if (!found) print "continue" }')"
    # shellcheck disable=SC2154 # awk told them
    sectors=$(cat /sys/bus/xen-backend/devices/vbd-"$id"-*/statistics/rd_sect \
        /sys/bus/xen-backend/devices/vbd-"$id"-*/statistics/wr_sect 2> /dev/null | awk '{ sum += $1 } END { print sum + 0 }')
    # shellcheck disable=SC2154
    echo "$name $seconds $sectors"
done
