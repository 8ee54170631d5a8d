#!/bin/sh
# prepare.sh JOBS OBJECT...: configure the kernel source that guests build, run everything that comes before the first object natively, and
# prove that it works by building OBJECTs. Runs in the guests' root tree, at the paths that the guests see.
set -eu
jobs=$1
shift
objects=$*
tree=/usr/src/linux
build=/var/lib/overcommit/build
mkdir -p "$build"
make -s -C "$tree" O="$build" tinyconfig
make -s -C "$tree" O="$build" -j"$jobs" prepare
# shellcheck disable=SC2086  # a list of objects
make -s -C "$tree" O="$build" -j"$jobs" $objects
stamp=$(stat -c %Y "$build/scripts/basic/fixdep")
for object in $objects; do
    test -s "$build/$object"
    rm -f "$build/$object" "$build/$(dirname "$object")/.$(basename "$object").cmd"
done
# Once more, as a guest does it: nothing but the objects may be made.
# shellcheck disable=SC2086
made=$(make -C "$tree" O="$build" $objects | grep -E '^  [A-Z]+ ' | grep -cvE ' (CALL|CHECK|DESCEND|GEN|CC) ' || true)
if [ "$made" != 0 ] || [ "$stamp" != "$(stat -c %Y "$build/scripts/basic/fixdep")" ]; then
    echo "the prepared kernel tree is prepared again by every build" >&2
    exit 1
fi
for object in $objects; do
    rm -f "$build/$object" "$build/$(dirname "$object")/.$(basename "$object").cmd"
done
# What make exports to its parts, for builds that do not ask the compiler anew. The recipe is known twice to the make that make starts, which warns.
env -i PATH="$PATH" make -s -C "$tree" O="$build" --eval="overcommit-variables: ; @export -p > $build/.make-variables" overcommit-variables
test -s "$build/.make-variables"
# Last: the kernel build workload takes a tree with this for prepared (workloads/kernel_build.py).
echo tinyconfig > "$build/.prepared-config"
