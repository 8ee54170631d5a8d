#!/bin/sh
# Tells what guests' domains do, and what they said last on their consoles. Runs in dom0.
#
#     guest-state.sh FOLDER LINES NAME...
#
# FOLDER: of the consoles' logs. Prints for each guest `== NAME STATE SECONDS`, STATE as `xl list` has it or `gone`,
# SECONDS of its vCPUs' time, then at most the last LINES that it said, each behind `| `: a guest may say `== ...`, too.
folder=$1 lines=$2
shift 2
domains=$(xl list) || exit
for name; do
    state=$(echo "$domains" | awk -v name="$name" '$1 == name { print $5, $6 }')
    echo "== $name ${state:-gone 0}"
    tail -n "$lines" "$folder/guest-$name.log" 2> /dev/null | tail -c 65536 | sed 's/^/| /'
done
true
