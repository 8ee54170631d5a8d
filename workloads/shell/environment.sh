#!/bin/sh
# What every script of a workload begins with: the first error ends it, programs are found, and they
# speak English.
#
#     environment.sh
set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ
