#!/bin/sh
# Ends every guest whose name is one of ours, and waits until their memory is back. Runs in dom0.
#
#     destroy-guests.sh SECONDS
guests=$(xl list | awk '$1 ~ /^guest[0-9]+$/ { print $2 }') || exit
for id in $guests; do
    xl destroy "$id" || exit
done
# A domain is gone when its last page is: wait for that, since memory is what is measured. Until then it has no name, as
# domains of others that end may have none, so ours are told by their numbers.
for _ in $(seq "$1"); do
    left=$(xl list | awk -v ids="$guests" 'BEGIN { count = split(ids, each); for (i = 1; i <= count; i++) ours[each[i]] }
        $2 in ours { print $2 }')
    [ -n "$left" ] || exit 0
    sleep 1
done
echo "guests are still there after $1 s: domains $(echo "$left" | tr "\n" " ")" >&2
exit 1
