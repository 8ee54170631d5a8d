#!/bin/sh
# build.sh JOBS: build Linux 6.1 in /mnt/build/src as a guest, and the driver against it. Runs in the build root.
set -eu
jobs=$1
out=/mnt/out
stage=/mnt/build/stage
cd /mnt/build/src
export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=overcommit KBUILD_BUILD_HOST=overcommit
patch -s -p1 < /mnt/build/frontswap.patch
# The options of the 5.10 guests, without those that 6.1 no longer has and without zswap, which takes frontswap for itself. zsmalloc
# is then there for zram alone, as a module; z3fold was for zswap. Nobody hot-plugs memory here.
grep -vE '^CONFIG_(CLEANCACHE|ZSWAP|ZSMALLOC|Z3FOLD|MIGRATION|MEMORY_HOTPLUG|MEMORY_HOTREMOVE)=' /mnt/build/config-5.10 > /mnt/build/config
KCONFIG_ALLCONFIG=/mnt/build/config make -s allnoconfig
missing=$(grep -E '^CONFIG_' /mnt/build/config | grep -vxF -f .config || true)
if [ -n "$missing" ]; then
    echo "options that did not take: $missing" >&2
    exit 1
fi
make -s -j"$jobs" bzImage modules
make -s modules_install INSTALL_MOD_PATH="$stage"
make -s M=/mnt/build/tmem -j"$jobs" modules
version=$(cat include/config/kernel.release)
mkdir -p "$stage/lib/modules/$version/extra"
find /mnt/build/tmem -name '*.ko' -exec install -m 0644 -t "$stage/lib/modules/$version/extra" {} +
find "$stage" \( -name build -o -name source \) -type l -delete
depmod -b "$stage" -F System.map -e "$version"
# What the driver is about: it finds frontswap, and there is no cleancache to find.
nm "$stage/lib/modules/$version/extra/tmem.ko" | grep -q ' U frontswap_register_ops$'
cp arch/x86/boot/bzImage "$out/vmlinuz"
cp .config "$out/config"
cp System.map "$out/System.map"
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -cf "$out/modules.tar" lib
