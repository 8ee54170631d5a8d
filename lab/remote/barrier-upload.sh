#!/bin/sh
# Keeps the two scripts of a guest at the barrier: script.sh is what comes from standard input.
#
#     barrier-upload.sh DIRECTORY RELEASE
#
# RELEASE: the text of release.sh.
mkdir -p "$1/raw" && printf %s "$2" > "$1/release.sh" && cat > "$1/script.sh"
