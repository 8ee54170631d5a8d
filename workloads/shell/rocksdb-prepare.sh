#!/bin/sh
# Fills a database anew. Behind prepare.sh. Prints the fact rocksdb=VERSION.
#
#     rocksdb-prepare.sh DIRECTORY COMMAND...
command -v db_bench > /dev/null || lacks rocksdb-tools rocksdb rocksdb-tools
rm -rf "$1"
mkdir -p "$1"
shift
filled=$("$@" 2>&1) || fail "db_bench could not fill its database:" "$(printf '%s' "$filled" | tail -n 5)"
version=$(printf '%s' "$filled" | sed -n 's/^RocksDB: *version *//p')
echo "rocksdb=${version:-unknown}"
