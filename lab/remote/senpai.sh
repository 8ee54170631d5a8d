#!/bin/sh
# Takes memory from a guest until its tasks wait for it, and gets it back when they do: starts what does so, and goes on. Runs in the guest.
#
#     senpai.sh EVERY INTERVAL PRESSURE LIGHT HEAVY PROBE BACKOFF MINIMUM
#
# The rule is that of policies/managers/psi.py in whole numbers, looked at every EVERY seconds. A guest that waited for memory for more than
# PRESSURE since the last step gets some at once, and the most with HEAVY; else it gives some after INTERVAL seconds, and the most with LIGHT
# or less (all in microseconds). The most is a part of what it has, in millionths: BACKOFF, PROBE. MINIMUM, in KiB, it keeps.
#
# Exit status 96 when the kernel lacks what this needs.
senpai_balloon=/sys/devices/system/xen_memory/xen_memory0
senpai_pressure=/proc/pressure/memory
senpai_cgroups=/run/overcommit/cgroup
senpai_log=/run/overcommit/senpai.log # and its process, beside it
MILLION=1000000

senpai_look() {
    read -r _ _ _ _ waited < $senpai_pressure
    waited=${waited#total=}
    read -r has < $senpai_balloon/info/current_kb
    read -r now _ < /proc/uptime
    now=${now%.*}
}

# A part of what it has, in KiB: MOST × PART², both in millionths. In bytes meanwhile, since a step may be a page.
senpai_part() {
    part=$((has * 1024 * $1 / MILLION))
    for _ in 1 2; do part=$((part * $2 / MILLION)); done
    part=$((part / 1024))
}

# What it should have, in KiB.
senpai_decide() {
    stalled=$((waited - waited_before))
    target=$has
    if [ "$stalled" -gt "$pressure" ]; then
        [ "$stalled" -lt "$heavy" ] || stalled=$heavy
        senpai_part "$backoff" $((stalled * MILLION / heavy))
        target=$((has + part))
    elif [ $((now - before)) -ge "$interval" ]; then
        if [ "$stalled" -le "$light" ]; then
            senpai_part "$probe" $MILLION
        else
            senpai_part "$probe" $((light * MILLION / stalled))
        fi
        target=$((has - part - 1)) # rounded down, as a decision in bytes is
    else
        return 1
    fi
    target=$((target / 4 * 4))
    [ "$target" -ge "$minimum" ] || target=$minimum
    [ "$target" -le "$most" ] || target=$most
}

# What is free beyond the kernel's own reserve, in KiB.
senpai_spare() {
    {
        read -r _
        read -r _ free _
    } < /proc/meminfo
    spare=$((free - reserve))
    [ "$spare" -gt 0 ] || spare=0
}

# Frees what is to be given, as far as it can be had; the balloon gets no more than that.
senpai_free() {
    gives=$((has - target))
    senpai_spare
    if [ "$spare" -lt "$gives" ]; then
        echo $(((gives - spare) * 1024)) > $senpai_cgroups/memory.reclaim || : # it may have found less
        senpai_spare
        [ "$spare" -ge "$gives" ] || target=$((has - spare / 4 * 4))
    fi 2> /dev/null
}

senpai_follow() {
    echo -1000 > /proc/self/oom_score_adj
    senpai_look
    waited_before=$waited before=$now
    while :; do
        sleep "$every" || { # as where no process can be started
            echo "ended: sleep failed ($?)"
            return 1
        }
        senpai_look
        senpai_decide || continue
        [ "$target" -ge "$has" ] || senpai_free
        # A balloon that was refused tries the same target more and more rarely, and another at once.
        if [ "$target" -gt "$has" ] && read -r asked < $senpai_balloon/target_kb && [ "$asked" -eq "$target" ]; then
            target=$((target - 4))
        fi
        if [ "$target" -ne "$has" ]; then
            echo "$target" > $senpai_balloon/target_kb
            echo "$now waited $((waited - waited_before)) us had $has KiB has $target KiB"
        fi
        waited_before=$waited before=$now
    done
}

senpai_fail() {
    echo "this guest's kernel has no $1: senpai needs guests.kernel debian-6.12 or debian-7" >&2
    exit 96
}

every=$1 interval=$2 pressure=$3 light=$4 heavy=$5 probe=$6 backoff=$7 minimum=$8
[ -r $senpai_pressure ] || senpai_fail "memory pressure (PSI)"
mkdir -p $senpai_cgroups
[ -e $senpai_cgroups/cgroup.procs ] || mount -t cgroup2 cgroup2 $senpai_cgroups || senpai_fail "cgroups (version 2)"
[ -w $senpai_cgroups/memory.reclaim ] || senpai_fail memory.reclaim
read -r reserve < /proc/sys/vm/min_free_kbytes
reserve=$((reserve * 2)) # above the mark at which the kernel begins to reclaim by itself
read -r has < $senpai_balloon/info/current_kb
most=$has # and what the balloon holds
for kind in low high; do
    read -r held < $senpai_balloon/info/${kind}_kb
    most=$((most + held))
done
senpai_follow < /dev/null > $senpai_log 2>&1 &
echo $! > ${senpai_log%.log}.pid
