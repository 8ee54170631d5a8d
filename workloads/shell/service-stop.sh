#!/bin/sh
# Ends a server that runs, and waits until it is gone. Nothing to do without its file.
#
#     service-stop.sh PIDFILE
if [ -s "$1" ]; then
    pid=$(cat "$1")
    kill "$pid" 2> /dev/null || true
    tries=0
    while kill -0 "$pid" 2> /dev/null && [ "$tries" -lt 3000 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    if kill -0 "$pid" 2> /dev/null; then
        echo "the server $pid does not end" >&2
        exit 1
    fi
    rm -f "$1"
fi
