#!/bin/sh
# Writes guests' configurations and creates the guests, one after the other: xl locks around it
# anyway. Runs in dom0.
#
#     create-guests.sh FOLDER ROOM_MIB { NAME MEMORY_MIB CONFIGURATION }...
#
# FOLDER: where the configurations go. ROOM_MIB: what Xen needs for a guest beside the guest's
# memory. Where tmem holds the host's memory it is frozen, asked what it could give back, and made
# to give back what a guest lacks; it is thawed at the end, however that comes. A script that is
# killed outright leaves tmem frozen, and the next one thaws it.
set -e
folder=$1 room=$2
shift 2

# Gives back what a guest (its name and MiB are the arguments) lacks: not before it is known that
# this is enough.
room_for() {
    [ -n "$tmem" ] || return 0
    # The reserve is what Xen keeps back from guests, see tmem/README.md.
    eval "$(xl info | awk '
        $1 == "free_memory" { print "free=" $3 }
        $1 == "total_memory" { kept = $3 / 256; print "reserve=" int(kept < 64 ? kept + 1 : 64) }')"
    freeable=$(tmemctl freeable)
    # shellcheck disable=SC2154 # xl info told them
    missing=$(($2 + room + reserve - free))
    [ $missing -gt 0 ] || return 0
    if [ $((free + freeable)) -lt "$2" ]; then
        echo "there is no room for $1: it needs $2 MiB, $free MiB are free, and tmem would give back $freeable MiB" >&2
        return 1
    fi
    tmemctl flush all $((missing * 256)) > /dev/null
}

mkdir -p "$folder"
tmem=on
tmemctl freeable > /dev/null 2>&1 || case $? in
    3 | 127) tmem= ;; # no tmem, or no tmemctl, so nothing to give back
    *) tmemctl freeable; exit 1 ;;
esac
if [ -n "$tmem" ]; then
    trap 'tmemctl thaw all' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    tmemctl freeze all
fi
while [ $# -gt 0 ]; do
    printf %s "$3" > "$folder/$1.cfg"
    room_for "$1" "$2"
    xl create -q "$folder/$1.cfg"
    shift 3
done
