#!/bin/sh
# The job, with files of the size that fio-size.sh has written down. Behind timed.sh.
#
#     fio-sized.sh SIZE_FILE COMMAND...
read -r size < "$1"
shift
timed fio "$@" --size="$size"
