#!/bin/sh
# Lets a policy take effect in a guest, at the release: writes settings of the driver.
#
#     release-policy.sh FOLDER [NAME VALUE]...
#
# Exit status 96 when the driver does not take one.
folder=$1
shift
while [ $# -gt 0 ]; do
    if ! echo "$2" > "$folder/$1"; then
        echo "the driver does not take $1" >&2
        exit 96
    fi
    shift 2
done
