#!/bin/sh
# Writes each guest's root disk from an image, and makes its swap anew. Runs in dom0 of a physical
# server.
#
#     write-disks.sh IMAGE NAMED MIB { ROOT SWAP }...
#
# NAMED: a file with the disks that provisioning has looked at, and that may be written. A name can
# mean another disk after a restart, so what is in use is refused all the same. MIB: how much of a
# swap disk is used; with 0, none is.
set -e
image=$1 named=$2 mib=$3
shift 3
refuse() {
    echo "$1, so nothing was written" >&2
    exit 1
}
for disk; do
    [ -b "$disk" ] || refuse "$disk is no block device"
    grep -qxF "$disk" "$named" || refuse "$disk is none of those in $named"
    [ "$(lsblk -nro NAME "$disk" | wc -l)" = 1 ] || refuse "$disk has partitions, or something is made of it"
    [ -z "$(lsblk -nro MOUNTPOINT "$disk")" ] || refuse "$disk is in use: $(lsblk -nro MOUNTPOINT "$disk")"
done
while [ $# -gt 0 ]; do
    qemu-img convert -n -W -m 8 -O raw "$image" "$1"
    # Blank, it would have the guest's kernel complain, which is what cells are looked through for.
    dd if=/dev/zero of="$2" bs=64k count=1 conv=fsync status=none
    [ "$mib" = 0 ] || mkswap "$2" "$((mib * 1024))" > /dev/null
    shift 2
done
