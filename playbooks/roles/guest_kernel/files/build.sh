#!/bin/sh
# build.sh JOBS: build the driver in /mnt/build/tmem against /mnt/build/headers, and add it to the kernel's modules. Runs in the build root.
set -eu
jobs=$1
headers=/mnt/build/headers
stage=/mnt/build/stage
make -s -C "$headers" M=/mnt/build/tmem -j"$jobs" modules
version=$(cat "$headers/include/config/kernel.release")
test -s /mnt/build/tmem/tmem.ko
mkdir -p "$stage/lib/modules/$version/extra"
# The driver, and the conformance suite beside it.
find /mnt/build/tmem -name '*.ko' -exec install -m 0644 -t "$stage/lib/modules/$version/extra" {} +
# The conformance suite and the micro-benchmark, for the lab tests.
install -m 0644 /mnt/build/tmem/test/tmem_test.ko "$stage/lib/modules/$version/extra/tmem_test.ko"
depmod -b "$stage" -F /mnt/build/System.map -e "$version"
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -cf /mnt/out/modules.tar lib
