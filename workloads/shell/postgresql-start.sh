#!/bin/sh
# Starts PostgreSQL on the cluster that its package has made, reachable by a socket alone, with an empty database named overcommit. Behind
# prepare.sh and service-stop.sh. Prints the fact postgresql=VERSION.
#
#     postgresql-start.sh FOLDER BUFFER
#
# FOLDER: for its socket, its file `pid` and its log. BUFFER: bytes of its shared buffers.
set -- "$1" "$2" /etc/postgresql/*/main
[ $# -eq 3 ] || fail "PostgreSQL has several clusters, of which none is chosen:" /etc/postgresql/*/main
[ -d "$3" ] || lacks postgresql sysbench_oltp,pgbench postgresql
programs=/usr/lib/postgresql/$(basename "$(dirname "$3")")/bin
version=$("$programs/postgres" --version)
version=${version#*) }
echo "postgresql=${version%% *}"
mkdir -p "$1"
chown postgres "$1"
chmod a+x "${1%/*}" # the server is not root, and the folder above may be private
echo 'local all all trust' > "$1/hba"
chmod 644 "$1/hba"
setsid runuser -u postgres -- "$programs/postgres" -D "$3" -c hba_file="$1/hba" -c unix_socket_directories="$1" -c listen_addresses= \
    -c external_pid_file="$1/pid" -c shared_buffers="$(($2 / 1024))kB" -c ssl=off > "$1/log" 2>&1 < /dev/null &
started=$!
until "$programs/pg_isready" -q -h "$1"; do
    kill -0 "$started" 2> /dev/null || fail "postgres did not start:" "$(tail -n 10 "$1/log")"
    sleep 0.5
done
"$programs/dropdb" -U postgres -h "$1" --if-exists overcommit 2> /dev/null
"$programs/createdb" -U postgres -h "$1" overcommit || fail "no database could be made"
