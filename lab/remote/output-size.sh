#!/bin/sh
# Prints how many bytes a workload has written so far, in a guest.
#
#     output-size.sh DIRECTORY
cat "$1/script.out" "$1"/raw/* | wc -c
