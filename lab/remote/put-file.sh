#!/bin/sh
# Writes standard input to a file, whole or not at all; folders that are missing are made.
#
#     put-file.sh PATH MODE
set -e
mkdir -p "$(dirname "$1")"
cat > "$1.new"
chmod "$2" "$1.new"
mv "$1.new" "$1"
