#!/bin/sh
# Prints size and SHA-256 of every object of the targets, by path.
#
#     kernel-build-objects.sh BUILD TARGET...
set -eu
cd "$1"
shift

objects() { # FOLDER: those below it
    find "$1" \( -path '*/scripts' -o -path '*/tools' \) -prune -o -type f -name '*.o' -print
}

list=$(
    for target; do
        case $target in
            vmlinux) objects . ;;
            */) objects "$target" ;;
            *) echo "$target" ;;
        esac
    done | LC_ALL=C sort
)
if [ -z "$list" ]; then
    echo 'no object was built' >&2
    exit 1
fi
echo "$list" | xargs stat -c '%s %n'
echo "$list" | xargs sha256sum
