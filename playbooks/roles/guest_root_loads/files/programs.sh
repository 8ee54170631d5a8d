#!/bin/sh
# programs.sh: compile the workloads' own programs where they look for them (workloads/programs.py), by the script that compiles them on a
# machine that has none. Runs in the guests' root tree; the checkout's workloads/ is /mnt/loads.
set -eu
fail() {
    echo "$*" >&2
    exit 1
}
for source in /mnt/loads/programs/*.c; do
    name=$(basename "$source" .c)
    digest=$(sha256sum "$source" | cut -c 1-16)
    set -- "$name" "/usr/local/lib/overcommit/$name-$digest" "$(cat "$source"; echo .)"
    set -- "$1" "$2" "${3%.}"
    # shellcheck disable=SC1091 # it lies in workloads/shell
    . /mnt/loads/shell/program-prepare.sh
done
