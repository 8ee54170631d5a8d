#!/bin/sh
# Begins the timed part.
#
#     timed.sh RAW [DIRECTORY]
#
# RAW: the folder of raw outputs. DIRECTORY: where to go first. Behind it, `timed LABEL COMMAND...`
# runs a command, keeps its output in RAW/LABEL.out and .err, and adds `LABEL started ended status`
# (seconds since boot) to RAW/timings; one that fails ends the script with its status.
raw=$1
[ $# -lt 2 ] || cd "$2" || exit

timed() {
    label=$1
    shift
    status=0
    times > "$raw/$label.before"
    read -r started rest < /proc/uptime
    "$@" > "$raw/$label.out" 2> "$raw/$label.err" || status=$?
    # shellcheck disable=SC2034 # the line has two words
    read -r ended rest < /proc/uptime
    times > "$raw/$label.after"
    echo "$label $started $ended $status" >> "$raw/timings"
    [ "$status" -eq 0 ] || exit "$status"
}
