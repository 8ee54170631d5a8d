#!/bin/sh
# Takes a script from standard input, which has no limit of size and needs no quoting.
#
#     barrier-upload.sh DIRECTORY NAME
mkdir -p "$1/raw" && cat > "$1/$2"
