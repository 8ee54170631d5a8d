#!/bin/sh
# Lays out a site of files with random contents, unless it is there, and starts nginx for it. Behind prepare.sh and service-stop.sh. Prints
# the fact nginx=VERSION.
#
#     web-start.sh FOLDER SITE FILES BYTES PORT LUA
#
# FOLDER: for nginx's configuration, its process number `pid` and its log, and for LUA, the text of what wrk is to do.
command -v nginx > /dev/null || lacks nginx web nginx-light
command -v wrk > /dev/null || lacks wrk web wrk
version=$(nginx -v 2>&1)
echo "nginx=${version##*/}"
mkdir -p "$1"
printf '%s' "$6" > "$1/wrk.lua"
if [ ! -f "$2/.laid-out" ] || [ "$(cat "$2/.laid-out")" != "$3 files of $4" ]; then
    rm -rf "$2"
    mkdir -p "$2"
    file=1
    while [ "$file" -le "$3" ]; do
        head -c "$4" /dev/urandom > "$2/f$file"
        file=$((file + 1))
    done
    echo "$3 files of $4" > "$2/.laid-out"
fi
cat > "$1/nginx.conf" << EOF
user root;
worker_processes 1;
pid $1/pid;
error_log $1/log;
events { worker_connections 2048; }
http {
    access_log off;
    sendfile on;
    client_body_temp_path $1;
    proxy_temp_path $1;
    fastcgi_temp_path $1;
    uwsgi_temp_path $1;
    scgi_temp_path $1;
    server { listen 127.0.0.1:$5; root $2; }
}
EOF
nginx -c "$1/nginx.conf" < /dev/null > /dev/null 2> "$1/start.log" || fail "nginx did not start:" "$(cat "$1/start.log")"
