#!/bin/sh
# Starts MariaDB on the data folder that its package has made, reachable by a socket alone, with an empty database named overcommit.
# Behind prepare.sh and service-stop.sh. Prints the fact mariadb=VERSION.
#
#     mariadb-start.sh FOLDER BUFFER
#
# FOLDER: for its socket `sock`, its file `pid` and its log. BUFFER: bytes of InnoDB's buffer pool. Its other buffers are made small, since
# a guest's memory is.
command -v mariadbd > /dev/null || lacks mariadb-server sysbench_oltp mariadb-server
version=$(mariadbd --version)
version=${version##*Ver }
echo "mariadb=${version%% *}"
mkdir -p "$1"
chown mysql "$1"
chmod a+x "${1%/*}" # the server is not root, and the folder above may be private
setsid mariadbd --no-defaults --datadir=/var/lib/mysql --user=mysql --socket="$1/sock" --pid-file="$1/pid" --skip-networking \
    --innodb-buffer-pool-size="$2" --performance-schema=off --aria-pagecache-buffer-size=8M --key-buffer-size=1M \
    > "$1/log" 2>&1 < /dev/null &
started=$!
until mariadb-admin --no-defaults -S "$1/sock" ping > /dev/null 2>&1; do
    kill -0 "$started" 2> /dev/null || fail "mariadbd did not start:" "$(tail -n 10 "$1/log")"
    sleep 0.5
done
mariadb --no-defaults -S "$1/sock" -e 'DROP DATABASE IF EXISTS overcommit; CREATE DATABASE overcommit' || fail "no database could be made"
