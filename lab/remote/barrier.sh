#!/bin/sh
# A guest at the barrier: says that it is ready, waits for a line on its input, lets the policy take
# effect, and runs the load that was uploaded, at once or after a delay. Says when it was released,
# started and ended by the guest's clock, in epoch nanoseconds (campaigns/barrier.py).
#
#     barrier.sh DIRECTORY KILL_AFTER_SECONDS LIMIT_SECONDS LINES RELEASE DELAY_NANOSECONDS AFTER
#
# RELEASE: 1 when there is a release.sh to run. DELAY: from the release to the start of the load.
# AFTER: 1 when it waits for a second line before that, and the delay counts from there.
#
# Prints `READY <ns>`, `GO <ns>`, `START <ns>`, `DONE <ns> <exit status>`, and of a script that
# failed the last LINES of its output as `SAID <line>`.
echo "READY $(date +%s%N)"
read -r _ || exit 97
from=$(date +%s%N)
echo "GO $from"
status=0
if [ "$5" = 1 ]; then
    timeout -k "$2" "$3" sh "$1/release.sh" < /dev/null > "$1/script.out" 2>&1
    status=$?
fi
if [ "$status" -eq 0 ]; then
    if [ "$7" = 1 ]; then
        read -r _ || exit 97
        from=$(date +%s%N)
    fi
    if [ "$6" -gt 0 ]; then
        left=$((from + $6 - $(date +%s%N)))
        [ "$left" -le 0 ] || sleep "$((left / 1000000000)).$(printf %09d $((left % 1000000000)))"
    fi
    echo "START $(date +%s%N)"
    timeout -k "$2" "$3" sh "$1/script.sh" < /dev/null > "$1/script.out" 2>&1
    status=$?
fi
echo "DONE $(date +%s%N) $status"
# A line of it may be as long as the file.
[ "$status" -eq 0 ] || tail -n "$4" "$1/script.out" | tail -c 65536 | sed 's/^/SAID /'
