#!/bin/sh
# Makes each guest's root volume a snapshot of one that has the image, in the place of the volume
# that was there, and makes its swap anew: seconds, however large the disks are. Runs in dom0 of a
# physical server.
#
#     reset-volumes.sh IMAGE NAMED GROUP MIB SWAP_MIB { ROOT SWAP }...
#
# NAMED: a file with the disks that provisioning has looked at; others are not touched, nor what is
# in use. GROUP: the volume group. MIB: size of a root volume. SWAP_MIB: how much of a swap volume is
# used; with 0, none is. ROOT, SWAP: names of volumes there. The volume with the image is written
# when the image is another than the last time.
set -e
export LC_ALL=C
image=$1 named=$2 group=$3 mib=$4 swap_mib=$5
shift 5
origin=overcommit_image
kept=/var/lib/overcommit/image-volume
now=$(stat -c '%n %s %Y %i' "$image")
there() { lvs "$group/$1" > /dev/null 2>&1; }
refuse() {
    echo "$1, so nothing was written" >&2
    exit 1
}
remove() { ! there "$1" || lvremove -q -y "$group/$1" > /dev/null; }

kind=root
for volume; do
    disk=/dev/$group/$volume
    grep -qxF "$disk" "$named" || refuse "$disk is none of those in $named"
    if there "$volume"; then
        [ "$(lsblk -nro NAME "$disk" | wc -l)" = 1 ] || refuse "$disk has partitions, or something is made of it"
        [ -z "$(lsblk -nro MOUNTPOINT "$disk")" ] || refuse "$disk is in use: $(lsblk -nro MOUNTPOINT "$disk")"
    else
        # A root volume is made below, also one that a power cut left removed.
        [ $kind = root ] || refuse "$disk is not there"
    fi
    if [ $kind = root ]; then kind=swap; else kind=root; fi
done
if [ "$(cat "$kept" 2> /dev/null)" != "$now" ] || ! there "$origin"; then
    rm -f "$kept"
    # With what hangs on it.
    remove "$origin"
    lvcreate -q -y --wipesignatures y --addtag overcommit --name "$origin" --size "${mib}m" "$group" > /dev/null
    qemu-img convert -n -W -m 8 -O raw "$image" "/dev/$group/$origin"
    echo "$now" > "$kept"
fi
while [ $# -gt 0 ]; do
    remove "$1"
    # Room for every block to change, and for the list of those that did.
    lvcreate -q -y --snapshot --addtag overcommit --chunksize 64k --name "$1" --size "$((mib + mib / 64 + 8))m" \
        "$group/$origin" > /dev/null
    dd if=/dev/zero of="/dev/$group/$2" bs=64k count=1 conv=fsync status=none
    [ "$swap_mib" = 0 ] || mkswap "/dev/$group/$2" "$((swap_mib * 1024))" > /dev/null
    shift 2
done
