#!/bin/sh
# Begins a preparation: an empty folder for raw outputs, and `fail MESSAGE...` for those behind it.
#
#     prepare.sh RAW
fail() {
    echo "$*" >&2
    exit 1
}
rm -rf "$1"
mkdir -p "$1"
