#!/bin/sh
# Has make write down what it exports to its parts, the compiler's answers among it, when that has
# not been done; and writes the makefile of the targets. Behind kernel-build-prepare.sh.
#
#     kernel-build-probe.sh SOURCE BUILD VARIABLES MAKEFILE TEXT
if [ ! -s "$2/$3" ]; then
    env -i PATH="$PATH" make -s -C "$1" O="$2" --eval="overcommit-variables: ; @export -p > $2/$3" overcommit-variables \
        > "$2/prepare.log" 2>&1 || fail 'make overcommit-variables failed:' "$(tail -n 20 "$2/prepare.log")"
fi
printf '%s' "$5" > "$2/$4"
