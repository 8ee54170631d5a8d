#!/bin/sh
# Gives guests their memory, waits until they have it, then lets them hold more. Runs in dom0.
#
#     set-memory.sh SECONDS [NAME TARGET LIMIT]...
#
# SECONDS: how long they get. TARGET, LIMIT: in MiB; a LIMIT that is no more than the TARGET stays
# what `xl mem-set` makes it, the TARGET. A guest may miss its target by 1 MiB: libxl leaves that
# much to a domain.
#
# A guest's balloon can rest for up to an hour and not see that its target has changed (Linux 5.10:
# after Xen refused it memory, when the change comes while it makes up its mind). It sees the next
# change, so who is late after some looks gets another target, and the right one again.
set -e
seconds=$1
shift
pause=0.3     # seconds between two looks
wake_every=20 # looks, of half a second each

end() {
    for each in $started; do wait "$each"; done
}

# All at once: an xl takes dom0's processor a third of an emulated second, and dom0 has several.
aim() {
    started=
    while [ $# -gt 0 ]; do
        xl mem-set "$1" "$2m" &
        started="$started $!"
        shift 3
    done
    end
}

wake() {
    while [ $# -gt 0 ]; do
        case "$late" in *"$1 "*) xl mem-set "$1" "$(($2 + 1))m" ;; esac
        shift 3
    done
}

raise() {
    started=
    while [ $# -gt 0 ]; do
        if [ "$3" -gt "$2" ]; then
            xl mem-max "$1" "$3m" &
            started="$started $!"
        fi
        shift 3
    done
    end
}

wanted=$(printf '%s=%s %.0s' "$@")
aim "$@"
deadline=$(($(date +%s) + seconds))
looks=0
while :; do
    late=$(xl list | awk -v wanted="$wanted" '
        BEGIN { count = split(wanted, pairs, " ")
            for (i = 1; i <= count; i++) { split(pairs[i], pair, "="); target[pair[1]] = pair[2] } }
        $1 in target && ($3 - target[$1] > 1 || target[$1] - $3 > 1) { print $1, $3 }')
    [ -n "$late" ] || break
    if [ "$(date +%s)" -gt "$deadline" ]; then
        echo "guests did not reach their memory within $seconds s: $late (MiB)" >&2
        exit 1
    fi
    looks=$((looks + 1))
    sleep "$pause"
    if [ $((looks % wake_every)) -eq 0 ]; then
        wake "$@"
        sleep 1
        aim "$@"
    fi
done
raise "$@"
