#!/bin/sh
# Takes a workload's script from standard input, which has no limit of size and needs no quoting.
#
#     barrier-upload.sh DIRECTORY
mkdir -p "$1/raw" && cat > "$1/script.sh"
