#!/bin/sh
# programs.sh: compile the workloads' own programs where they look for them (workloads/programs.py), by the script that compiles them on a
# machine that has none. Runs in the guests' root tree; the checkout's workloads/ is /mnt/loads.
set -eu
cd /mnt/loads/programs
fail() {
    echo "$*" >&2
    exit 1
}
text() { # a shell drops the newlines at the end of what a command prints
    cat "$1"
    echo .
}
header=$(text latency.h)
for source in *.c; do
    name=${source%.c}
    digest=$(cat latency.h "$source" | sha256sum | cut -c 1-16)
    whole=$(text "$source")
    set -- "$name" "/usr/local/lib/overcommit/$name-$digest" "${header%.}" "${whole%.}"
    # shellcheck disable=SC1091 # it lies in workloads/shell
    . /mnt/loads/shell/program-prepare.sh
done
