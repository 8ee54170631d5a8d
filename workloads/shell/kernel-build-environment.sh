#!/bin/sh
# What every make of the kernel build has. As a build farm does it: whatever would make the same
# source give other bytes is fixed.
#
#     kernel-build-environment.sh
KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970'
KBUILD_BUILD_USER=overcommit
KBUILD_BUILD_HOST=guest
KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER KBUILD_BUILD_HOST KBUILD_BUILD_VERSION
