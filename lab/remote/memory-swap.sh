#!/bin/sh
# Puts a device or a cache for swapped pages in a guest's own memory before its swap disk. Runs in a guest.
#
#     memory-swap.sh prepare ramdisk KIB
#     memory-swap.sh prepare zram KIB ALGORITHM
#     memory-swap.sh prepare zswap COMPRESSOR ZPOOL PERCENT
#     memory-swap.sh release ramdisk|zram|zswap
#
# KIB: pages that it holds at most, uncompressed. PERCENT: of the guest's memory, the most that zswap takes. After `prepare`
# nothing is swapped there yet; a RAM disk has all its memory then, so that swapping never waits for any. `release` puts it to
# use; the swap disk stays behind it.
set -e
PRIORITY=100 # above the swap disk's, which is negative
ZSWAP=/sys/module/zswap/parameters

fail() {
    echo "$*" >&2
    exit 1
}

# Writes a setting, and checks that the kernel then has it: some are refused without an error.
set_to() {
    { echo "$2" > "$1" && [ "$(cat "$1")" = "$2" ]; } 2> /dev/null || fail "$1 does not take $2"
}

prepare_ramdisk() {
    modprobe brd rd_nr=1 rd_size="$1" max_part=0 || fail "this guest's kernel has no RAM disks (brd)"
    dd if=/dev/zero of=/dev/ram0 bs=64k count="${1}K" iflag=count_bytes oflag=direct status=none
    mkswap /dev/ram0 > /dev/null
}

prepare_zram() {
    modprobe zram num_devices=1 || fail "this guest's kernel has no zram"
    echo "$2" > /sys/block/zram0/comp_algorithm || fail "zram has no algorithm $2"
    echo "${1}K" > /sys/block/zram0/disksize
    mkswap /dev/zram0 > /dev/null
}

prepare_zswap() {
    [ -d "$ZSWAP" ] || fail "this guest's kernel has no zswap"
    set_to "$ZSWAP/enabled" N
    set_to "$ZSWAP/compressor" "$1"
    set_to "$ZSWAP/zpool" "$2"
    set_to "$ZSWAP/max_pool_percent" "$3"
}

release_ramdisk() {
    swapon -p "$PRIORITY" /dev/ram0
}

release_zram() {
    swapon -p "$PRIORITY" /dev/zram0
}

release_zswap() {
    set_to "$ZSWAP/enabled" Y
}

step=$1 kind=$2
shift 2
"${step}_$kind" "$@"
