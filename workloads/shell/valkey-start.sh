#!/bin/sh
# Starts Valkey on the loopback: keys in memory alone, least recently used ones dropped at the limit. Behind prepare.sh
# and service-stop.sh. Prints the fact valkey=VERSION.
#
#     valkey-start.sh PIDFILE PORT BYTES
command -v valkey-server > /dev/null || lacks valkey-server valkey valkey-server
version=$(valkey-server --version)
version=${version##*v=}
echo "valkey=${version%% *}"
mkdir -p "${1%/*}"
valkey-server --port "$2" --bind 127.0.0.1 --maxmemory "$3" --maxmemory-policy allkeys-lru --save '' --appendonly no \
    --pidfile "$1" --dir "${1%/*}" --daemonize yes > /dev/null 2>&1 < /dev/null || fail "valkey-server did not start"
