#!/bin/sh
# PostgreSQL's own programs come first: Debian's of the same names are Perl that looks for them.
#
#     pgbench-path.sh
for folder in /usr/lib/postgresql/*/bin; do
    PATH=$folder:$PATH
done
export PATH
