#!/bin/sh
# Fills the server, as soon as it answers. Behind the script that has started it.
#
#     kvload-fill.sh PROGRAM PROTOCOL PORT KEYS BYTES
program=$1
shift
filled=$("$program" "$1" "$2" fill "$3" "$4") || fail "$1 could not be filled"
case $filled in
    *"stored $3"*) ;;
    *) fail "$1 was not filled: $filled" ;;
esac
