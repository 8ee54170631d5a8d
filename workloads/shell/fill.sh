#!/bin/sh
# Runs the tool's own preparation. Behind what starts its server.
#
#     fill.sh COMMAND...
filled=$("$@" 2>&1) || fail "$1 could not fill its tables:" "$(printf '%s' "$filled" | tail -n 10)"
