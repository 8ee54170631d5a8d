#!/bin/sh
# Tells ripgrep's version, and checks that there is a tree. Behind prepare.sh.
#
#     ripgrep-prepare.sh TREE
version=$(rg --version) || lacks ripgrep ripgrep ripgrep
version=${version#ripgrep }
echo "ripgrep=${version%% *}"
[ -d "$1" ] || fail "there is no folder $1 to search"
