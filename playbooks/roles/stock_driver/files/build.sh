#!/bin/sh
# build.sh JOBS: build the driver in /mnt/build for the one kernel whose headers are here. Runs in their root.
set -eu
for headers in /lib/modules/*/build; do
    release=$(basename "$(dirname "$headers")")
done
make -s -C "/lib/modules/$release/build" M=/mnt/build -j"$1" modules
strip --strip-debug -o /mnt/out/tmem.ko /mnt/build/tmem.ko
echo "$release" > /mnt/out/release
