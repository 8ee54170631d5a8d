#!/bin/sh
# Removes a folder that a workload has filled.
#
#     remove-folder.sh DIRECTORY
rm -rf "$1"
