#!/bin/sh
# Removes the files that a tool has laid out.
#
#     remove-files.sh DIRECTORY PREFIX
rm -f "$1/$2".*
