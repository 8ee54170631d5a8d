#!/bin/sh
# A guest at the barrier: says that it is ready, waits for a line on its input, runs the script that
# was uploaded, and says when it started and ended by the guest's clock, in epoch nanoseconds
# (campaigns/barrier.py).
#
#     barrier.sh DIRECTORY KILL_AFTER_SECONDS LIMIT_SECONDS LINES
#
# Prints `READY <ns>`, `GO <ns>`, `DONE <ns> <exit status>`, and of a script that failed the last
# LINES of its output as `SAID <line>`.
echo "READY $(date +%s%N)"
read -r _ || exit 97
echo "GO $(date +%s%N)"
timeout -k "$2" "$3" sh "$1/script.sh" < /dev/null > "$1/script.out" 2>&1
status=$?
echo "DONE $(date +%s%N) $status"
[ "$status" -eq 0 ] || tail -n "$4" "$1/script.out" | sed 's/^/SAID /'
