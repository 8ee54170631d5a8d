#!/bin/sh
# Writes each guest's root disk from an image, and blanks its swap. Runs in dom0 of a physical
# server.
#
#     write-disks.sh IMAGE { ROOT SWAP }...
set -e
image=$1
shift
while [ $# -gt 0 ]; do
    if ! [ -b "$1" ] || ! [ -b "$2" ]; then
        echo "$1 or $2 is no block device" >&2
        exit 1
    fi
    qemu-img convert -n -W -m 8 -O raw "$image" "$1"
    dd if=/dev/zero of="$2" bs=64k count=1 conv=fsync status=none
    shift 2
done
