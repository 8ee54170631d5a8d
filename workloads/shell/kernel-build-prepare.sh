#!/bin/sh
# Checks the source tree, and configures it if it was prepared for another configuration. Behind
# prepare.sh and kernel-build-environment.sh.
#
#     kernel-build-prepare.sh SOURCE BUILD CONFIG JOBS STAMP VARIABLES
#
# STAMP: the file of BUILD that names the configuration it was prepared for, written last.
# VARIABLES: the file of BUILD with what make had found, which another configuration makes void.
# Prints facts, KEY=VALUE.
source=$1 build=$2 config=$3 jobs=$4 stamp=$2/$5 variables=$2/$6
[ -f "$source/Makefile" ] || fail "$source holds no Linux source"
version=
for key in VERSION PATCHLEVEL SUBLEVEL; do
    value=$(sed -n "s/^$key = *//p" "$source/Makefile")
    version=${version:+$version.}$value
done
echo "linux_version=$version"
prepared=before
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$config" ]; then
    prepared=now
    rm -f "$stamp" "$variables"
    mkdir -p "$build"
    for step in "$config" olddefconfig prepare; do
        make -s -C "$source" O="$build" -j"$jobs" "$step" > "$build/prepare.log" 2>&1 ||
            fail "make $step failed:" "$(tail -n 20 "$build/prepare.log")"
    done
    echo "$config" > "$stamp"
fi
echo "prepared=$prepared"
echo "config=$config"
sum=$(sha256sum "$build/.config")
echo "config_sha256=${sum%% *}"
echo "compiler=$(gcc --version | sed 1q)"
echo "make=$(make --version | sed 1q)"
