#!/bin/sh
# Writes down how large each file has to be for all of them to be a share of this machine's memory. Behind prepare.sh. Prints the fact
# file_bytes.
#
#     fio-size.sh SIZE_FILE PER_MILLE FILES BLOCK
memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
# shellcheck disable=SC2017 # whole blocks
size=$((memory * 1024 / 1000 * $2 / $3 / $4 * $4))
[ "$size" -gt 0 ] || fail "$2 thousandths of $memory KiB of memory, in $3 files, are less than a block of $4 bytes"
echo "$size" > "$1"
echo "file_bytes=$size"
