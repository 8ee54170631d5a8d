#!/bin/sh
# build.sh JOBS: configure and build the hypervisor in /mnt/build/src. Runs in the build root.
# The identity is fixed, so that the same source gives the same bytes wherever it is built.
set -eu
jobs=$1
cd /mnt/build/src
export XEN_BUILD_DATE=1970-01-01 XEN_BUILD_TIME=00:00:00 XEN_BUILD_HOST=overcommit XEN_WHOAMI=overcommit XEN_DOMAIN=invalid
make -s -C xen defconfig
cat /mnt/build/config.* >> xen/.config
make -s -C xen olddefconfig
# An option that does not take (a dependency, a typing error) would otherwise go unnoticed.
for fragment in /mnt/build/config.*; do
    grep -E '^(CONFIG_|# CONFIG_.* is not set)' "$fragment" | while read -r line; do
        if ! grep -qxF "$line" xen/.config; then
            case $line in
                "#"*) grep -q "^$(echo "$line" | cut -d' ' -f2)=" xen/.config || continue ;;
            esac
            echo "the option did not take: $line" >&2
            exit 1
        fi
    done
done
make -s -C xen -j"$jobs" build
cp xen/xen /mnt/out/xen.elf32
cp xen/xen.gz /mnt/out/xen.gz
cp xen/.config /mnt/out/xen.config
cp xen/xen-syms /mnt/out/xen-syms
