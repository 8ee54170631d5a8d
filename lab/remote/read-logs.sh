#!/bin/sh
# Prints the logs of the hypervisor and of dom0's kernel. Runs in dom0.
#
#     read-logs.sh LINE
#
# LINE: what stands between the two.
xl dmesg
echo "$1"
dmesg
