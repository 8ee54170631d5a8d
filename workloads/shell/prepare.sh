#!/bin/sh
# Begins a preparation: an empty folder for raw outputs; `fail MESSAGE...`, and `lacks WHAT WORKLOAD
# PACKAGE` for those behind it.
#
#     prepare.sh RAW
fail() {
    echo "$*" >&2
    exit 1
}
lacks() {
    fail "$1 is not installed: for a guest, ./inv lab.up --loads $2; elsewhere, install Debian's package $3"
}
rm -rf "$1"
mkdir -p "$1"
