#!/bin/sh
# Starts memcached on the loopback. Behind prepare.sh and service-stop.sh. Prints the fact memcached=VERSION.
#
#     memcached-start.sh PIDFILE PORT MEBIBYTES VALUE_LIMIT
command -v memcached > /dev/null || lacks memcached memcached memcached
version=$(memcached -V)
echo "memcached=${version##* }"
mkdir -p "${1%/*}"
chmod 755 "${1%/*}"
# As root: where it becomes another user, it does so before it writes its file.
memcached -d -u root -l 127.0.0.1 -p "$2" -m "$3" -I "$4" -t 1 -P "$1" > /dev/null 2>&1 < /dev/null || fail "memcached did not start"
