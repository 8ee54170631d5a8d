#!/bin/sh
# Has the module tmem_test do one command in a guest, and prints its answers.
#
#     ask-served.sh FOLDER COMMAND
echo "$2" > "$1/command" && cat "$1/answer"
