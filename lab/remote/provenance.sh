#!/bin/sh
# Tells what a machine is and runs, in sections that begin with a line `== TITLE`. What it does not
# have is left out.
#
#     provenance.sh dom0|guest fixed|changing
#
# fixed: what cannot change between two resets, asked once per known state. changing: what a policy
# or a workload may have changed, asked for every cell.
section() { echo "== $1"; }

fixed() {
    section uname; uname -srvm
    section cmdline; cat /proc/cmdline
    section meminfo; grep -E '^(MemTotal|SwapTotal|CommitLimit):' /proc/meminfo
    section cpu; grep -m 2 -E '^(model name|microcode)' /proc/cpuinfo
    section disks
    for disk in /sys/block/*vd*; do
        [ -e "$disk" ] && echo "$(basename "$disk") $(cat "$disk/size") $(cat "$disk/queue/scheduler" 2> /dev/null)"
    done
}

dom0_fixed() {
    section boot; cat /proc/sys/kernel/random/boot_id
    section config; sha256sum "/boot/config-$(uname -r)" 2> /dev/null
    section xen; xl info
    section "xen log"; xl dmesg | head -n 60
    section packages
    # shellcheck disable=SC2016 # dpkg-query's own variables
    dpkg-query -W -f '${Package} ${Version}\n' 'xen-utils*' 'libxen*' 'linux-image-*' systemd openssh-server dropbear-bin \
        2> /dev/null | grep ' .'
}

guest_fixed() {
    section config
    if [ -e /proc/config.gz ]; then
        gunzip -c /proc/config.gz | sha256sum
    else
        sha256sum "/lib/modules/$(uname -r)/config" 2> /dev/null
    fi
}

changing() {
    section clock; date +%s.%N
    section sysctl
    cd /proc/sys && grep -s . vm/swappiness vm/overcommit_memory vm/overcommit_ratio vm/vfs_cache_pressure \
        vm/dirty_ratio vm/dirty_background_ratio vm/min_free_kbytes vm/watermark_scale_factor vm/page-cluster \
        kernel/randomize_va_space
    cd /
}

dom0_changing() {
    section domains; xl list || exit
}

guest_changing() {
    section swaps; cat /proc/swaps
    section driver; grep -s . /sys/module/tmem/parameters/*
    section selfballoon
    cd /sys/devices/system/xen_memory/xen_memory0/selfballoon 2> /dev/null && grep -s . -- *
}

"$2"
"$1_$2"
# What a machine lacks is no failure.
true
