#!/bin/sh
# build.sh JOBS: configure and build Linux in /mnt/build/src, and pack what modules are built against. Runs in the build root.
set -eu
jobs=$1
out=/mnt/out
cd /mnt/build/src
export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=overcommit KBUILD_BUILD_HOST=overcommit
patch -s -p1 < /mnt/build/sections.patch
KCONFIG_ALLCONFIG=/mnt/build/config make -s allnoconfig
missing=$(grep -E '^CONFIG_' /mnt/build/config | grep -vxF -f .config || true)
if [ -n "$missing" ]; then
    echo "options that did not take: $missing" >&2
    exit 1
fi
make -s -j"$jobs" bzImage modules
cp arch/x86/boot/bzImage "$out/vmlinuz"
cp .config "$out/config"
cp System.map "$out/System.map"
make -s modules_install INSTALL_MOD_PATH=/mnt/build/stage
find /mnt/build/stage \( -name build -o -name source \) -type l -delete
tar -C /mnt/build/stage --sort=name --owner=0 --group=0 --numeric-owner -cf "$out/modules.tar" lib
{
    echo .config
    echo Module.symvers
    find . arch/x86 -maxdepth 1 -name 'Makefile*'
    find scripts include arch/x86/include arch/x86/tools -type f ! -name '*.o' ! -name '.*.cmd'
    find arch/x86/kernel -name 'asm-offsets*'
    find scripts arch/x86 -name 'module*.lds*' -o -name Kbuild.platforms -o -name Platform
    if [ -e tools/objtool/objtool ]; then echo tools/objtool/objtool; fi
} | sort -u > /mnt/build/headers.list
tar --owner=0 --group=0 --numeric-owner -cf "$out/headers.tar" -T /mnt/build/headers.list
