#!/bin/sh
# `clean BUILD HOW TARGET...` for those behind it: removes compiled files below the folder BUILD.
# HOW: `objects` are exactly what the targets make, `tree` is every compiled file. Those of `make
# prepare` stay: they are no part of a round.
#
#     kernel-build-clean.sh
remove_compiled() { # arguments of find: where, and what of it is left out
    find "$@" -type f \
        \( -name '*.o' -o -name '*.a' -o -name '.*.o.cmd' -o -name '.*.a.cmd' -o -name modules.order \) -exec rm -f {} +
}

clean() {
    at=$1
    how=$2
    shift 2
    if [ "$how" = tree ]; then
        remove_compiled "$at" \( -path '*/scripts' -o -path '*/tools' \) -prune -o
        rm -f "$at/vmlinux"
        return
    fi
    for target; do
        case $target in
            */) if [ -d "$at/$target" ]; then remove_compiled "$at/$target"; fi ;;
            */*) rm -f "$at/$target" "$at/${target%/*}/.${target##*/}.cmd" ;;
            *) rm -f "$at/$target" "$at/.$target.cmd" ;;
        esac
    done
}
