#!/bin/sh
# Gives and takes a guest's memory in sections, as dom0 says. Runs in the guest.
#
#     sections.sh SECONDS KIB
#
# SECONDS: how long it is tried to empty a section. KIB: memory that stays the kernel's own. Of the sections above it, those that have no
# memory yet are taken offline first, and the others are made movable: from then on the kernel puts nothing there that cannot be moved
# away. One that holds such a page already stays the kernel's, and is never tried. Then it is ready, and follows what dom0 writes (/proc/sections, a size in KiB) until its standard input ends. To `stop` it answers how many sections went
# (given) and came (taken), how many of those that were to go could not be emptied (failed), and for how many Xen had no memory (refused).
seconds=$1
own=$2
blocks=/sys/devices/system/memory
module=/sys/module/sections/parameters
counts=$(mktemp -d /run/sections.XXXXXX)

fail() {
    echo "$*" >&2
    exit 1
}

modprobe sections || fail "this guest's kernel has no memory hot-plug (module sections)"
kib=$((0x$(cat "$blocks/block_size_bytes") / 1024))
offline() {
    timeout "$seconds" sh -c "echo offline > $blocks/memory$1/state" 2> /dev/null
}

numbers() {
    find "$blocks" -maxdepth 1 -name 'memory[0-9]*' | sed 's/.*memory//' | sort -rn
}

empty=,$(cat "$module/empty"),
for block in $(numbers); do
    [ $((block * kib)) -ge "$own" ] || break
    # what was prepared before is as it should be
    if grep -qx offline "$blocks/memory$block/state" || grep -q '^Movable' "$blocks/memory$block/valid_zones"; then continue; fi
    case $empty in
        *,$block,*) offline "$block" || fail "section $block has no memory, and cannot be taken offline" ;;
        # one that Xen does not give back stays away, which dom0 sees
        *) ! offline "$block" || echo online_movable > "$blocks/memory$block/state" 2> /dev/null || : ;;
    esac
done

# The sections of the zone whose pages can be moved, the highest first: their numbers, in a given state.
movable() {
    for block in $(numbers); do
        if [ "$(cat "$blocks/memory$block/state")" = "$1" ]; then
            [ "$1" = offline ] || grep -q '^Movable' "$blocks/memory$block/valid_zones" || continue
            echo "$block"
        fi
    done
}

online() {
    grep -lx online "$blocks"/memory*/state | wc -l
}

add() {
    echo >> "$counts/$1"
}

# Until so many sections are online, or none is left to try.
follow() {
    for block in $(movable online); do
        [ "$(online)" -gt "$1" ] || break
        if offline "$block"; then add given; else add failed; fi
    done
    for block in $(movable offline | sort -n); do
        [ "$(online)" -lt "$1" ] || break
        if echo online_movable > "$blocks/memory$block/state" 2> /dev/null; then add taken; else add refused; fi
    done
}

# A guest that lacks memory kills others first; the follower inherits it.
echo -1000 > /proc/self/oom_score_adj
while read -r wanted; do
    follow $(((wanted + kib / 2) / kib))
done < /proc/sections &
following=$!
trap 'kill $following 2> /dev/null; rm -rf "$counts"' EXIT

count() {
    cat "$counts/$1" 2> /dev/null | wc -l
}

echo "== end"
while read -r line; do
    if [ "$line" = stop ]; then
        kill -0 "$following" 2> /dev/null || wait "$following" || fail "what gives and takes sections was killed, or could start no process"
        echo "sections given=$(count given) taken=$(count taken) failed=$(count failed) refused=$(count refused)"
    fi
    echo "== end"
done
