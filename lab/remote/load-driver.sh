#!/bin/sh
# Loads the driver in a guest, and checks that it took its parameters.
#
#     load-driver.sh [NAME=0|NAME=1]...
modprobe tmem "$@" || exit
for each; do
    name=${each%%=*}
    wanted=N
    [ "${each#*=}" = 0 ] || wanted=Y
    path=/sys/module/tmem/parameters/$name
    if [ -r "$path" ] && ! { read -r now < "$path" && [ "$now" = "$wanted" ]; }; then
        echo "$name is not $wanted" >&2
        exit 1
    fi
done
