#!/bin/sh
# Searches a tree again and again. Behind timed.sh. A search that finds nothing is none that failed.
#
#     ripgrep-rounds.sh SEARCHES THREADS WORD TREE
search() {
    found=0
    rg --count-matches --stats --hidden --no-ignore --fixed-strings --threads "$1" -- "$2" "$3" || found=$?
    [ "$found" -ne 1 ] || found=0
    return "$found"
}
searches=$1
shift
round=1
while [ "$round" -le "$searches" ]; do
    timed "search$round" search "$@"
    round=$((round + 1))
done
